"""The unchanged family of ``lshsample new-family``, compared with the built-in one of the same formula.

``pytest benchmarks/bench_scaffold.py --benchmark-only`` builds a package of each compiled kind, installs it
into a new folder, and hashes 50,000 dense rows on one thread with it and with SimHash's Gaussian
projection, in turns. ``extra_info`` has the ratios of the two times: ``median``, ``least`` and ``most``.
"""

import importlib
import subprocess
import sys
import time

import numpy as np
import pytest
import sizes

from lshsample.hashing import hash_rows
from lshsample.registry import make_family
from lshsample.scaffold import write_package

pytestmark = pytest.mark.skipif(sizes.SMOKE, reason="--smoke: it builds and installs packages")

ROWS, DIM, SHAPE, TURNS = 50_000, 128, {"n_hashes": 6, "n_tables": 50}, 15


@pytest.fixture(params=["c", "cffi", "numba"])
def scaffolded(request, tmp_path, monkeypatch):
    if request.param == "numba":
        pytest.importorskip("numba")
    name, package, installed = f"bench-{request.param}", tmp_path / "package", tmp_path / "installed"
    write_package(name, request.param, package)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(installed), str(package)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    monkeypatch.syspath_prepend(installed)
    (cls,) = importlib.import_module(f"lshsample_bench_{request.param}").lshsample_hash_families().values()
    return cls(cls.Spec(dim=DIM, **SHAPE))


def seconds(family, rows):
    # Processor time, as other processes on the machine would hit the two families unequally.
    start = time.process_time()
    hash_rows(family, rows, threads=1)
    return time.process_time() - start


@pytest.mark.benchmark(group="a scaffolded family")
def test_scaffolded(benchmark, scaffolded):
    rows = np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)
    builtin = make_family("simhash", dim=DIM, projection="gaussian", **SHAPE)
    for family in (builtin, scaffolded):
        hash_rows(family, rows[:100], threads=1)
    turns = [(seconds(scaffolded, rows), seconds(builtin, rows)) for _ in range(TURNS)]
    ratios = np.divide(*np.array(turns).T)
    benchmark.pedantic(hash_rows, (scaffolded, rows), {"threads": 1}, rounds=3)
    benchmark.extra_info["median"] = round(float(np.median(ratios)), 3)
    benchmark.extra_info["least"], benchmark.extra_info["most"] = ratios.min().round(3), ratios.max().round(3)
