"""The pytest plugin: comparisons of hash families with pytest-benchmark, for authors of families.

pytest loads it through its entry point; it only adds options and fixtures. A test with the fixture
``lshsample_contender`` is run once for each family: those of ``--lshsample-families``, or of the list
``LSHSAMPLE_FAMILIES`` in its module, or else all installed ones. Ready-made benchmarks are in
:mod:`lshsample.compare.benchmarks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# lshsample is imported when a test needs it, since every run of pytest imports this file.
if TYPE_CHECKING:
    from lshsample.compare.measure import ComparisonSettings, Contender
    from lshsample.compare.workloads import Workload

__all__ = ["lshsample_contender", "lshsample_settings", "lshsample_workload"]


def pytest_configure(config: pytest.Config) -> None:
    """Register pytest-benchmark's mark, so that its tests can be collected if it is not installed."""
    config.addinivalue_line("markers", "benchmark: options of pytest-benchmark")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of comparisons."""
    group = parser.getgroup("lshsample", "comparison of hash families (lshsample)")
    group.addoption("--lshsample-families", metavar="NAMES", help="families to compare, separated by commas")
    group.addoption("--lshsample-data", metavar="FILE", help="data file; its rows are items and queries")
    group.addoption(
        "--lshsample-model", metavar="DIR", help="model; the units of its last layer are the items"
    )
    group.addoption(
        "--lshsample-items", metavar="N", type=int, default=20_000, help="largest number of items"
    )
    group.addoption("--lshsample-tables", metavar="L", type=int, default=50, help="number of tables")
    group.addoption("--lshsample-threads", metavar="N", type=int, default=None, help="number of threads")


def _names(metafunc: pytest.Metafunc) -> list[str]:
    text = metafunc.config.getoption("--lshsample-families")
    if text:
        from lshsample.family_text import split_families

        return split_families(text)
    named = getattr(metafunc.module, "LSHSAMPLE_FAMILIES", None)
    if named is not None:
        return list(named)
    from lshsample.compare.measure import all_contenders

    return [contender.label for contender in all_contenders()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that have the contender fixture, one run for each family."""
    if "lshsample_contender" in metafunc.fixturenames:
        metafunc.parametrize("lshsample_contender", _names(metafunc), indirect=True)


@pytest.fixture
def lshsample_contender(request: pytest.FixtureRequest) -> Contender:
    """A family to compare; ``.make(dim, bits, n_tables)`` builds it."""
    from lshsample.compare.measure import Contender
    from lshsample.errors import LshsampleError

    try:
        return Contender.parse(request.param)
    except LshsampleError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def lshsample_settings(pytestconfig: pytest.Config) -> ComparisonSettings:
    """The settings of the measurements."""
    from lshsample.compare.measure import ComparisonSettings

    threads = pytestconfig.getoption("--lshsample-threads")
    return ComparisonSettings(n_tables=pytestconfig.getoption("--lshsample-tables"), threads=threads)


@pytest.fixture(scope="session")
def lshsample_workload(pytestconfig: pytest.Config) -> Workload:
    """Items, queries and true nearest items: of a trained layer, of a data file, or synthetic."""
    from lshsample.compare.workloads import Workload
    from lshsample.data import load
    from lshsample.nn import Network

    data, model = pytestconfig.getoption("--lshsample-data"), pytestconfig.getoption("--lshsample-model")
    count = pytestconfig.getoption("--lshsample-items")
    if data is None:
        if model is not None:
            raise pytest.UsageError("--lshsample-model needs --lshsample-data, the input of the model")
        return Workload.synthetic(count)
    x = load(data).x
    if model is None:
        return Workload.of_rows(f"rows of {Path(data).name}", x, n_items=count)
    return Workload.of_layer(Network.load(model), x, n_items=count)
