"""The pytest plugin: comparisons of hash families with pytest-benchmark, for authors of families.

pytest loads it through its entry point; it only adds options and fixtures. A test with the fixture
``lshsample_contender`` is run once for each family: those of ``--lshsample-families``, or of the list
``LSHSAMPLE_FAMILIES`` in its module, or else all installed ones. Ready-made benchmarks are in
:mod:`lshsample.compare.benchmarks`. Tables of pytest-benchmark show the recall that a benchmark stores in
``extra_info``; runs of other settings than those of a saved run are reported by name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# lshsample is imported when a test needs it, since every run of pytest imports this file.
if TYPE_CHECKING:
    from lshsample.compare.contenders import ComparisonSettings, Contender
    from lshsample.compare.workloads import Workload

__all__ = ["lshsample_contender", "lshsample_settings", "lshsample_workload"]

#: Options that are integers: the placeholder, the default and the help of each.
_NUMBERS: dict[str, tuple[str, int | None, str]] = {
    "items": ("N", 20_000, "largest number of items"),
    "queries": ("N", 200, "number of queries"),
    "k": ("K", 10, "number of nearest items that recall is measured by"),
    "bits": ("B", 8, "length of codes in bits"),
    "tables": ("L", 50, "number of tables"),
    "probes": ("P", None, "buckets per table that queries look into (default: the family's)"),
    "seed": ("N", 0, "determines the hash functions, the rows and the draws"),
    "threads": ("N", None, "number of threads (default: OMP_NUM_THREADS or all)"),
}
#: The saved runs of ``--benchmark-compare``, and the differences from them.
_SAVED = pytest.StashKey[list[dict[str, Any]]]()
_NOTES = pytest.StashKey[dict[str, None]]()
_FAILURES = pytest.StashKey[dict[str, None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register pytest-benchmark's mark, in case it is not installed; refuse wrong options."""
    config.addinivalue_line("markers", "benchmark: options of pytest-benchmark")
    config.stash[_NOTES], config.stash[_FAILURES] = {}, {}
    data, model = config.getoption("--lshsample-data"), config.getoption("--lshsample-model")
    for name, path in (("--lshsample-data", data), ("--lshsample-model", model)):
        if path is not None and not Path(path).exists():
            raise pytest.UsageError(f"{name} must be an existing path (got {path})")
    if model is not None and data is None:
        raise pytest.UsageError("--lshsample-model needs --lshsample-data, the input of the model")
    if config.getoption("--lshsample-families") is not None:
        _or_usage_error(lambda: _contenders(_given_families(config)), "--lshsample-families")
    chosen = {
        config.getoption(f"--lshsample-{name}") != default for name, (_, default, _) in _NUMBERS.items()
    }
    if any(chosen) or config.getoption("--lshsample-metric") is not None:
        _or_usage_error(lambda: (_metric(config), _settings(config)), "--lshsample options")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of comparisons."""
    group = parser.getgroup("lshsample", "comparison of hash families (lshsample)")
    group.addoption("--lshsample-families", metavar="NAMES", help="families to compare, separated by commas")
    group.addoption("--lshsample-data", metavar="FILE", help="data file; its rows are items and queries")
    group.addoption(
        "--lshsample-model", metavar="DIR", help="model; the units of its last layer are the items"
    )
    for name, (metavar, default, text) in _NUMBERS.items():
        group.addoption(f"--lshsample-{name}", metavar=metavar, type=int, default=default, help=text)
    group.addoption(
        "--lshsample-metric",
        metavar="NAME",
        help="what near means: inner, cosine, l2, l1, jaccard, or own, each family's own similarity "
        "(default: that of an HDF5 file, else inner)",
    )
    group.addoption(
        "--lshsample-max-recall-loss",
        metavar="X",
        type=float,
        help="with --benchmark-compare: fail if a recall is lower than the saved one by more than this",
    )


def _or_usage_error(check: Callable[[], Any], what: str) -> Any:
    from lshsample.errors import LshsampleError

    try:
        return check()
    except LshsampleError as error:
        raise pytest.UsageError(f"{what}: {error}") from error


def _given_families(config: pytest.Config) -> list[str]:
    from lshsample.family_text import split_families

    return split_families(config.getoption("--lshsample-families"))


def _contenders(names: Iterable[str]) -> list[Contender]:
    from lshsample.compare.contenders import Contender

    return [Contender.parse(name) for name in dict.fromkeys(names)]


def _metric(config: pytest.Config) -> str | None:
    from lshsample.compare.nearest import METRICS
    from lshsample.errors import ArgumentError

    metric: str | None = config.getoption("--lshsample-metric")
    if metric is not None and metric not in METRICS:
        raise ArgumentError("--lshsample-metric", repr(metric), f"one of {', '.join(METRICS)}")
    return metric


def _of_module(metafunc: pytest.Metafunc) -> list[Contender]:
    if metafunc.config.getoption("--lshsample-families") is not None:
        return _contenders(_given_families(metafunc.config))
    named = getattr(metafunc.module, "LSHSAMPLE_FAMILIES", None)
    if named is not None:
        return _contenders(named)
    from lshsample.compare.contenders import all_contenders

    return all_contenders()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that have the contender fixture, one run for each family."""
    if "lshsample_contender" not in metafunc.fixturenames:
        return
    from lshsample.errors import LshsampleError

    try:
        labels = [contender.label for contender in _of_module(metafunc)]
    except LshsampleError as error:
        # One error for the module, and not one for each test.
        raise pytest.Collector.CollectError(f"LSHSAMPLE_FAMILIES: {error}") from error
    metafunc.parametrize("lshsample_contender", labels, indirect=True)


