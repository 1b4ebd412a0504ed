"""Tables for the prediction of a trained layer: hashes, tables and probes by the P@1 that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing, memory
from lshsample._native import core, layers
from lshsample._native.labels import are_labels, label_rows
from lshsample.display import html_table
from lshsample.errors import ArgumentError
from lshsample.family import FamilySpec, HashFamily
from lshsample.registry import FamilyLike
from lshsample.sampling import Pipeline, Retrieve
from lshsample.sampling.sampler import Sampler
from lshsample.specs import checked_integer, checked_number
from lshsample.tables import HashTables
from lshsample.tuning.choose import fitted_family, plain_family
from lshsample.tuning.goal import python_of, shown

__all__ = ["LayerMeasures", "TunedLayer", "tune_layer"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: Rows that predictions and checks are averaged over, at most; best labels of each that predictions look at.
_ROWS, _BEST = 512, 32
#: Rows and labels by which candidates are counted.
_COUNTED, _OTHERS = 32, 1024
_PROBES = (1, 2, 4, 8, 16, 32)
#: Bits by which codes may be shorter or longer than the logarithm of the number of labels.
_SHORTER, _LONGER = 8, 3
#: Seconds of a row, for each bucket that it looks into, and each entry of a bucket: measured.
_ROW, _BUCKET, _ENTRY = 5e-5, 1e-7, 2e-9
#: Rows that are timed one by one, and ids whose scores are timed.
_TIMED, _SCORED = 64, 4096
_MEASURES = ("p_at_1", "size", "memory_bytes", "seconds")


@attrs.frozen(kw_only=True)
class LayerMeasures:
    """What tables find of the predictions of a layer, and what that costs: predicted, or observed.

    Attributes
    ----------
    p_at_1 : float
        The share of rows whose best retrieved label is one of theirs.
    exact_p_at_1 : float
        The same of all labels.
    size : float
        Mean number of labels that are scored for a row.
    memory_bytes : int
        Bytes of the tables.
    seconds, exact_seconds : float
        Time of a single row on one thread, through the tables and of all labels.
    """

    p_at_1: float
    exact_p_at_1: float
    size: float
    memory_bytes: int
    seconds: float
    exact_seconds: float


@attrs.frozen(eq=False, kw_only=True, repr=False)
class TunedLayer:
    """The tables that were chosen for a layer, with predicted and observed measures.

    Attributes
    ----------
    p1_share : float
        The share of the exact P@1 that was wanted.
    family : HashFamily
        The hash family.
    pipeline : Pipeline
        The pipeline, to be bound to tables of the family.
    tables : HashTables
        Tables over the weights.
    predicted : LayerMeasures
        Of the rows that the choice was made by; they keep ``p1_share`` of its exact P@1.
    observed : LayerMeasures
        Of the other rows.
    """

    p1_share: float
    family: HashFamily
    pipeline: Pipeline
    tables: HashTables
    predicted: LayerMeasures
    observed: LayerMeasures

    @property
    def sampler(self) -> Sampler:
        """The sampler for ``network.predict(x, mode="sampled", sampler=...)``."""
        return self.pipeline.bind(tables=self.tables)

    @property
    def python(self) -> str:
        """The choice as a line of Python, which makes a sampler over ``weights``.

        It uses the names ``HashTables``, ``make_family`` and ``parse_pipeline`` of :mod:`lshsample`.
        """
        return python_of(self.family, self.pipeline, "weights")

    def rows(self) -> list[tuple[str, ...]]:
        """Name, predicted and observed value of each measure, and those of exact prediction, as text."""
        exact = {"p_at_1": self.observed.exact_p_at_1, "seconds": self.observed.exact_seconds}
        return [
            (
                name,
                *(shown(name, getattr(part, name)) for part in (self.predicted, self.observed)),
                shown(name, exact.get(name)),
            )
            for name in _MEASURES
        ]

    def __str__(self) -> str:
        table = [("", "predicted", "observed", "exact"), *self.rows()]
        lines = ["".join([f"{row[0]:15}", *(f"{cell:>12}" for cell in row[1:])]) for row in table]
        return "\n".join([f"{self.family!r}", str(self.pipeline), *lines, self.python])

    def __repr__(self) -> str:
        kept = f"P@1 {self.observed.p_at_1:.3g} of {self.observed.exact_p_at_1:.3g} observed"
        return f"TunedLayer({self.family!r}, {self.pipeline}, {kept})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), ["", "predicted", "observed", "exact"], self.rows())


@attrs.frozen(kw_only=True)
class _Layer:
    """A layer, with rows and whether each of their best labels, the best first, is one of theirs."""

    weights: Float32
    bias: Float32 | None
    hidden: Float32
    labels: sp.csr_array
    best: npt.NDArray[np.int32]
    correct: Bools

    @classmethod
    def of(
        cls, weights: Float32, bias: Float32 | None, hidden: Float32, labels: sp.csr_array, threads: int
    ) -> _Layer:
        best, _ = layers.top_k(hidden, weights, bias, min(_BEST, len(weights)), threads=threads)
        return cls(
            weights=weights,
            bias=bias,
            hidden=hidden,
            labels=labels,
            best=best,
            correct=are_labels(labels, best),
        )

    @property
    def exact(self) -> float:
        """P@1 of all labels."""
        return float(self.correct[:, 0].mean())


@attrs.frozen(kw_only=True)
class _Choice:
    family: HashFamily
    probes: int
    measures: LayerMeasures


@memory.named_shortage("tuning")
def tune_layer(
    weights: Any,
    hidden: Any,
    labels: Any,
    *,
    bias: Any = None,
    p1_share: float = 0.99,
    families: FamilyLike | Sequence[FamilyLike] = "cross-polytope:dimension=16",
    memory_bytes: int | None = None,
    max_tables: int = 64,
    seed: int = 0,
    threads: int | None = None,
) -> TunedLayer:
    """Choose the tables by which a trained layer predicts a single row in the least time.

    Parameters
    ----------
    weights : (n, dim) array
        The weight vectors of the labels, such as ``network.output.unit_vectors()``.
    hidden : (m, dim) array
        Inputs of the layer for rows that it was not trained on, such as ``network.hidden(x)``; at least 20.
        One half is used for the choice, the other half for the check.
    labels : (m, n) sparse or dense array, or lists of ids
        Their labels.
    bias : (n,) array, optional
        The biases of the labels. They count in the scores; tables find labels by their weights alone.
    p1_share : float
        The share of the P@1 of exact prediction that is to be left, above 0 and at most 1.
    families : family or sequence of families
        Those to choose from, each as for :func:`lshsample.make_family`. Of text, hashes and tables are
        chosen; a :class:`HashFamily`, such as one with learned functions, is taken as it is.
    memory_bytes : int, optional
        Largest size of the tables.
    max_tables : int
        Largest number of tables.
    seed : int
        Determines the hash functions and which rows and labels are sampled.
    threads : int, optional
        Number of threads for exact prediction of the rows and the tables of the check.

    Returns
    -------
    TunedLayer
        The configuration with the lowest predicted time among those that keep the share.

    Raises
    ------
    ArgumentError
        Bad arguments; no configuration keeps the share within the bounds, and the message says what can be
        kept; exact prediction is right for no row.
    UnsupportedError
        A family has a fixed number of probes.

    Notes
    -----
    The 32 best labels of up to 256 rows are found exactly. For each K and number of probes they and their
    rows are hashed, so that the label that is predicted is known for every number of tables, of which the
    fewest are taken that keep the share. A label below the 32 best counts as wrong. The number of candidates
    is estimated from random labels, and the time from it, with costs that are measured on this machine.
    Nothing but the final tables depends on the number of labels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.standard_normal((5000, 32), dtype=np.float32)
    >>> ids = rng.integers(0, 5000, 200)
    >>> hidden = weights[ids] + rng.standard_normal((200, 32), dtype=np.float32)
    >>> tuned = tune_layer(weights, hidden, ids[:, None].tolist(), p1_share=0.9, threads=1)
    >>> bool(tuned.predicted.p_at_1 >= 0.9 * tuned.predicted.exact_p_at_1), tuned.observed.size < 2500
    (True, True)
    """
    share = checked_number("p1_share", p1_share, 0.0, 1.0, open_low=True)
    most, seed = (
        checked_integer("max_tables", max_tables, 1, 65535),
        checked_integer("seed", seed, 0, 2**63 - 1),
    )
    bound = math.inf if memory_bytes is None else checked_integer("memory_bytes", memory_bytes, 1)
    count = core.threads_or_default(threads)
    chosen, held_out = _halves(*_checked(weights, hidden, labels, bias), seed, count)
    if not chosen.exact:
        raise ArgumentError("labels", "no label that is predicted", "labels of which the layer predicts some")
    tried: list[_Choice] = []
    for given in _listed(families):
        tried += _choices(given, chosen, most, share, seed)
    if not tried:
        raise ArgumentError("families", "none", "at least one family")
    wanted = share * chosen.exact
    within = [one for one in tried if one.measures.p_at_1 >= wanted and one.measures.memory_bytes <= bound]
    if not within:
        inside = [one.measures.p_at_1 for one in tried if one.measures.memory_bytes <= bound]
        if not inside:
            least = min(one.measures.memory_bytes for one in tried)
            raise ArgumentError("memory_bytes", memory_bytes, f"{least} or more with these families")
        reached = f"at most {max(inside) / chosen.exact:.3g}"
        wanted_text = f"{reached}, which {most} tables of these families keep within the bounds"
        raise ArgumentError("p1_share", f"{share:g}", wanted_text)
    best = min(within, key=lambda one: one.measures.seconds)
    tables = HashTables(best.family, threads=threads).build(chosen.weights)
    pipeline = Pipeline((Retrieve(probes=best.probes),))
    return TunedLayer(
        p1_share=share,
        family=tables.family,
        pipeline=pipeline,
        tables=tables,
        predicted=best.measures,
        observed=_observed(held_out, pipeline.bind(tables=tables), tables, count),
    )


def _listed(families: FamilyLike | Sequence[FamilyLike]) -> list[FamilyLike]:
    if isinstance(families, str | HashFamily | FamilySpec | Mapping):
        return [families]
    if not isinstance(families, Sequence):
        raise ArgumentError("families", repr(families), "a family or a sequence of families")
    return list(families)


def _checked(
    weights: Any, hidden: Any, labels: Any, bias: Any
) -> tuple[Float32, Float32 | None, Float32, sp.csr_array]:
    rows = core.dense_rows(weights, "weights")
    if not rows.size:
        raise ArgumentError("weights", f"shape {rows.shape}", "an array of at least one label and one column")
    h = core.dense_rows(hidden, "hidden", rows.shape[1])
    if len(h) < 20:
        raise ArgumentError("hidden", f"{len(h)} rows", "an array of 20 rows or more")
    y = label_rows(labels, "labels", len(rows), len(h))
    if y.shape != (len(h), len(rows)):
        raise ArgumentError("labels", f"shape {y.shape}", f"labels of shape {(len(h), len(rows))}")
    if bias is None:
        return rows, None, h, y
    biases = core.dense_rows(np.reshape(bias, (1, -1)), "bias", len(rows))[0]
    return rows, biases, h, y


def _halves(
    weights: Float32, bias: Float32 | None, hidden: Float32, labels: sp.csr_array, seed: int, threads: int
) -> tuple[_Layer, _Layer]:
    """The rows of the choice, and those of the check."""
    order = np.random.default_rng(seed).permutation(len(hidden))[:_ROWS]
    half = len(order) // 2
    chosen, held_out = (
        _Layer.of(weights, bias, hidden[ids], labels[ids], threads) for ids in (order[:half], order[half:])
    )
    return chosen, held_out


def _choices(given: FamilyLike, layer: _Layer, most: int, share: float, seed: int) -> Iterator[_Choice]:
    """For each code length and number of probes: the fewest tables that keep the share, or all."""
    n_labels, dim = layer.weights.shape
    if isinstance(given, HashFamily) and given.dim != dim:
        raise ArgumentError("families", f"dim {given.dim}", f"families of dim {dim}, as the weights")
    scoring = _seconds_of_scoring(layer)
    others = np.random.default_rng(seed).integers(0, n_labels, _OTHERS)
    fixed = [given] if isinstance(given, HashFamily) else []
    for family in fixed or _lengths(given, layer, most, seed):
        for found in _found(family, layer, others):
            n_tables = family.n_tables if fixed else found.fewest(share * layer.exact)
            chosen = family if fixed else type(family)(attrs.evolve(family.spec, n_tables=n_tables))
            measures = LayerMeasures(
                p_at_1=float(found.p_at_1[n_tables - 1]),
                exact_p_at_1=layer.exact,
                size=float(found.sizes[n_tables - 1]),
                memory_bytes=HashTables.memory_needed(chosen, n_labels).tables,
                seconds=found.seconds(n_tables, scoring),
                exact_seconds=scoring * n_labels,
            )
            yield _Choice(family=chosen, probes=found.probes, measures=measures)


def _lengths(given: FamilyLike, layer: _Layer, n_tables: int, seed: int) -> Iterator[HashFamily]:
    """The family with each number of hashes whose codes have about as many values as there are labels."""
    n_labels, dim = layer.weights.shape
    fitted = fitted_family(plain_family(given, dim, seed), layer.weights)
    bits = math.log2(n_labels)
    for n_hashes in range(1, 33):
        try:
            family = type(fitted)(attrs.evolve(fitted.spec, n_hashes=n_hashes, n_tables=n_tables))
        except ArgumentError:  # longer than a code can be
            return
        if family.code_bits > max(bits, fitted.code_bits) + _LONGER:
            return
        if family.code_bits >= bits - _SHORTER:
            yield family


@attrs.frozen(eq=False, kw_only=True)
class _Found:
    """What the tables of a family find with a number of probes.

    Attributes
    ----------
    probes : int
        Buckets per table.
    p_at_1, sizes : (n_tables,) float64 array
        P@1 and the mean number of labels that are found, with 1 table, 2 tables and so on.
    entries : float
        Mean number of labels in the probed buckets of one table.
    hashing : float
        Seconds to hash a row for one table.
    """

    probes: int
    p_at_1: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]
    entries: float
    hashing: float

    def fewest(self, wanted: float) -> int:
        """The fewest tables that have a P@1, or all."""
        enough = np.flatnonzero(self.p_at_1 >= wanted)
        return int(enough[0]) + 1 if len(enough) else len(self.p_at_1)

    def seconds(self, n_tables: int, scoring: float) -> float:
        """Expected time of a row."""
        each = self.hashing + _BUCKET * self.probes + _ENTRY * self.entries
        return _ROW + each * n_tables + scoring * float(self.sizes[n_tables - 1])


def _found(family: HashFamily, layer: _Layer, others: npt.NDArray[np.int64]) -> Iterator[_Found]:
    """What the tables find with each number of probes, by the codes of the best labels and of other ones."""
    tried = [n for n in _PROBES if n == 1 or (family.can_probe and 4 * n <= 2**family.code_bits)]
    probed = hashing.probe_rows(family, layer.hidden, tried[-1])
    ids, places = np.unique(layer.best, return_inverse=True)
    codes = hashing.hash_rows(family, layer.weights[ids])[places.reshape(layer.best.shape)]
    counted = probed[:_COUNTED]
    codes_of_others = hashing.hash_rows(family, layer.weights[others])
    of_others = np.broadcast_to(codes_of_others, (len(counted), *codes_of_others.shape))
    first = _first_probe(codes, probed)
    first_of_others = _first_probe(of_others, counted)
    for probes in tried:
        found = np.logical_or.accumulate(first < probes, axis=2)
        best = found.argmax(axis=1)
        correct = np.take_along_axis(layer.correct, best, axis=1) & found.any(axis=1)
        inside = first_of_others < probes
        scale = len(layer.weights) / len(others)
        distinct = np.logical_or.accumulate(inside, axis=2).sum(axis=1).mean(axis=0)
        yield _Found(
            probes=probes,
            p_at_1=correct.mean(axis=0),
            sizes=scale * distinct + found.sum(axis=1).mean(axis=0),
            entries=scale * float(inside.sum(axis=1).mean()),
            hashing=_seconds_of_hashing(family, layer.hidden[:1], probes) / family.n_tables,
        )


def _first_probe(codes: npt.NDArray[np.uint32], probed: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """For codes (rows, labels, tables) the first of probed ones (rows, tables, probes), or their number."""
    n_probes = probed.shape[2]
    first = np.full(codes.shape, n_probes, np.uint8)
    for probe in range(n_probes - 1, -1, -1):
        first[codes == probed[:, None, :, probe]] = probe
    return first


def _fastest(call: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def _seconds_of_hashing(family: HashFamily, row: Float32, probes: int) -> float:
    return _fastest(lambda: hashing.probe_rows(family, row, probes, threads=1))


def _seconds_of_scoring(layer: _Layer) -> float:
    """Seconds to score one label of a row."""
    count = min(_SCORED, len(layer.weights))
    ids = np.linspace(0, len(layer.weights) - 1, count).astype(np.int32)
    ends, row = np.array([0, count]), layer.hidden[:1]
    return _fastest(lambda: layers.csr_top_k(row, layer.weights, layer.bias, ends, ids, 1, threads=1)) / count


def _observed(layer: _Layer, sampler: Sampler, tables: HashTables, threads: int) -> LayerMeasures:
    """The measures of rows that had no part in the choice."""
    weights, bias, hidden = layer.weights, layer.bias, layer.hidden

    def through_tables(rows: Float32, count: int) -> tuple[npt.NDArray[np.int32], int]:
        found = sampler.sample(rows, threads=count)
        best, _ = layers.csr_top_k(rows, weights, bias, found.indptr, found.ids, 1, threads=count)
        return best, len(found.ids)

    best, scored = through_tables(hidden, threads)
    single = [hidden[at : at + 1] for at in range(min(_TIMED, len(hidden)))]
    times = [_fastest(partial(through_tables, row, 1), 2) for row in single]
    exact = [_fastest(partial(layers.top_k, row, weights, bias, 1, threads=1), 1) for row in single]
    return LayerMeasures(
        p_at_1=float(are_labels(layer.labels, best).mean()),
        exact_p_at_1=layer.exact,
        size=scored / len(hidden),
        memory_bytes=tables.memory_bytes,
        seconds=float(np.median(times)),
        exact_seconds=float(np.median(exact)),
    )
