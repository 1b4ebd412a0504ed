"""A comparison measured again: what is slower, larger or finds less than in a stored run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from rich import box
from rich.table import Table

from lshsample.compare.environment import differences
from lshsample.errors import ArgumentError, DataFormatError
from lshsample.specs import number

__all__ = ["FORMAT", "Changes", "Tolerance", "changes", "changes_table", "check_comparable", "read_baseline"]

#: The name of the format of results, and its version.
FORMAT = "lshsample-comparison-1"

#: What recall and the size of an index depend on, besides the versions.
_SAME = ("n_items", "n_queries", "dim", "metric", "k", "data_digest")
#: What times depend on, besides.
_MACHINE = ("cpu", "isa", "threads")
_ANY = number(0, float("inf"))


@attrs.frozen(kw_only=True)
class Tolerance:
    """What counts as a regression.

    Attributes
    ----------
    slowdown : float
        Largest relative growth of the median time per query, and of building. A growth beyond it is a
        regression if the fastest repetition, too, is slower than the third quartile of the baseline.
    recall_loss : float
        Largest loss of recall.
    index_growth : float
        Largest relative growth of the index.
    """

    slowdown: float = attrs.field(default=0.3, validator=_ANY)
    recall_loss: float = attrs.field(default=0.01, validator=_ANY)
    index_growth: float = attrs.field(default=0.05, validator=_ANY)


@attrs.frozen(kw_only=True)
class Changes:
    """How a run differs from a baseline.

    Attributes
    ----------
    regressions : tuple of str
        A line for each figure that is worse than the tolerance allows, and for each family that the baseline
        measured and this run could not.
    notes : tuple of str
        Other differences: versions, settings, options of families, runs that only one of the two has.
    compared : mapping
        For each family the ratios of times per query and of build times (now / before), the changes of
        recall, and the ratios of index sizes, over all runs that both have.
    """

    regressions: tuple[str, ...]
    notes: tuple[str, ...]
    compared: Mapping[str, Mapping[str, Sequence[float]]]


def read_baseline(path: str | PathLike[str]) -> dict[str, Any]:
    """The result of a comparison, from JSON.

    Raises
    ------
    DataFormatError
        The file is not the result of ``lshsample compare --json``.
    """
    try:
        data = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise DataFormatError(path, 0, 0, f"not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise DataFormatError(
            path, 0, 0, f"format is {found!r}; expected {FORMAT!r} (lshsample compare --json)"
        )
    missing = {"workload", "settings", "machine", "figures"} - set(data)
    if missing:
        raise DataFormatError(path, 0, 0, f"{', '.join(sorted(missing))} missing")
    return data


def check_comparable(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a baseline of another workload or seed.

    Raises
    ------
    ArgumentError
        Recalls cannot be compared; the message names the settings that differ, with both values.
    """
    old, new = (
        {**_part(run, "workload", _SAME), **_part(run, "settings", ("seed",))} for run in (before, now)
    )
    found = differences(old, new)
    if found:
        given = "; ".join(f"{name}: {text}" for name, text in found.items())
        raise ArgumentError("baseline", given, "a run of the same workload and seed")


def _part(run: Mapping[str, Any], section: str, names: Iterable[str]) -> dict[str, Any]:
    return {name: run.get(section, {}).get(name) for name in names}


