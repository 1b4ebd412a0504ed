"""The option --smoke; every benchmark stores the machine, versions and calibration that it ran with."""

import functools

import pytest
import sizes

from lshsample.compare.environment import describe_machine

#: Distributions of peers, whose versions are stored.
PEERS = ["datasketch", "faiss-cpu", "hnswlib", "napkinxc", "numpy", "omikuji", "pytest-benchmark", "rensa"]
PEERS += ["scikit-learn", "scipy", "torch", "usearch"]


def pytest_addoption(parser):
    parser.addoption("--smoke", action="store_true", help="small sizes, one round: does every benchmark run?")


def pytest_configure(config):
    sizes.SMOKE = config.getoption("--smoke")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info):
    """Runs are published: what is stored names the machine's processor, and not its host."""
    machine_info.pop("node", None)


@pytest.fixture(scope="session")
def calibration():
    from calibration import Calibration  # its sizes depend on --smoke

    return Calibration()


#: The same for all benchmarks of as many threads.
machine = functools.cache(lambda threads: describe_machine(threads, PEERS))


@pytest.fixture(autouse=True)
def described(request):
    if "benchmark" in request.fixturenames:
        benchmark = request.getfixturevalue("benchmark")
        threads = getattr(request.module, "THREADS", None)
        callspec = getattr(request.node, "callspec", None)
        measured = (callspec.params.get("threads") if callspec else None) or threads or 1
        benchmark.extra_info["run"] = {"smoke": sizes.SMOKE, **machine(threads)}
        benchmark.extra_info["calibration"] = request.getfixturevalue("calibration")(measured)