@pytest.fixture
def lshsample_contender(request: pytest.FixtureRequest) -> Contender:
    """A family to compare; ``.make(dim, bits, n_tables)`` builds it."""
    return _contenders([request.param])[0]


def _settings(config: pytest.Config) -> ComparisonSettings:
    from lshsample.compare.contenders import ComparisonSettings

    names = {"bits": "bits", "n_tables": "tables", "probes": "probes", "seed": "seed", "threads": "threads"}
    return ComparisonSettings(**{own: config.getoption(f"--lshsample-{name}") for own, name in names.items()})


@pytest.fixture(scope="session")
def lshsample_settings(pytestconfig: pytest.Config) -> ComparisonSettings:
    """The settings of the measurements."""
    return _settings(pytestconfig)


@pytest.fixture(scope="session")
def lshsample_workload(pytestconfig: pytest.Config) -> Workload:
    """Items, queries and true nearest items: of a trained layer, of a data file, or synthetic."""
    from lshsample.compare.workloads import Workload
    from lshsample.data import load
    from lshsample.xc import load_network

    names = {"n_items": "items", "n_queries": "queries", "k": "k", "seed": "seed"}
    sizes = {own: pytestconfig.getoption(f"--lshsample-{name}") for own, name in names.items()}
    data, model = pytestconfig.getoption("--lshsample-data"), pytestconfig.getoption("--lshsample-model")
    metric = _metric(pytestconfig)
    if data is None:
        return Workload.synthetic(**sizes, metric=metric or "inner")
    if model is None:
        return Workload.of_file(data, **sizes, metric=metric)
    return Workload.of_layer(load_network(model), load(data).x, **sizes, metric=metric or "inner")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(config: pytest.Config, compared_benchmark: dict[str, Any]) -> None:
    """Keep the saved run that pytest-benchmark compares with."""
    config.stash.setdefault(_SAVED, []).append(compared_benchmark)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_benchmark_group_stats(
    config: pytest.Config,
) -> Generator[
    None, list[tuple[str | None, list[dict[str, Any]]]], list[tuple[str | None, list[dict[str, Any]]]]
]:
    """Show recall beside the names in the table of pytest-benchmark, which has no columns of others."""
    groups = yield
    for _, rows in groups:
        for row in rows:
            now, saved = row.get("extra_info") or {}, _saved(config, row)
            if row.get("path") is None:
                for each in saved:
                    _compare(config, row["name"], each["extra_info"], now)
                shown = now
            else:
                same = (each for each in saved if each["stats"]["median"] == row["median"])
                shown = next(same, {"extra_info": {}})["extra_info"]
            if "recall" in shown:
                k = shown.get("run", {}).get("k", "k")
                row["name"] += f" recall@{k}={shown['recall']:.3f}"
    return groups


def _saved(config: pytest.Config, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The same benchmark in the saved runs."""
    runs = (each for run in config.stash.get(_SAVED, []) for each in run["benchmarks"])
    return [each for each in runs if each["fullname"] == row["fullname"]]


def _compare(config: pytest.Config, name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Note the settings in which a benchmark differs from a saved run, and a loss of recall."""
    if "run" not in before or "run" not in now:
        return
    from lshsample.compare.environment import differences

    found = differences(before["run"], now["run"])
    for what, text in found.items():
        is_version = what.startswith("versions.")
        config.stash[_NOTES if is_version else _FAILURES][f"{what}: {text}"] = None
    largest = config.getoption("--lshsample-max-recall-loss")
    if largest is None or "recall" not in before or "recall" not in now:
        return
    if before["recall"] - now["recall"] > largest:
        text = f"{name}: recall {now['recall']:.3f}, was {before['recall']:.3f}"
        config.stash[_FAILURES][text] = None


def _must_fail(config: pytest.Config) -> bool:
    checks = ("--benchmark-compare-fail", "--lshsample-max-recall-loss")
    asked = any(config.getoption(name, default=None) for name in checks)
    return asked and bool(config.stash[_FAILURES])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if other settings were compared, or recall was lost, and the options ask for checks."""
    if _must_fail(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List by name what differs from the saved run."""
    notes, failures = config.stash[_NOTES], config.stash[_FAILURES]
    if not notes and not failures:
        return
    terminalreporter.section("lshsample: differences from the saved run")
    for text in notes:
        terminalreporter.write_line(f"version of {text.removeprefix('versions.')}")
    for text in failures:
        terminalreporter.write_line(text, red=True)
