"""Ranking labels by the last layer: all in float32, all through 8-bit bounds, or those that tables find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import memory
from lshsample._native.byterows import ByteRows
from lshsample._native.core import threads_or_default
from lshsample.errors import ArgumentError, DivergenceError, MemoryBudgetError, UnsupportedError
from lshsample.nn.layer import OutputLayer
from lshsample.nn.signals import times
from lshsample.sampling import Sampler
from lshsample.specs import checked_integer

if TYPE_CHECKING:
    from lshsample.nn.network import Network

__all__ = ["Mode", "Precision", "Ranker", "Ranking"]

Mode = Literal["exact", "sampled", "auto"]
Precision = Literal["float32", "int8"]
Way = Literal["float32", "int8", "tables"]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

#: Rows by which ``mode="auto"`` measures what tables find.
_TRIAL = 256


@attrs.frozen
class _Costs:
    """Seconds of one weight, on one thread: rounded figures of one processor.

    They choose the way alone, and are not measured at the call, so that the choice does not depend on the
    machine's load.
    """

    #: Of all labels: for each call, as the weights are read, and for each row.
    read: float = 5e-10
    multiplied: float = 1.6e-11
    #: The same in 8 bits, and for making the copy.
    read_int8: float = 1e-10
    multiplied_int8: float = 4e-12
    copied: float = 1.3e-8
    #: For each label that is scored alone, whose weights are fetched from anywhere.
    fetched: float = 8e-10

    def exact(self, rows: int, labels: int, inputs: int) -> float:
        """Seconds of a batch that scores all labels in float32."""
        return labels * inputs * (self.read + rows * self.multiplied)

    def int8(self, rows: int, labels: int, inputs: int, scored: float) -> float:
        """Seconds of a batch through 8-bit bounds, with ``scored`` labels of a row in float32."""
        bounds = labels * inputs * (self.read_int8 + rows * self.multiplied_int8)
        return bounds + self.tables(rows, scored, inputs)

    def tables(self, rows: int, scored: float, inputs: int) -> float:
        """Seconds of a batch that scores ``scored`` labels of a row alone."""
        return rows * scored * inputs * self.fetched


_COSTS = _Costs()


@attrs.frozen(eq=False)
class Ranking:
    """The best labels of rows, and what they cost.

    Attributes
    ----------
    labels : ndarray of int32, shape (rows, top)
        As :meth:`Network.predict` returns them.
    scores : ndarray of float32, shape (rows, top)
        Their logits.
    scored_mean : float
        Labels of a row whose score was computed in float32, on average; 0 without rows.
    took : dict of str to int
        The number of rows that were ranked in each way: ``"float32"`` (all labels), ``"int8"`` (all labels,
        through 8-bit bounds) and ``"tables"`` (labels that tables found).
    """

    labels: Int32
    scores: Float32
    scored_mean: float
    took: Mapping[str, int]


class Ranker:
    """Ranks labels for rows, by the weights that a network has now; made by :meth:`Network.ranker`.

    It keeps what is made once: the 8-bit copy of the last layer, and with ``mode="auto"`` what was measured.
    After a training step make another one.

    Parameters
    ----------
    network : Network
        With allocated parameters.
    h : (m, inputs) float32
        Inputs of the last layer that others will be like.
    top, mode, sampler, precision, recall
        As for :meth:`Network.ranker`.
    n_rows : int or None
        Rows that will be ranked in all, if this is known.
    threads : int
    """

    def __init__(
        self,
        network: Network,
        h: Float32,
        top: int,
        mode: Mode,
        sampler: Sampler | None,
        precision: Precision,
        recall: float,
        n_rows: int | None,
        threads: int,
    ) -> None:
        self._network, self.top, self.mode, self._threads = network, top, mode, threads
        self._last: OutputLayer = network.output
        self._sampler, self._copy = sampler, None
        self._ways: tuple[Way, ...] = ("tables",) if mode == "sampled" else (precision,)
        #: Labels of a row that each way scores in float32, as far as it was measured.
        self._scored: dict[Way, float] = {}
        if mode == "auto":
            self._ways = ("float32",)
            if self._copy_pays(n_rows, len(h)) and self._made_copy(h):
                self._ways = ("float32", "int8")
            if sampler is not None and len(h):
                self._try_tables(h[:_TRIAL], recall)
        elif precision == "int8":
            self._copy = self._byte_rows(h)

    @memory.named_shortage("predicting")
    def rank(
        self,
        X: Any,
        *,
        batch_size: int = 1024,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Ranking:
        """The best labels of rows.

        Parameters
        ----------
        X, batch_size, threads, progress
            As for :meth:`Network.predict`.

        Returns
        -------
        Ranking

        Raises
        ------
        ArgumentError, DivergenceError
            As :meth:`Network.predict`.
        """
        rows = self._network.input.checked(X)
        batch_size, count = checked_integer("batch_size", batch_size, 1), threads_or_default(threads)
        labels = np.full((len(rows), self.top), -1, np.int32)
        scores = np.full((len(rows), self.top), -np.inf, np.float32)
        scored, took = 0, dict[str, int]()
        for start, h in self._network.hidden_batches(rows, batch_size, count):
            part, way = slice(start, start + len(h)), self._way(len(h))
            labels[part], scores[part], some = self._best(way, h, count)
            scored += some
            took[way] = took.get(way, 0) + len(h)
            if way != "tables" and (labels[part] < 0).any():
                row = start + int((labels[part] < 0).any(axis=1).argmax())
                raise DivergenceError(f"row {row}: scores are NaN: weights or hidden units are not finite")
            if progress is not None:
                progress(start + len(h), len(rows))
        return Ranking(labels, scores, scored / max(len(rows), 1), took)

    def _best(self, way: Way, h: Float32, threads: int) -> tuple[Int32, Float32, int]:
        """The best labels of inputs of the last layer, their scores, and the number computed in float32."""
        last = self._last
        if way == "float32":
            return *last.top_k(h, self.top, threads=threads), len(h) * last.units
        if way == "int8":
            assert self._copy is not None
            return self._copy.top_k(times(h, last.stored_factor), self.top, threads=threads)
        if self._sampler is None:
            return last.top_retrieved(h, self.top, threads)
        found = self._sampler.sample(h, threads=threads)
        return *last.top_k(h, self.top, found, threads=threads), len(found.ids)

    # The choice.

    def _way(self, rows: int) -> Way:
        """The cheapest way for a batch."""
        return min(self._ways, key=lambda way: self._cost(way, rows))

    def _cost(self, way: Way, rows: int) -> float:
        labels, inputs = self._last.units, self._last.context.inputs
        if way == "float32":
            return _COSTS.exact(rows, labels, inputs)
        scored = self._scored.get(way, 0.0)
        if way == "int8":
            return _COSTS.int8(rows, labels, inputs, scored)
        return _COSTS.tables(rows, scored, inputs)

    def _copy_pays(self, n_rows: int | None, batch: int) -> bool:
        """Whether what an 8-bit copy saves is more than what it costs."""
        if n_rows is None:
            return True
        batch = max(batch, 1)
        saved = n_rows / batch * (self._cost("float32", batch) - self._cost("int8", batch))
        return saved > self._last.units * self._last.context.inputs * _COSTS.copied

    def _byte_rows(self, h: Float32) -> ByteRows:
        like = times(h, self._last.stored_factor) if len(h) else None
        return self._last.byte_rows(self._threads, like)

    def _made_copy(self, h: Float32) -> bool:
        """Makes the copy, where the layer keeps one and memory allows it."""
        try:
            self._copy = self._byte_rows(h)
        except (UnsupportedError, MemoryBudgetError):
            return False
        if len(h):
            trial = h[:_TRIAL]
            self._scored["int8"] = self._best("int8", trial, self._threads)[2] / len(trial)
        return True

    def _try_tables(self, h: Float32, recall: float) -> None:
        """Lets tables be chosen if they find the best labels of rows."""
        wanted = self._best(self._way(len(h)), h, self._threads)[0][:, 0]
        found, _, scored = self._best("tables", h, self._threads)
        self._scored["tables"] = scored / len(h)
        if (found[:, 0] == wanted).mean() >= recall:
            self._ways = (*self._ways, "tables")


def checked_ranker(
    network: Network,
    h: Callable[[], Float32],
    top: int | None,
    mode: Mode,
    sampler: Sampler | None,
    precision: Precision,
    recall: float,
    n_rows: int | None,
    threads: int,
) -> Ranker:
    """A ranker, of arguments that are checked before anything is computed."""
    last = network.output
    top = min(5, last.units) if top is None else top
    top = checked_integer("top", top, 1, last.units, ", the number of labels")
    if precision not in ("float32", "int8"):
        raise ArgumentError("precision", repr(precision), "'float32' or 'int8'")
    if precision == "int8" and mode in ("sampled", "auto"):
        raise ArgumentError("precision", f"'int8' with mode={mode!r}", f"'float32' with mode={mode!r}")
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise ArgumentError("recall", repr(recall), "a number above 0, at most 1")
    _check_mode(last, mode, sampler)
    network.allocate_for_prediction(threads)
    needed = mode == "auto" or precision == "int8"
    rows = h() if needed else np.empty((0, last.context.inputs), np.float32)
    return Ranker(network, rows, top, mode, sampler, precision, recall, n_rows, threads)


def _check_mode(last: OutputLayer, mode: str, sampler: Sampler | None) -> None:
    """Refuse a mode that there is not, and a sampler that does not fit it."""
    if mode not in ("exact", "sampled", "auto"):
        raise ArgumentError("mode", repr(mode), "'exact', 'sampled' or 'auto'")
    if mode == "exact":
        if sampler is not None:
            raise ArgumentError("sampler", sampler, "left out with mode='exact', which scores all labels")
    elif sampler is not None:
        if sampler.n_items != last.units:
            given, wanted = f"one over {sampler.n_items} items", f"a sampler over the {last.units} labels"
            raise ArgumentError("sampler", given, wanted)
    elif mode == "sampled" and not last.retrieves:
        needed = "retrieves from hash tables" if last.samples else "samples"
        raise UnsupportedError(
            f"mode='sampled' needs a last layer that {needed}, or a sampler; use mode='exact'"
        )
