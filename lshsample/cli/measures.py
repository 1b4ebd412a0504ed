"""The measures of ``evaluate``: which are wanted, their values, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from rich.table import Table

from lshsample import metrics
from lshsample.cli.app import output
from lshsample.errors import ArgumentError, did_you_mean
from lshsample.metrics import Interval

__all__ = ["NAMES", "Wanted", "print_bins", "print_measures"]

#: The names, and how they are printed.
NAMES = {"p": "P", "r": "R", "ndcg": "nDCG", "f1": "F1", "psp": "PSP", "psndcg": "PSnDCG"}


@attrs.frozen
class Wanted:
    """Measures at some numbers of predictions."""

    names: tuple[str, ...]
    tops: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, n_labels: int) -> Wanted:
        """From ``p,ndcg@1,3,5``; the numbers are 1, 3 and 5 by default, as far as there are labels."""
        listed, at, numbers = text.partition("@")
        names = tuple(name.strip().lower() for name in listed.split(","))
        for name in names:
            if name not in NAMES:
                wanted = f"names of {', '.join(NAMES)}, as in p,ndcg@1,3,5{did_you_mean(name, NAMES)}"
                raise ArgumentError("--measures", repr(text), wanted)
        try:
            tops = tuple(map(int, numbers.split(","))) if at else tuple(k for k in (1, 3, 5) if k <= n_labels)
        except ValueError:
            tops = (0,)
        if not all(1 <= k <= n_labels for k in tops):
            wanted = f"followed by numbers from 1 to {n_labels}, the number of labels, as in p,ndcg@1,3,5"
            raise ArgumentError("--measures", repr(text), wanted)
        return cls(tuple(dict.fromkeys(names)), tuple(sorted(set(tops))))

    def check(self, has_training: bool) -> None:
        """Refuse measures of training labels without them."""
        scored = [name for name in self.names if metrics.MEASURES[name]]
        if scored and not has_training:
            wanted = "used with --train, the training data, whose label frequencies they need"
            raise ArgumentError("--measures", ",".join(scored), wanted)

    def measure(self, labels: Any, y: Any, trained: Any = None, level: float = 0.95) -> dict[str, Interval]:
        """Percentages with their intervals by name, from predictions, true labels and training labels."""
        propensity = metrics.propensities(trained) if any(map(metrics.MEASURES.get, self.names)) else None
        wanted = [f"{name}@{k}" for name in self.names for k in self.tops]
        found = metrics.intervals(labels, y, wanted, propensity=propensity, level=level)
        return {name: _percent(one) for name, one in found.items()}


def _percent(one: Interval) -> Interval:
    return Interval(*(100 * number for number in one))


def print_measures(measures: Mapping[str, float | Interval]) -> None:
    """A line for each measure, with its values in percent, and their intervals if there are any."""
    lines: dict[str, list[str]] = {}
    for key, value in measures.items():
        name, _, k = key.partition("@")
        lines.setdefault(name, []).append(f"{NAMES[name]}@{k} {_shown(value)}".ljust(18))
    for cells in lines.values():
        output.print("  ".join(cells).rstrip(), highlight=False, markup=False, soft_wrap=True)


def _shown(value: float | Interval) -> str:
    if not isinstance(value, Interval):
        return f"{value:.2f} %"
    return f"{value.value:.2f} % ({value.low:.2f} to {value.high:.2f})"


def print_bins(bins: list[dict[str, Any]], k: int) -> None:
    """A table of the labels by their number of training rows."""
    table = Table("training rows", "labels", "true", f"P@{k} %", f"R@{k} %", f"F1@{k} %")
    for column in table.columns:
        column.justify = "right"
    for one in bins:
        low, high = one["rows"]
        rows = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        each = (_percent(one["intervals"][name]) for name in ("precision", "recall", "f1"))
        shares = (f"{at.value:.2f} ({at.low:.2f} to {at.high:.2f})" for at in each)
        table.add_row(rows, f"{one['labels']:,}", f"{one['true']:,}", *shares)
    output.print(table)
