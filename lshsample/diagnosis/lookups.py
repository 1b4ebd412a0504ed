"""What hash tables over the units of a layer find of its largest outputs, and in what time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.registry import make_family
from lshsample.sampling import Retrieve, Sampler
from lshsample.specs import checked_integer, checked_number
from lshsample.tables import HashTables

__all__ = [
    "FRACTIONS",
    "Lookup",
    "UnitTables",
    "best_of",
    "checked_fractions",
    "checked_settings",
    "default_settings",
    "largest",
    "looked_up",
]

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: Shares of the units that the oracle keeps.
FRACTIONS = (0.01, 0.02, 0.05, 0.1)


@attrs.frozen
class Lookup:
    """What tables of one shape find for the queries of a layer.

    Attributes
    ----------
    n_hashes, n_tables : int
        K and L of SimHash over the units' weights, with their biases.
    share : float
        Mean share of the units that are found, which is what is then scored.
    recall : dict of float to float
        For each share of the oracle, the part of its units that are among those found.
    loss : float
        The loss if the units found are the only ones that are active.
    seconds : float
        To look up, score and rank the units of a batch; compare with ``exact_seconds`` of the diagnosis.
    """

    n_hashes: int
    n_tables: int
    share: float
    recall: dict[float, float]
    loss: float
    seconds: float


class UnitTables:
    """Tables over the units of a layer, less their mean, which changes no order of a row's outputs."""

    def __init__(
        self, weights: Float32, bias: Float32 | None, shape: tuple[int, int], seed: int, threads: int | None
    ) -> None:
        column = np.zeros(len(weights), np.float32) if bias is None else bias
        rows = np.column_stack([weights, column]).astype(np.float32)
        rows -= rows.mean(0)
        family = make_family("simhash", dim=rows.shape[1], n_hashes=shape[0], n_tables=shape[1], seed=seed)
        self.tables = HashTables(family, threads=threads).build(rows)
        self.sampler: Sampler = Retrieve().bind(tables=self.tables)
        self.threads, self.n_units = threads, len(rows)

    def found(self, h: Float32) -> Mask:
        """Which units (rows, units) are found for inputs (rows, d)."""
        found = self.tables.query(_queries(h), threads=self.threads)
        mask = np.zeros((len(h), self.n_units), bool)
        mask[np.repeat(np.arange(len(h)), np.diff(found.indptr)), found.ids] = True
        return mask

    def seconds(self, h: Float32) -> float:
        """The time to look up, score and rank the units for inputs."""
        queries = _queries(h)
        return best_of(lambda: self.sampler.search(queries, 1, threads=self.threads))


def looked_up(
    weights: Float32,
    bias: Float32 | None,
    h: Float32,
    masks: Mapping[float, Mask],
    settings: Sequence[tuple[int, int]],
    loss: Callable[[UnitTables, Mask], float],
    *,
    seed: int,
    threads: int | None,
) -> tuple[Lookup, ...]:
    """What tables of each setting find for inputs of a layer.

    Parameters
    ----------
    weights, bias : (units, d) and (units,) arrays
        Of the layer; the bias may be None.
    h : (rows, d) array
        Its inputs.
    masks : dict of float to (rows, units) bool array
        The largest outputs, for each share of the oracle.
    settings : sequence of (n_hashes, n_tables)
    loss : callable
        The loss with the units alone that tables find; called with the tables and what they found for ``h``.
    seed, threads
        Of the tables.
    """
    lookups = []
    for shape in settings:
        tables = UnitTables(weights, bias, shape, seed, threads)
        found = tables.found(h)
        recall = {share: float((found & mask).sum() / mask.sum()) for share, mask in masks.items()}
        lookups.append(Lookup(*shape, float(found.mean()), recall, loss(tables, found), tables.seconds(h)))
    return tuple(lookups)


def _queries(h: Float32) -> Float32:
    return np.column_stack([h, np.ones(len(h), np.float32)])


def best_of(call: Callable[[], Any], times: int = 3) -> float:
    """The shortest time of some calls, after one that is not counted."""
    taken = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def default_settings(n_units: int) -> list[tuple[int, int]]:
    """Numbers of hashes and tables to try: random buckets of about 32 or 8 units, 8 or 32 tables."""
    bits = math.log2(max(n_units, 2))
    hashes = sorted({min(max(round(bits - less), 2), 24) for less in (5, 3)})
    return [(k, tables) for k in hashes for tables in (8, 32)]


def checked_fractions(fractions: Any) -> tuple[float, ...]:
    """Shares of units above 0 and at most 1, ascending."""
    if isinstance(fractions, str) or not isinstance(fractions, Sequence) or not len(fractions):
        raise ArgumentError(
            "fractions", repr(fractions), "a sequence of numbers above 0, such as (0.01, 0.1)"
        )
    return tuple(sorted({checked_number("fractions", f, 0, 1, open_low=True) for f in fractions}))


def checked_settings(settings: Any, n_units: int) -> list[tuple[int, int]]:
    """Pairs (n_hashes, n_tables)."""
    if settings is None:
        return default_settings(n_units)
    if not isinstance(settings, Sequence) or isinstance(settings, str) or not len(settings):
        raise ArgumentError("settings", repr(settings), "a sequence of pairs (n_hashes, n_tables)")
    pairs = []
    for pair in settings:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentError("settings", repr(pair), "pairs (n_hashes, n_tables)")
        pairs.append(
            (checked_integer("n_hashes", pair[0], 1, 32), checked_integer("n_tables", pair[1], 1, 65535))
        )
    return pairs


def largest(outputs: Float32, k: int) -> Mask:
    """Which outputs (rows, units) are among the k largest of their row."""
    mask = np.zeros(outputs.shape, bool)
    kept = np.argpartition(-outputs, k - 1, axis=1)[:, :k]
    np.put_along_axis(mask, kept, True, axis=1)
    return mask
