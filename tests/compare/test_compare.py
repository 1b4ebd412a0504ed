"""Comparisons of families: on the command line, and under pytest-benchmark in an author's own suite."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import parse_pipeline
from lshsample.compare import ComparisonSettings, Contender, Figures, Workload, compare
from lshsample.compare.measure import Point
from lshsample.compare.report import (
    _style,
    best_by_label,
    comparison_table,
    plain,
    retrieval_table,
    write_plots,
)
from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.registry import families, family_from_json

SMALL = ComparisonSettings(budgets=(20, 60, 5000), bits=(3, 6), n_tables=12, threads=1, rounds=1)


def command(*words, cwd=None):
    line = [sys.executable, "-c", "from lshsample.cli import main; main()", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 150, 200)
    x = sp.csr_array((rng.random((200, 30)) < 0.3) * rng.random((200, 30)))
    y = sp.csr_array((np.ones(200), (np.arange(200), labels)), shape=(200, 150))
    path = tmp_path_factory.mktemp("data") / "rows.txt"
    write_xc(path, Dataset.of(x, y))
    return path


def test_the_baselines_bound_every_family():
    workload = Workload.synthetic(600, 24, 20)
    contenders = [
        Contender.parse(name) for name in ("simhash", "dwta:window=4", "simhash:projection=gaussian")
    ]
    figures, refused = compare(contenders, workload, SMALL)
    assert refused == {}
    by_label = best_by_label(figures, 60)
    assert list(by_label) == ["exact", "uniform", *(contender.label for contender in contenders)]
    assert by_label["exact"].middle.recall == 1
    assert 0.02 < by_label["uniform"].middle.recall < 0.25
    for contender in contenders:
        mine = by_label[contender.label]
        assert by_label["uniform"].middle.recall + 0.2 < mine.middle.recall <= 1
        assert mine.hash_seconds > 0
        assert mine.build_seconds > 0
        assert mine.memory_bytes > 12 * 4 * 600
        assert all(point.candidates <= point.budget for point in mine.points)
        assert all(point.recall <= mine.retrieved_recall for point in mine.points)
        assert mine.middle.candidates <= mine.retrieved <= 600
    assert [point.budget for point in figures[0].points] == [20, 60]  # more than there are items is left out
    assert json.loads(json.dumps(plain(figures)))[2]["spec"]["family"] == "simhash"
    assert comparison_table(figures).row_count == 5
    assert retrieval_table(figures).row_count == 3


def test_estimates_get_worse_with_fewer_draws():
    workload = Workload.synthetic(600, 24, 20)
    few, many = (
        next(
            one
            for one in compare([], workload, ComparisonSettings(budgets=(n,), rounds=1))[0]
            if one.label == "uniform"
        )
        for n in (20, 300)
    )
    assert 0 < many.estimator_error < 0.5 * few.estimator_error


def test_a_family_that_refuses_the_rows_is_reported_with_its_reason():
    wide = sp.random_array((60, 70_000), density=1e-3, format="csr", dtype=np.float32, rng=1)
    figures, refused = compare(
        [Contender.parse("simhash")],
        Workload.of_rows("wide", wide, n_queries=5),
        ComparisonSettings(budgets=(20,), rounds=1),
    )
    assert {one.label for one in figures} == {"exact", "uniform"}
    assert "at most 65536 columns" in refused["simhash"]


@pytest.mark.parametrize("text", ["simhahs", "simhash:projection", "", "e2lsh:width=2,width=3"])
def test_unknown_contenders_are_refused(text):
    with pytest.raises(ArgumentError, match="family: given"):
        Contender.parse(text)


def test_a_trained_layer():
    network = Network([Sparse(30), Dense(8, "relu"), Sampled(150, "softmax", init_scale=0.3)], seed=1)
    rows = sp.random_array((40, 30), density=0.3, format="csr", dtype=np.float32, rng=1)
    workload = Workload.of_layer(network, rows, n_items=120, n_queries=10)
    assert workload.items.shape == (120, 8)
    assert workload.queries.shape == (10, 8)
    whole = Workload.of_layer(network, rows)
    _, scores = network.predict(rows, top=1)
    np.testing.assert_allclose((whole.queries @ whole.items.T).max(axis=1), scores[:, 0], rtol=1e-5)
    dense = Network([Sparse(30), Dense(8, "relu"), Dense(150, "softmax")], seed=1)
    assert Workload.of_layer(dense, rows).items.shape == (150, 8)


def test_the_command(data, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'lshsample[plots]'")
    wrapped = "simple-lsh:inner={'family':'simhash','projection':'gaussian'},headroom=1.5"
    words = ["--family", "simhash", "--family", wrapped, "--budgets", "20,50", "--bits", 4, "--n-tables", 8]
    done = command(
        "compare", data, *words, "--queries", 20, "--json", tmp_path / "c.json", "--plots", tmp_path / "p"
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
def test_bad_options(words):
    done = command("compare", *words)
    assert done.returncode == 2
    assert "given" in done.stderr


def test_no_two_contenders_look_alike():
    looks = [tuple(_style(number).values()) for number in range(40)]
    assert len(set(looks)) == 40


def test_plots_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    from lshsample.errors import UnsupportedError

    point = Point(budget=10, candidates=10, recall=1.0, query_seconds=1e-6)
    one = Figures(
        label="a", n_items=9, spec={}, hash_seconds=0, build_seconds=0, memory_bytes=0,
        code_bits=0, retrieved=0, retrieved_recall=0, estimator_error=0,
        points=(point,),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"lshsample\[plots\]"):
        write_plots([one], tmp_path)


BENCH = """
from lshsample.compare.benchmarks import test_build, test_hash, test_query  # noqa: F401
LSHSAMPLE_FAMILIES = ["simhash", "dwta"]
"""
STAND_IN = """
import pytest

