"""The pytest plugin: hash families side by side under pytest-benchmark, in a family author's own suite.

It is found by pytest's entry point and does nothing by itself. A test that asks for the fixture
``lshsample_contender`` is run for each family that ``--lshsample-families`` names, or the list
``LSHSAMPLE_FAMILIES`` of its module, or else every installed one; ready-made tests are in
:mod:`lshsample.compare.benchmarks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Nothing of lshsample is imported before a test asks for it: every run of pytest imports this file.
if TYPE_CHECKING:
    from lshsample.compare.measure import ComparisonSettings, Contender
    from lshsample.compare.workloads import Workload

__all__ = ["lshsample_contender", "lshsample_settings", "lshsample_workload"]


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of pytest-benchmark where that is not installed, so that its tests can be collected."""
    config.addinivalue_line("markers", "benchmark: options of pytest-benchmark")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of comparisons."""
    group = parser.getgroup("lshsample", "comparison of hash families (lshsample)")
    group.addoption("--lshsample-families", metavar="NAMES", help="families to compare, with commas between")
    group.addoption("--lshsample-data", metavar="FILE", help="a data file whose rows are items and queries")
    group.addoption("--lshsample-model", metavar="DIR", help="a model whose last layer's units are the items")
    group.addoption("--lshsample-items", metavar="N", type=int, default=20_000, help="at most so many items")
    group.addoption("--lshsample-tables", metavar="L", type=int, default=50, help="tables")
    group.addoption("--lshsample-threads", metavar="N", type=int, default=None, help="threads")


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
    """One run for each family, of the tests that ask for a contender."""
    if "lshsample_contender" in metafunc.fixturenames:
        metafunc.parametrize("lshsample_contender", _names(metafunc), indirect=True)


@pytest.fixture
def lshsample_contender(request: pytest.FixtureRequest) -> Contender:
    """A family to be compared; ``.make(dim, bits, n_tables)`` makes it."""
    from lshsample.compare.measure import Contender
    from lshsample.errors import LshsampleError

    try:
        return Contender.parse(request.param)
    except LshsampleError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def lshsample_settings(pytestconfig: pytest.Config) -> ComparisonSettings:
    """How families are measured."""
    from lshsample.compare.measure import ComparisonSettings

    threads = pytestconfig.getoption("--lshsample-threads")
    return ComparisonSettings(n_tables=pytestconfig.getoption("--lshsample-tables"), threads=threads)


@pytest.fixture(scope="session")
def lshsample_workload(pytestconfig: pytest.Config) -> Workload:
    """Items, queries and truth: a trained layer, a data file's rows, or synthetic rows."""
    from lshsample.compare.workloads import Workload
    from lshsample.data import load
    from lshsample.nn import Network

    data, model = pytestconfig.getoption("--lshsample-data"), pytestconfig.getoption("--lshsample-model")
    count = pytestconfig.getoption("--lshsample-items")
    if data is None:
        if model is not None:
            raise pytest.UsageError("--lshsample-model needs --lshsample-data, whose rows go through it")
        return Workload.synthetic(count)
    x = load(data).x
    if model is None:
        return Workload.of_rows(f"rows of {Path(data).name}", x, n_items=count)
    return Workload.of_layer(Network.load(model), x, n_items=count)
