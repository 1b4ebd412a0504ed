"""The pytest plugin: benchmarks of families in the tests of an author, with and without pytest-benchmark."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, write_xc
from lshsample.registry import families

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


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 150, 200)
    x = sp.csr_array((rng.random((200, 30)) < 0.3) * rng.random((200, 30)))
    y = sp.csr_array((np.ones(200), (np.arange(200), labels)), shape=(200, 150))
    path = tmp_path_factory.mktemp("data") / "rows.txt"
    write_xc(path, Dataset.of(x, y))
    return path


def run_pytest(folder, *words):
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
    # Without the settings of the outer run.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*line, *words, folder], capture_output=True, text=True, timeout=300, check=False, cwd=folder, env=own
    )


def test_benchmarks_in_the_tests_of_an_author(tmp_path):
    (tmp_path / "test_bench.py").write_text(BENCH)
    (tmp_path / "conftest.py").write_text(STAND_IN)
    small = ["-p", "no:benchmark", "-s", "--lshsample-items", "800", "--lshsample-tables", "10"]
    done = run_pytest(tmp_path, *small)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert "'recall': " in done.stdout
    two = "simhash:projection=gaussian, e2lsh:width=2,bits=2"
    chosen = run_pytest(tmp_path, *small, "--lshsample-families", two, "-k", "query")
    assert "2 passed" in chosen.stdout, chosen.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lshsample-families", "nope"], "family must be one of "),
        (["--lshsample-families", "e2lsh:widht=2"], "widht"),
        (["--lshsample-families", "e2lsh:n_tables=2"], "n_tables"),
        (["--lshsample-metric", "euclid"], "--lshsample-metric must be one of "),
        (["--lshsample-tables", "0"], "n_tables must be an integer >= 1 (got 0)"),
        (["--lshsample-model", "."], "needs --lshsample-data"),
        (["--lshsample-data", "none.npy"], "--lshsample-data must be an existing path"),
    ],
)
def test_a_wrong_option_is_one_usage_error(tmp_path, words, message):
    (tmp_path / "test_bench.py").write_text(BENCH)
    done = run_pytest(tmp_path, "-p", "no:benchmark", *words)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("e2lsh:widht=2", "did you mean 'width'?"),
        ("e2lsh:width=-2", "width must be a finite number"),
        ("dwtta", "did you mean 'dwta'?"),
    ],
)
def test_a_wrong_family_in_the_module_is_one_error(tmp_path, family, message):
    (tmp_path / "test_bench.py").write_text(BENCH.replace("dwta", family))
    (tmp_path / "conftest.py").write_text(STAND_IN)
    done = run_pytest(tmp_path, "-p", "no:benchmark", "--lshsample-items", "800", "--lshsample-tables", "2")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    assert "1 error" in done.stdout
    assert message in done.stdout


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory, data):
    """A folder with benchmarks and their saved run, its JSON, and the options."""
    if importlib.util.find_spec("pytest_benchmark") is None:
        pytest.skip("pytest-benchmark is not installed: pip install 'lshsample[bench]'")
    folder = tmp_path_factory.mktemp("saved")
    (folder / "test_bench.py").write_text(BENCH)
    words = ["-p", "no:xdist", "--benchmark-only", "--benchmark-storage", folder / "store"]
    words += ["--lshsample-data", data, "--lshsample-tables", "12"]
    done = run_pytest(folder, *words, "--benchmark-save=base", "--lshsample-metric", "cosine")
    assert done.returncode == 0, done.stdout + done.stderr
    (stored,) = (folder / "store").rglob("*_base.json")
    return folder, stored, words, done.stdout


def test_runs_describe_themselves_and_show_their_recall(saved_run):
    _, stored, _, shown = saved_run
    runs = json.loads(stored.read_text())["benchmarks"]
    assert len({one["group"] for one in runs}) == 3
    for one in runs:
        run = one["extra_info"]["run"]
        assert (run["n_tables"], run["dim"], run["metric"], run["k"], run["seed"]) == (
            12,
            30,
            "cosine",
            10,
            0,
        )
        assert run["n_items"] + run["n_queries"] == 200
        assert {"n_hashes", "n_probes", "threads", "cpu", "isa", "data_digest"} <= set(run)
        assert {"lshsample", "numpy", "pytest-benchmark"} <= set(run["versions"])
    (query,) = (one for one in runs if one["name"] == "test_query[simhash]")
    assert f"test_query[simhash] recall@10={query['extra_info']['recall']:.3f}" in shown
    assert {"candidates", "index_bytes"} <= set(query["extra_info"])


def test_other_settings_are_not_compared_silently(saved_run):
    folder, stored, words, _ = saved_run
    loose = [*words, f"--benchmark-compare={stored.name[:4]}", "--benchmark-compare-fail=median:10000%"]
    loose += ["-k", "query"]
    same = run_pytest(folder, *loose, "--lshsample-metric", "cosine", "--lshsample-max-recall-loss", "0")
    assert same.returncode == 0, same.stdout
    assert "differences" not in same.stdout
    assert same.stdout.count("recall@10=") == 4, "the saved runs have theirs too"
    other = run_pytest(folder, *loose, "--lshsample-seed", "3", "--lshsample-metric", "l2")
    assert other.returncode == pytest.ExitCode.TESTS_FAILED
    assert "metric: 'cosine', now 'l2'" in other.stdout
    assert "seed: 0, now 3" in other.stdout


def test_a_loss_of_recall_fails(saved_run):
    folder, stored, words, _ = saved_run
    data = json.loads(stored.read_text())
    for one in data["benchmarks"]:
        if "recall" in one["extra_info"]:
            one["extra_info"]["recall"] += 0.1
    (stored.parent / "0002_better.json").write_text(json.dumps(data))
    words = [*words, "--lshsample-metric", "cosine", "--benchmark-compare=0002", "-k", "query"]
    lost = run_pytest(folder, *words, "--lshsample-max-recall-loss", "0.05")
    assert lost.returncode == pytest.ExitCode.TESTS_FAILED
    assert "test_query[simhash]: recall 0." in lost.stdout


def test_other_test_suites_are_not_affected():
    code = (
        "import sys, lshsample.pytest_plugin\n"
        "assert not {'numpy', 'scipy', 'attrs', 'rich', 'lshsample.registry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    assert "simhash" in families()
