"""Workloads of comparisons: items, queries, and the true nearest items of each query."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.nn import Network
from lshsample.sampling.stages.exact_top import exact_top

__all__ = ["TOP", "Workload"]

#: Number of nearest items that recall is measured by.
TOP = 10


def _chosen(n: int, count: int | None, seed: int) -> npt.NDArray[np.int64]:
    """At most ``count`` of n row numbers, drawn at random, ascending."""
    if count is None or count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


@attrs.frozen(eq=False)
class Workload:
    """Items, and queries with their true nearest items.

    Attributes
    ----------
    name : str
        A description.
    items : (n, dim) rows
        Dense float32 or CSR.
    queries : (m, dim) rows
        Of the same kind as the items.
    truth : (m, 10) int64 array
        Ids of the items with the largest inner products with each query.
    """

    name: str
    items: Rows
    queries: Rows
    truth: npt.NDArray[np.int64]

    @classmethod
    def of(cls, name: str, items: Any, queries: Any) -> Self:
        """A workload of rows, with the true nearest items found by brute force."""
        if items.shape[0] <= TOP or queries.shape[0] < 1:
            given = f"{items.shape[0]} items and {queries.shape[0]} queries"
            raise ArgumentError("workload", given, f"rows with more than {TOP} items and at least one query")
        return cls(name, items, queries, exact_top(queries, items, TOP))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.items.shape[0])

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.items.shape[1])

    @classmethod
    def synthetic(cls, n_items: int = 20_000, dim: int = 64, n_queries: int = 200, seed: int = 0) -> Self:
        """Gaussian clusters with log-normal norms, which resemble the units of an output layer.

        Examples
        --------
        >>> Workload.synthetic(500, 16, 4).truth.shape
        (4, 10)
        """
        rng = np.random.default_rng([21, seed])
        centres = rng.standard_normal((max(8, n_items // 100), dim))
        norms = np.exp(0.3 * rng.standard_normal(n_items + n_queries))
        own = centres[rng.integers(len(centres), size=len(norms))]
        directions = (own + 0.7 * rng.standard_normal(own.shape)) / np.sqrt(dim)
        rows = (norms[:, None] * directions).astype(np.float32)
        return cls.of(f"synthetic, {n_items} x {dim}", rows[:n_items], rows[n_items:])

    @classmethod
    def of_rows(
        cls, name: str, x: Any, *, n_items: int | None = None, n_queries: int = 200, seed: int = 0
    ) -> Self:
        """Rows of a data set: queries are drawn from them (at most half); the others are items."""
        order = np.random.default_rng(seed).permutation(x.shape[0])
        queries, rest = np.split(order, [min(n_queries, x.shape[0] // 2)])
        return cls.of(name, x[np.sort(rest[:n_items])], x[np.sort(queries)])

    @classmethod
    def of_layer(
        cls, network: Network, x: Any, *, n_items: int | None = None, n_queries: int = 200, seed: int = 0
    ) -> Self:
        """The units of a network's last layer as items, and its inputs for feature rows as queries."""
        queries = network.hidden(x[_chosen(x.shape[0], n_queries, seed)])
        units = network.output.unit_vectors()
        items = np.ascontiguousarray(units[_chosen(len(units), n_items, seed)])
        return cls.of(f"last layer of a network, {items.shape[0]} x {items.shape[1]}", items, queries)
