"""What a run depends on: data, settings, versions and the machine; and how two runs differ in it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lshsample._native import core
from lshsample.compare.workloads import Workload
from lshsample.hookspecs import GROUP

__all__ = ["describe_machine", "describe_workload", "differences"]


def describe_workload(workload: Workload) -> dict[str, Any]:
    """The workload as plain data, with a digest of its rows."""
    return {
        "name": workload.name,
        "n_items": workload.n_items,
        "n_queries": workload.n_queries,
        "dim": workload.dim,
        "metric": workload.metric,
        "k": workload.k,
        "data_digest": workload.digest,
    }


def describe_machine(threads: int | None, packages: Iterable[str] = ()) -> dict[str, Any]:
    """The processor, threads and versions of a run as plain data.

    Parameters
    ----------
    threads : int or None
        Number of threads that the run was given.
    packages : iterable of str
        Distributions whose versions matter besides lshsample, NumPy, SciPy and those of the installed
        plugins; those that are not installed are left out.
    """
    plugins = {point.dist.name for point in metadata.entry_points(group=GROUP) if point.dist}
    versions = {"python": platform.python_version()}
    for name in sorted({"lshsample", "numpy", "scipy", *plugins, *packages}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _processor_name(),
        "processors": core.processors(),
        "isa": core.isa(),
        "threads": core.threads_or_default(threads),
        "versions": versions,
    }


def _processor_name() -> str:
    """The model of the processor; Python knows only its architecture on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, list(value) if isinstance(value, tuple) else value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The names whose values differ between two descriptions, with both values as text.

    Examples
    --------
    >>> differences({"metric": "l2", "versions": {"numpy": "2.0"}}, {"metric": "l1", "versions": {}})
    {'metric': "'l2', now 'l1'", 'versions.numpy': "'2.0', now missing"}
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    shown = {
        name: [repr(side[name]) if name in side else "missing" for side in (old, new)] for name in old | new
    }
    return {name: f"{a}, now {b}" for name, (a, b) in shown.items() if a != b}