def _runs(run: Mapping[str, Any]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """The figures by label, K, L and probes."""
    return {
        tuple(one[name] for name in ("label", "n_hashes", "n_tables", "n_probes")): one
        for one in run["figures"]
    }


def _named(key: tuple[Any, ...]) -> str:
    label, n_hashes, n_tables, n_probes = key
    return f"{label}, K = {n_hashes}, L = {n_tables}, probes = {n_probes}" if n_tables else str(label)


def changes(before: Mapping[str, Any], now: Mapping[str, Any], tolerance: Tolerance) -> Changes:
    """Compare a run with a baseline of the same workload.

    Parameters
    ----------
    before, now : mapping
        Results as ``lshsample compare --json`` writes them.
    tolerance : Tolerance
        What counts as a regression.

    Returns
    -------
    Changes
        Times are compared only if both runs are of the same processor, instruction set and threads.

    Raises
    ------
    ArgumentError
        The runs have other workloads or seeds, or no figures in common.
    """
    check_comparable(before, now)
    machine = differences(*(_part(run, "machine", _MACHINE) for run in (before, now)))
    notes = [f"times are not compared: {name} was {text}" for name, text in machine.items()]
    versions = differences(*(run["machine"]["versions"] for run in (before, now)))
    notes += [f"version of {name}: {text}" for name, text in versions.items()]
    old, new = _runs(before), _runs(now)
    regressions, compared = list[str](), dict[str, dict[str, list[float]]]()
    for key in [key for key in old if key in new]:
        options = differences(old[key]["spec"], new[key]["spec"])
        notes += [f"{_named(key)}: option {name} was {text}" for name, text in options.items()]
        found = compared.setdefault(
            str(key[0]), {"query_ratios": [], "build_ratios": [], "recall_changes": [], "index_ratios": []}
        )
        worse = _compare(old[key], new[key], tolerance, found, with_times=not machine)
        # Exact search and uniform draws are no families: they show how fast the machine was.
        lines = [f"{_named(key)}: {text}" for text in worse]
        regressions += lines if key[2] else []
        notes += [] if key[2] else [f"{line}; the machine was faster" for line in lines]
    if not any(key in new for key in old if key[2]):
        labels = sorted({str(key[0]) for key in old if key[2]})
        given = f"runs of {', '.join(labels) or 'no family'}"
        raise ArgumentError("baseline", given, "a run with some of the same families, K, L and probes")
    refused = now.get("refused", {})
    for key in [key for key in old if key not in new]:
        is_refused = key[0] in refused and key[0] not in before.get("refused", {})
        (regressions if is_refused else notes).append(f"{_named(key)}: only in the baseline")
    notes += [f"{_named(key)}: not in the baseline" for key in new if key not in old]
    return Changes(regressions=tuple(regressions), notes=tuple(notes), compared=compared)


def _compare(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    tolerance: Tolerance,
    found: dict[str, list[float]],
    *,
    with_times: bool,
) -> list[str]:
    """The regressions of one run; its ratios are added to ``found``."""
    worse = []
    if with_times and old["build_seconds"] and new["build_seconds"]:
        found["build_ratios"].append(new["build_seconds"]["median"] / old["build_seconds"]["median"])
        worse += _slower("build time", old["build_seconds"], new["build_seconds"], tolerance)
    if old["index_bytes"]:
        ratio = new["index_bytes"] / old["index_bytes"]
        found["index_ratios"].append(ratio)
        if ratio > 1 + tolerance.index_growth:
            worse.append(
                f"index size {new['index_bytes']:,} bytes, was {old['index_bytes']:,} ({ratio:.2f} times)"
            )
    points = {point["budget"]: point for point in old["points"]}
    for point in new["points"]:
        was = points.get(point["budget"])
        if was is None:
            continue
        where = f"{point['budget']:,} candidates"
        found["recall_changes"].append(point["recall"] - was["recall"])
        if was["recall"] - point["recall"] > tolerance.recall_loss:
            worse.append(f"{where}: recall {point['recall']:.3f}, was {was['recall']:.3f}")
        if with_times:
            times = was["query_seconds"], point["query_seconds"]
            found["query_ratios"].append(times[1]["median"] / times[0]["median"])
            worse += _slower(f"{where}: time per query", *times, tolerance)
    return worse


def _slower(what: str, old: Mapping[str, float], new: Mapping[str, float], tolerance: Tolerance) -> list[str]:
    ratio = new["median"] / old["median"]
    if ratio <= 1 + tolerance.slowdown or new["least"] <= old["third_quartile"]:
        return []
    return [f"{what} {_with_spread(new)}, was {_with_spread(old)} ({ratio:.2f} times)"]


def _with_spread(timing: Mapping[str, float]) -> str:
    low, median, high = (timing[name] * 1e6 for name in ("first_quartile", "median", "third_quartile"))
    return f"{median:,.0f} us ({low:,.0f} to {high:,.0f})"


def changes_table(found: Changes) -> Table:
    """For each family the median change over its runs, with the quartiles of the ratios."""
    table = Table(
        title="compared with the baseline: now / before, median (quartiles) over all runs of a family",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("family", "time per query", "build time", "index size", "change of recall"):
        table.add_column(heading, justify="left" if heading == "family" else "right", no_wrap=True)
    for label, one in found.compared.items():
        losses = one["recall_changes"]
        recall = f"{min(losses):+.3f} to {max(losses):+.3f}" if losses else ""
        ratios = (_quartiles(one[name]) for name in ("query_ratios", "build_ratios", "index_ratios"))
        table.add_row(label, *ratios, recall)
    return table


def _quartiles(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    low, median, high = np.percentile(ratios, [25, 50, 75])
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
