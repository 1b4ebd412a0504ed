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


def test_other_test_suites_are_not_affected():
    code = (
        "import sys, lshsample.pytest_plugin\n"
        "assert not {'numpy', 'scipy', 'attrs', 'rich', 'lshsample.registry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    assert "simhash" in families()
