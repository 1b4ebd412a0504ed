"""The measures of ``evaluate``: which are wanted, their values, and how they are printed."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from rich.table import Table

from lshsample import metrics
from lshsample.cli.app import output
from lshsample.errors import ArgumentError, did_you_mean

__all__ = ["NAMES", "Wanted", "print_bins", "print_measures"]

_PLAIN = {
    "p": metrics.precision_at_k,
    "r": metrics.recall_at_k,
    "ndcg": metrics.ndcg_at_k,
    "f1": metrics.f1_at_k,
}
#: Those that need the frequencies of the training labels.
_SCORED = {"psp": metrics.psp_at_k, "psndcg": metrics.psndcg_at_k}
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
        scored = [name for name in self.names if name in _SCORED]
        if scored and not has_training:
            wanted = "used with --train, the training data, whose label frequencies they need"
            raise ArgumentError("--measures", ",".join(scored), wanted)

    def measure(self, labels: Any, y: Any, trained: Any = None) -> dict[str, float]:
        """Percentages by name and number, from predictions, true labels and training labels."""
        propensity = metrics.propensities(trained) if set(self.names) & set(_SCORED) else None
        return {
            f"{name}@{k}": 100.0
            * (
                _PLAIN[name](labels, y, k)
                if name in _PLAIN
                else _SCORED[name](labels, y, np.asarray(propensity), k)
            )
            for name in self.names
            for k in self.tops
        }


def print_measures(measures: dict[str, float]) -> None:
    """A line for each measure, with its values in percent."""
    lines: dict[str, list[str]] = {}
    for key, value in measures.items():
        name, _, k = key.partition("@")
        lines.setdefault(name, []).append(f"{NAMES[name]}@{k} {value:.2f} %".ljust(18))
    for cells in lines.values():
        output.print("".join(cells).rstrip(), highlight=False, markup=False, soft_wrap=True)


def print_bins(bins: list[dict[str, Any]], k: int) -> None:
    """A table of the labels by their number of training rows."""
    table = Table("training rows", "labels", "true", f"P@{k} %", f"R@{k} %", f"F1@{k} %")
    for column in table.columns:
        column.justify = "right"
    for one in bins:
        low, high = one["rows"]
        rows = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        shares = (f"{100 * one[name]:.2f}" for name in ("precision", "recall", "f1"))
        table.add_row(rows, f"{one['labels']:,}", f"{one['true']:,}", *shares)
    output.print(table)
