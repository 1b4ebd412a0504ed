"""The rows and labels that a run is evaluated on."""

from __future__ import annotations

from typing import Any

import attrs
import scipy.sparse as sp

from lshsample._native.labels import label_rows
from lshsample.display import array_text
from lshsample.errors import ArgumentError
from lshsample.nn.batches import FeatureRows
from lshsample.nn.network import Network
from lshsample.nn.signals import take_rows
from lshsample.training.batch_source import BatchSource, held_out_rows

__all__ = ["Validation", "split"]


@attrs.frozen(eq=False)
class Validation:
    """Validated rows and labels to evaluate on.

    Attributes
    ----------
    rows : FeatureRows
        Feature rows.
    labels : csr_array
        Their labels, at least one.
    """

    rows: FeatureRows
    labels: sp.csr_array = attrs.field(repr=array_text)

    @classmethod
    def of(cls, network: Network, pair: tuple[Any, Any]) -> Validation:
        """The rows and labels of a pair (Xv, Yv) for a network.

        Raises
        ------
        ArgumentError
            Not a pair, rows or labels of another shape or with bad values, or no label.
        """
        if not isinstance(pair, tuple) or len(pair) != 2:
            wanted = "a pair (Xv, Yv), or a number between 0 and 1"
            raise ArgumentError("validation", type(pair).__name__, wanted)
        rows = network.input.checked(pair[0], "validation[0]")
        labels = label_rows(pair[1], "validation[1]", network.n_labels, len(rows))
        if not labels.nnz:
            given = "no label in any row" if len(rows) else "no rows"
            raise ArgumentError("validation", given, "a pair (Xv, Yv) with at least one row and one label")
        return cls(rows, labels)

    def __len__(self) -> int:
        return len(self.rows)


def split(network: Network, x: Any, y: Any, share: float, seed: int) -> tuple[Any, Any, tuple[Any, Any]]:
    """Rows and labels to train on, and the pair that is held out, chosen by the seed."""
    if isinstance(x, BatchSource):
        raise ArgumentError("validation", share, "a pair (Xv, Yv), as X is a batch source")
    rows = network.input.checked(x)
    labels = label_rows(y, "Y", network.n_labels, len(rows))
    kept, held = held_out_rows(len(rows), share, seed)
    return rows.take(kept), take_rows(labels, kept), (rows.take(held), take_rows(labels, held))
