"""The option --smoke; every benchmark stores the machine, threads and versions that it ran with."""

import pytest
import sizes

from lshsample.compare.environment import describe_machine

#: Distributions of peers, whose versions are stored.
PEERS = ["datasketch", "faiss-cpu", "hnswlib", "omikuji", "pytest-benchmark", "rensa", "scikit-learn"]
PEERS += ["threadpoolctl", "torch"]


def pytest_addoption(parser):
    parser.addoption("--smoke", action="store_true", help="small sizes, one round: does every benchmark run?")


def pytest_configure(config):
    sizes.SMOKE = config.getoption("--smoke")


@pytest.fixture(autouse=True)
def described(request):
    if "benchmark" in request.fixturenames:
        benchmark = request.getfixturevalue("benchmark")
        threads = getattr(request.module, "THREADS", None)
        benchmark.extra_info["run"] = {"smoke": sizes.SMOKE, **describe_machine(threads, PEERS)}