class Benchmark:
    def __init__(self):
        self.extra_info = {}
    def pedantic(self, function, args=(), kwargs={}, **_):
        return function(*args, **kwargs)

@pytest.fixture
def benchmark():
    it = Benchmark()
    yield it
    print(it.extra_info)
"""


def run_pytest(folder, *words):
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
    # The outer run's settings are no business of this one's.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*line, *words, folder], capture_output=True, text=True, timeout=300, check=False, cwd=folder, env=own
    )


def test_benchmarks_in_an_authors_suite(tmp_path):
    (tmp_path / "test_bench.py").write_text(BENCH)
    (tmp_path / "conftest.py").write_text(STAND_IN)
    small = ["-p", "no:benchmark", "-s", "--lshsample-items", "800", "--lshsample-tables", "10"]
    done = run_pytest(tmp_path, *small)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert "'recall': " in done.stdout
    two = "simhash:projection=gaussian, e2lsh:width=2,bits=2"
    chosen = run_pytest(tmp_path, *small, "--lshsample-families", two, "-k", "query")
    assert "2 passed" in chosen.stdout, chosen.stdout
    wrong = run_pytest(tmp_path, *small, "--lshsample-families", "nope")
    assert "one of " in wrong.stdout
    assert wrong.returncode != 0


def test_benchmarks_on_a_data_file_under_pytest_benchmark(tmp_path, data):
    if importlib.util.find_spec("pytest_benchmark") is None:
        pytest.skip("pytest-benchmark is not installed: pip install 'lshsample[bench]'")
    (tmp_path / "test_bench.py").write_text(BENCH)
    result = tmp_path / "out.json"
    words = ["-p", "no:xdist", "--benchmark-only", "--benchmark-json", result, "--lshsample-data", data]
    done = run_pytest(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(result.read_text())["benchmarks"]
    assert len({one["group"] for one in runs}) == 3
    assert {"recall", "candidates", "estimator_error"} <= set().union(*(one["extra_info"] for one in runs))


def test_the_plugin_disturbs_no_other_suite():
    code = (
        "import sys, lshsample.pytest_plugin\n"
        "assert not {'numpy', 'scipy', 'attrs', 'rich', 'lshsample.registry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    assert "simhash" in families()


def test_tune_prints_goal_predicted_and_observed(tmp_path):
    synthetic = ["tune", "--items", 1500, "--queries", 60, "--family", "simhash:projection=sparse"]
    goal = ["--recall", 0.7, "--memory-bytes", 2_000_000, "--threads", 1, "--json", tmp_path / "t.json"]
    done = command(*synthetic, *goal)
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout
    result = json.loads((tmp_path / "t.json").read_text())
    assert result["predicted"]["recall"] >= 0.7
    assert result["observed"]["memory_bytes"] == result["predicted"]["memory_bytes"] <= 2_000_000
    assert type(family_from_json(result["family"])).__name__ == "SimHash"
    assert result["observed"]["relative_error"] is None  # of sparse directions the law holds nearly
    assert parse_pipeline(result["sampler"]).stages
    refused = command(*synthetic, "--recall", 0.9, "--size", 3)
    assert refused.returncode == 2
    assert "with a cap of 3 ids recall is at most" in refused.stderr
