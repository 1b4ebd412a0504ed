"""The compare command."""

import contextlib
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import typer

from lshsample.cli.commands import app
from lshsample.errors import LshsampleError

QUICK = ["--budgets", "20,50", "--bits", 4, "--n-tables", 8, "--queries", 20, "--rounds", 2]


def refused(*words):
    """The error of a command that prints nothing, in this process."""
    printed = io.StringIO()
    with pytest.raises(LshsampleError) as refusal, contextlib.redirect_stdout(printed):
        typer.main.get_command(app).main(["compare", "--quick", *map(str, words)], standalone_mode=False)
    assert not printed.getvalue(), "refused before anything is measured"
    return str(refusal.value)


def test_tables_json_and_plots(lshsample, rows_file, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'lshsample[plots]'")
    wrapped = "simple-lsh:inner={'family':'simhash','projection':'gaussian'},headroom=1.5"
    words = ["--family", "simhash", "--family", wrapped, *QUICK, "--probes", "1,2"]
    written = ["--json", tmp_path / "c.json", "--plots", tmp_path / "p"]
    done = lshsample("compare", rows_file, *words, *written)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "c.json").read_text())
    about = {
        "name": "rows of rows.txt",
        "n_items": 180,
        "n_queries": 20,
        "dim": 30,
        "metric": "inner",
        "k": 10,
    }
    assert {name: result["workload"][name] for name in about} == about
    assert result["settings"]["seed"] == 0
    assert {"cpu", "isa", "threads", "versions"} <= set(result["machine"])
    assert {one["label"] for one in result["figures"]} == {"exact", "uniform", "simhash", wrapped}
    for one in result["figures"]:
        for point in one["points"]:
            assert point["queries_per_second"] == pytest.approx(1 / point["query_seconds"]["median"])
    assert wrapped in done.stdout
    assert "recall@10 by number of candidates" in done.stdout
    assert "…" not in done.stdout, "figures are cut off"
    assert "2 families, 2 runs: about " in done.stderr, "the time is estimated before"
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "recall-build-time.png", "recall-candidates.png", "recall-index-size.png",
        "recall-queries-per-second.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "p").iterdir())


def test_a_baseline(lshsample, rows_file, tmp_path):
    words = ["compare", rows_file, "--family", "simhash", "--metric", "cosine", "--k", 3, *QUICK]
    loose = ["--max-slowdown", 1000]
    first = lshsample(*words, "--json", tmp_path / "old.json")
    assert first.returncode == 0, first.stderr
    same = lshsample(*words, *loose, "--baseline", tmp_path / "old.json")
    assert same.returncode == 0, same.stdout
    assert "no regressions" in same.stdout
    old = json.loads((tmp_path / "old.json").read_text())
    old["figures"][-1]["points"][0]["recall"] = 1.5
    (tmp_path / "better.json").write_text(json.dumps(old))
    worse = lshsample(*words, *loose, "--baseline", tmp_path / "better.json")
    assert worse.returncode == 1
    assert re.search(r"regression: simhash, K = 4, L = 8, probes = 1: 20 candidates: recall", worse.stdout)
    assert "seed: 0, now 1" in refused(*words[1:], "--seed", 1, "--baseline", tmp_path / "old.json")


@pytest.mark.parametrize(
    "words",
    [
        ["--budgets", "ten"], ["--bits", "0,4"], ["--family", "nope"], ["--model", "x"], ["--metric", "l3"],
        ["--bits", "4", "--n-hashes", "2"], ["--max-slowdown", "-1"], ["--plots", "/dev/null/plots"],
        ["--family", "e2lsh:width=-1"], ["--probes", ""], ["--seed", "-1"], ["--threads", "0"],
        ["--k", "5000"], ["--n-tables", "100000"], ["--bits", "40"],
    ],
)  # fmt: skip
def test_bad_options(words):
    message = refused(*words)
    assert " must be " in message
    assert "(got " in message


def test_families_that_were_asked_for_are_not_left_out(tmp_path):
    assert "widht" in refused("--family", "simhash", "--family", "e2lsh:widht=2")
    rows = tmp_path / "rows.npy"
    np.save(rows, np.random.default_rng(0).standard_normal((300, 5)))
    assert "trust_rows must be left out for this format" in refused(rows, "--trust-rows")
    assert "metric own needs the similarity" in refused(
        rows, "--metric", "own", "--family", "itq", "--family", "simhash"
    )


def test_plots_without_matplotlib_are_refused_before_the_run():
    code = (
        "import sys; sys.modules['matplotlib.backends.backend_agg'] = None\n"
        "sys.argv = ['lshsample', 'compare', '--quick', '--plots', 'p']\n"
        "from lshsample.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "lshsample[plots]" in done.stderr
    assert not done.stdout
    assert "about" not in done.stderr
