"""The rows and labels that a run is evaluated on, all of them or a sample between steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native.labels import label_rows
from lshsample.display import array_text
from lshsample.errors import ArgumentError
from lshsample.nn.batches import FeatureRows
from lshsample.nn.network import Network
from lshsample.nn.signals import take_rows
from lshsample.training.batch_source import BatchSource, epoch_order, held_out_rows
from lshsample.training.history import Evaluation
from lshsample.training.run_state import RunState

__all__ = ["Curve", "Validation", "split"]

#: The time of the evaluations between steps is at most this share of the training time before them.
_SHARE = 0.03
#: The training time of an evaluation is at least this multiple of that of the one before: the curve is dense
#: where it is steep, and as even as its cost allows on a logarithmic axis.
_GROWTH = 1.05
#: Rows by which the cost of an evaluation is measured before the first one.
_PROBE = 8


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

    def sample(self, n: int, seed: int) -> Validation:
        """The validation of at most n of its rows, a function of the seed; O(their values)."""
        if n >= len(self):
            return self
        # No epoch has this number.
        chosen, data = np.sort(epoch_order(np.arange(len(self)), seed, 2**64 - 2)[:n]), self.rows.data
        rows = take_rows(data, chosen) if sp.issparse(data) else data[chosen]
        return Validation(FeatureRows(rows), take_rows(self.labels, chosen))


class Curve:
    """Evaluates a sample of the validation data between steps, at a few percent of the training time.

    Evaluations change no weights and draw no random numbers. Their moments depend on timing.

    Parameters
    ----------
    network : Network
        The network in training.
    sample : Validation
        What it is evaluated on.
    batch_size : int
        Rows of a step.
    threads : int
        Number of threads.
    """

    def __init__(self, network: Network, sample: Validation, batch_size: int, threads: int) -> None:
        self.network, self.sample, self.batch_size, self.threads = network, sample, batch_size, threads
        self._row_seconds: float | None = None

    def evaluate_if_due(self, state: RunState) -> Evaluation | None:
        """The accuracy after a step, if it is time to measure it; the state counts what that takes."""
        if self._row_seconds is None:
            # Until a row is measured: as long as a row of a step, for as many units.
            row_seconds = state.seconds / (max(state.active, 1.0) * self.batch_size) * self.network.n_labels
            if not self._is_affordable(_PROBE * row_seconds, state):
                return None
            probe = self.sample.sample(_PROBE, 0)
            with self._timed(len(probe), state):
                self.network.predict(probe.rows, threads=self.threads)
        assert self._row_seconds is not None
        before = state.curve[-1].seconds if state.curve else 0.0
        is_time = state.seconds >= _GROWTH * before
        if not is_time or not self._is_affordable(len(self.sample) * self._row_seconds, state):
            return None
        with self._timed(len(self.sample), state):
            measured = self.network.evaluate(self.sample.rows, self.sample.labels, threads=self.threads)
        return Evaluation(state.step, state.seconds, len(self.sample), measured)

    @staticmethod
    def _is_affordable(seconds: float, state: RunState) -> bool:
        return state.curve_seconds + seconds <= _SHARE * state.seconds

    @contextlib.contextmanager
    def _timed(self, rows: int, state: RunState) -> Iterator[None]:
        """Count the time of an evaluation, and note what a row costs."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        state.curve_seconds += seconds
        self._row_seconds = seconds / rows


def split(network: Network, x: Any, y: Any, share: float, seed: int) -> tuple[Any, Any, tuple[Any, Any]]:
    """Rows and labels to train on, and the pair that is held out, chosen by the seed."""
    if isinstance(x, BatchSource):
        raise ArgumentError("validation", share, "a pair (Xv, Yv), as X is a batch source")
    rows = network.input.checked(x)
    labels = label_rows(y, "Y", network.n_labels, len(rows))
    kept, held = held_out_rows(len(rows), share, seed)
    return rows.take(kept), take_rows(labels, kept), (rows.take(held), take_rows(labels, held))
