"""Workloads of comparisons: items, queries, and the true nearest items of each query."""

from __future__ import annotations

import functools
import hashlib
from os import PathLike
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.compare.nearest import METRICS, kth_closeness, nearest, own_nearest
from lshsample.compare.sources import is_hdf5, read_ann_benchmark
from lshsample.data import read_rows
from lshsample.display import array_text
from lshsample.errors import ArgumentError, DataFormatError
from lshsample.family import HashFamily, Rows
from lshsample.nn import Network
from lshsample.specs import checked_integer, one_of

__all__ = ["TOP", "Workload"]

#: Default number of nearest items that recall is measured by.
TOP = 10
#: Queries whose stored neighbours are checked.
_CHECKED = 5


def _chosen(n: int, count: int | None, seed: int) -> npt.NDArray[np.int64]:
    """At most ``count`` of n row numbers, drawn at random, ascending."""
    if count is None or count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


def _rows(x: Any, name: str) -> Rows:
    return core.csr_rows(x, name) if sp.issparse(x) else core.dense_rows(x, name)


@attrs.frozen(eq=False, slots=False)
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
    truth : (m, k) int64 array or None
        Ids of the nearest items of each query; None if the metric is ``own``: they differ between families.
    k : int
        Number of nearest items that recall is measured by.
    metric : str
        What near means: ``inner`` (largest inner products), ``cosine``, ``l2``, ``l1``, ``jaccard`` (of the
        sets of non-zero columns), or ``own``, each family's own similarity.
    """

    name: str
    items: Rows = attrs.field(repr=array_text)
    queries: Rows = attrs.field(repr=array_text)
    truth: npt.NDArray[np.int64] | None = attrs.field(repr=array_text)
    k: int = TOP
    metric: str = attrs.field(default="inner", validator=one_of(*METRICS))

    @classmethod
    def of(cls, name: str, items: Any, queries: Any, *, k: int = TOP, metric: str = "inner") -> Self:
        """A workload of rows, with the true nearest items found by brute force.

        Raises
        ------
        ArgumentError
            The rows do not match, are too few, or are not finite; an unknown metric.
        """
        one_of(*METRICS)(None, attrs.fields(cls).metric, metric)
        k = checked_integer("k", k, 1)
        items, queries = _rows(items, "items"), _rows(queries, "queries")
        if sp.issparse(items) != sp.issparse(queries) or items.shape[1] != queries.shape[1]:
            kinds = [f"{'sparse' if sp.issparse(r) else 'dense'} of {r.shape[1]}" for r in (queries, items)]
            raise ArgumentError("queries", f"{kinds[0]} columns", f"as the items: {kinds[1]} columns")
        if items.shape[0] <= k or queries.shape[0] < 1:
            given = f"{items.shape[0]} items and {queries.shape[0]} queries"
            raise ArgumentError("workload", given, f"rows with more than {k} items and at least one query")
        truth = None if metric == "own" else nearest(queries, items, k, metric)
        return cls(name, items, queries, truth, k, metric)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.items.shape[0])

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return int(self.queries.shape[0])

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.items.shape[1])

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the items and queries, 16 hexadecimal digits: equal for equal workloads."""
        digest = hashlib.blake2b(digest_size=8)
        for rows in (self.items, self.queries):
            digest.update(repr(rows.shape).encode())
            parts = (rows,) if isinstance(rows, np.ndarray) else (rows.indptr, rows.indices, rows.data)
            for part in parts:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def truth_of(self, family: HashFamily) -> npt.NDArray[np.int64]:
        """The true nearest items by the metric of the workload, which may be the family's own."""
        if self.truth is not None:
            return self.truth
        return own_nearest(family, self.queries, self.items, self.k)

    @classmethod
    def synthetic(
        cls, n_items: int = 20_000, dim: int = 64, n_queries: int = 200, seed: int = 0, **chosen: Any
    ) -> Self:
        """Gaussian clusters with log-normal norms, which resemble the units of an output layer.

        ``k`` and ``metric`` as for :meth:`of`, here and below.

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
        return cls.of("synthetic rows", rows[:n_items], rows[n_items:], **chosen)

    @classmethod
    def of_rows(
        cls,
        name: str,
        x: Any,
        *,
        n_items: int | None = None,
        n_queries: int = 200,
        seed: int = 0,
        **chosen: Any,
    ) -> Self:
        """Rows of a data set: queries are drawn from them (at most half); the others are items."""
        x = _rows(x, "x")
        order = np.random.default_rng(seed).permutation(x.shape[0])
        queries, rest = np.split(order, [min(n_queries, x.shape[0] // 2)])
        return cls.of(name, x[np.sort(rest[:n_items])], x[np.sort(queries)], **chosen)

    @classmethod
    def of_file(
        cls,
        path: str | PathLike[str],
        *,
        n_items: int | None = None,
        n_queries: int = 200,
        seed: int = 0,
        k: int = TOP,
        metric: str | None = None,
        **options: Any,
    ) -> Self:
        """The rows of a file.

        Parameters
        ----------
        path : str or PathLike
            HDF5 of ann-benchmarks, whose ``train`` rows are items and ``test`` rows queries; or a file of
            :func:`~lshsample.data.read_rows`, whose rows are split as by :meth:`of_rows`.
        n_items, n_queries : int
            Largest numbers of items and of queries, which are drawn at random.
        seed, k
            As above.
        metric : str, optional
            As for :meth:`of`; by default that which an HDF5 file states, else ``inner``.
        **options
            As for :func:`~lshsample.data.read_rows`.

        Raises
        ------
        ArgumentError, DataFormatError, OSError
            As the readers; and if the ``neighbors`` of an HDF5 file are not the nearest items by its metric.
        """
        path = Path(path)
        name = f"rows of {path.name}"
        if not is_hdf5(path):
            rows = read_rows(path, **options)
            sizes: dict[str, Any] = {"n_items": n_items, "n_queries": n_queries, "seed": seed}
            return cls.of_rows(name, rows, **sizes, k=k, metric=metric or "inner")
        for option, value in options.items():
            raise ArgumentError(option, f"{value!r} for {path}", "left out for HDF5")
        data = read_ann_benchmark(path)
        items, queries = (
            _chosen(rows.shape[0], count, seed)
            for rows, count in ((data.train, n_items), (data.test, n_queries))
        )
        chosen = metric or data.metric or "inner"
        stored = None if data.neighbors is None else data.neighbors[queries]
        complete = len(items) == data.train.shape[0] and chosen == data.metric
        if stored is None or not complete or stored.shape[1] < k:
            return cls.of(name, data.train[items], data.test[queries], k=k, metric=chosen)
        k = checked_integer("k", k, 1)
        workload = cls(name, data.train, data.test[queries], np.sort(stored[:, :k], axis=1), k, chosen)
        workload._check_truth(path)
        return workload

    def _check_truth(self, path: Path) -> None:
        """Refuse stored neighbours that are not the nearest items, which would give wrong recalls."""
        assert self.truth is not None
        queries, given = self.queries[:_CHECKED], self.truth[:_CHECKED]
        true = nearest(queries, self.items, self.k, self.metric)
        # The files were made with other precision, and with ties in another order.
        least = kth_closeness(queries, self.items, true, self.metric)
        found = kth_closeness(queries, self.items, given, self.metric)
        if (found < least - 1e-3 * np.maximum(1.0, np.abs(least))).any() or (np.diff(given) == 0).any():
            problem = f"neighbors are not the {self.k} nearest rows of train by the file's distance"
            raise DataFormatError(path, 0, 0, f"{problem} ({self.metric})")

    @classmethod
    def of_layer(
        cls,
        network: Network,
        x: Any,
        *,
        n_items: int | None = None,
        n_queries: int = 200,
        seed: int = 0,
        **chosen: Any,
    ) -> Self:
        """The units of a network's last layer as items, and its inputs for feature rows as queries."""
        x = _rows(x, "x")
        queries = network.hidden(x[_chosen(x.shape[0], n_queries, seed)])
        units = network.output.unit_vectors()
        items = np.ascontiguousarray(units[_chosen(len(units), n_items, seed)])
        return cls.of("last layer of a network", items, queries, **chosen)
