"""The compare command."""

import json

import pytest


def test_tables_json_and_plots(lshsample, rows_file, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'lshsample[plots]'")
    wrapped = "simple-lsh:inner={'family':'simhash','projection':'gaussian'},headroom=1.5"
    words = ["--family", "simhash", "--family", wrapped, "--budgets", "20,50", "--bits", 4, "--n-tables", 8]
    done = lshsample(
        "compare",
        rows_file,
        *words,
        "--queries",
        20,
        "--json",
        tmp_path / "c.json",
        "--plots",
        tmp_path / "p",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["workload"] == {"name": "rows of rows.txt", "items": 180, "dim": 30}
    assert {one["label"] for one in result["figures"]} == {"exact", "uniform", "simhash", wrapped}
    assert wrapped in done.stdout
    assert "…" not in done.stdout, "figures are cut off"
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "memory.png", "recall-candidates.png", "recall-time.png"
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "p").iterdir())


@pytest.mark.parametrize(
    "words", [["--budgets", "ten"], ["--bits", "0,4"], ["--family", "nope"], ["--model", "x"]]
)
def test_bad_options(lshsample, words):
    done = lshsample("compare", *words)
    assert done.returncode == 2
    assert " must be " in done.stderr
    assert "(got " in done.stderr
