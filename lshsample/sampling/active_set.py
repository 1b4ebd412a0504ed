"""The active set: the items sampled for a batch of queries, with their inclusion probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.display import SHOWN_ROWS, few_ids, html_table, span
from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.specs import checked_index

__all__ = ["LAWS", "ActiveSet", "Law"]

Law = Literal["conditional", "marginal"]
LAWS: tuple[Law, ...] = ("conditional", "marginal")


@attrs.frozen(eq=False, kw_only=True, repr=False)
class ActiveSet:
    """Rows of item ids, in CSR form: one row per query, or one for the whole batch.

    Attributes
    ----------
    indptr : (rows + 1,) int64 array
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int32 array
        Item ids, ascending and unique in a row.
    counts : (n,) int32 array
        Number of tables (and probed buckets) in which each id collided with the query; 0 for ids that were
        not retrieved from tables.
    n_items : int
        Number of items; ids are smaller.
    pooled : bool
        Whether one row serves the whole batch.
    law : "conditional" or "marginal"
        What ``log_inclusion`` is a probability over: the random draws alone, conditional on the tables
        (retrieved ids are then certain), or the draws and the hash functions.
    biased_by : str or None
        Why the set has no inclusion probabilities, with the stage's name; None if it has them.
    draws : (rows,) int64 array or None
        If all ids that are not certain are one simple random sample: its size in each row, for exact
        variances. None for other designs.

    Notes
    -----
    With pi the inclusion probabilities, ``sum(f(ids) / pi)`` is an unbiased estimate of the sum of f over
    all items (Horvitz & Thompson 1952); the expectation is over what ``law`` says. After a stage that acts on
    a set of random size (a cap, a budget of tables) the inclusion probability has no closed form;
    ``log_inclusion`` is then minus the log of an unbiased weight (of mean 1 for every item), for use in the
    same sums. Such a weight may be 0, with an infinite entry: the id contributes nothing to a sum. If some
    item had probability 0, the set is biased and ``log_inclusion`` raises.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    n_items: int
    pooled: bool = False
    law: Law = "conditional"
    biased_by: str | None = None
    draws: npt.NDArray[np.int64] | None = attrs.field(default=None, repr=False)
    _log_inclusion: npt.NDArray[np.float32] | None = attrs.field(default=None, repr=False)

    @property
    def log_inclusion(self) -> npt.NDArray[np.float32]:
        """Log inclusion probability of each id, (n,) float32.

        Raises
        ------
        BiasedSampleError
            The set has no inclusion probabilities; the message contains the stage.
        """
        if self.biased_by is not None or self._log_inclusion is None:
            raise BiasedSampleError(self.biased_by or "the active set has no inclusion probabilities")
        return self._log_inclusion

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The weight 1 / pi of each id in sums over all items, (n,) float64: ``exp(-log_inclusion)``.

        Raises
        ------
        BiasedSampleError
            The set has no inclusion probabilities; the message contains the stage.

        Examples
        --------
        >>> from lshsample import Uniform
        >>> active = Uniform(50).bind(n_items=1000).sample(n_queries=1)
        >>> np.unique(active.weights).round(4)
        array([20.])
        """
        return np.exp(-self.log_inclusion.astype(np.float64))

    @property
    def is_biased(self) -> bool:
        """Whether there are no inclusion probabilities, so that ``log_inclusion`` would raise."""
        return self.biased_by is not None or self._log_inclusion is None

    @property
    def n_rows(self) -> int:
        """Number of rows: one per query, or 1 if pooled."""
        return len(self.indptr) - 1

    def __len__(self) -> int:
        return self.n_rows

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """The ids of each row, as :meth:`row`."""
        return (self.row(index) for index in range(self.n_rows))

    def row(self, index: int) -> npt.NDArray[np.int32]:
        """The ids of row ``index``: (n,) int32, ascending, a view; negative indices count from the end.

        Raises
        ------
        ArgumentError
            There is no such row.
        """
        at = checked_index("index", index, self.n_rows)
        return self.ids[self.indptr[at] : self.indptr[at + 1]]

    def to_csr(self, values: npt.ArrayLike | None = None) -> sp.csr_array:
        """The set as a sparse matrix (n_rows, n_items), with an entry for each id.

        Parameters
        ----------
        values : (n,) array, optional
            The entries, one for each id, such as :attr:`weights`, ``np.exp(active.log_inclusion)`` or
            ``counts``; by default ones.

        Raises
        ------
        ArgumentError
            Another number of values.

        Examples
        --------
        With the weights, products are the unbiased estimates of sums over all items:

        >>> from lshsample import Full
        >>> active = Full().bind(n_items=4).sample(n_queries=2)
        >>> active.to_csr(active.weights) @ np.arange(4.0)
        array([6., 6.])
        """
        entries = np.ones(len(self.ids)) if values is None else np.asarray(values)
        if entries.shape != self.ids.shape or entries.dtype.kind not in "fiub":
            given = f"{entries.dtype} of shape {entries.shape}"
            raise ArgumentError("values", given, f"an array of {len(self.ids)} numbers, one for each id")
        return sp.csr_array((entries, self.ids, self.indptr), shape=(self.n_rows, self.n_items))

    def row_of_ids(self) -> npt.NDArray[np.int64]:
        """The row of each id, (n,)."""
        return np.repeat(np.arange(self.n_rows), np.diff(self.indptr))

    def keep(self, mask: npt.ArrayLike) -> Self:
        """A subset of the set, without probabilities: what a custom filter returns.

        Parameters
        ----------
        mask : (n,) bool array
            True for ids to keep.

        Examples
        --------
        >>> indptr, ids = np.array([0, 2, 3]), np.array([1, 5, 2], np.int32)
        >>> active = ActiveSet(indptr=indptr, ids=ids, counts=np.array([3, 1, 1], np.int32), n_items=9)
        >>> active.keep(active.ids > 1).indptr
        array([0, 1, 2])
        """
        chosen = np.asarray(mask)
        if chosen.dtype != np.bool_ or chosen.shape != self.ids.shape:
            raise ArgumentError(
                "mask", f"{chosen.dtype} {chosen.shape}", f"a bool array of shape {self.ids.shape}"
            )
        indptr = np.concatenate([[0], np.cumsum(chosen)])[self.indptr].astype(np.int64)
        return attrs.evolve(
            self,
            indptr=indptr,
            ids=self.ids[chosen],
            counts=self.counts[chosen],
            log_inclusion=None,
            biased_by=None,
            draws=None,
        )

    def join(self, ids: npt.ArrayLike) -> Self:
        """The set with ids added to each row, without probabilities: what a custom source returns.

        Parameters
        ----------
        ids : (rows, w) integer array
            Ids for each row; ids already in the set keep their counts, new ones have count 0.

        Examples
        --------
        >>> indptr, ids = np.array([0, 2]), np.array([1, 5], np.int32)
        >>> active = ActiveSet(indptr=indptr, ids=ids, counts=np.array([3, 1], np.int32), n_items=9)
        >>> active.join([[5, 7]]).ids
        array([1, 5, 7], dtype=int32)
        """
        more = np.asarray(ids)
        if more.ndim != 2 or len(more) != self.n_rows or more.dtype.kind not in "iu":
            raise ArgumentError(
                "ids", f"{more.dtype} {more.shape}", f"an integer array with {self.n_rows} rows"
            )
        if more.size and (more.min() < 0 or more.max() >= self.n_items):
            raise ArgumentError("ids", f"{more.min()} to {more.max()}", f"from 0 to {self.n_items - 1}")
        places = np.arange(self.n_rows)[:, None] * self.n_items + more
        old = self.row_of_ids() * self.n_items + self.ids
        # np.unique returns the first of equal keys: the id already in the set, with its count.
        keys, first = np.unique(np.concatenate([old, places.ravel()]), return_index=True)
        counts = np.concatenate([self.counts, np.zeros(more.size, np.int32)])[first]
        indptr = np.searchsorted(keys, np.arange(self.n_rows + 1) * self.n_items).astype(np.int64)
        merged = (keys % self.n_items).astype(np.int32)
        return attrs.evolve(
            self, indptr=indptr, ids=merged, counts=counts, log_inclusion=None, biased_by=None, draws=None
        )

    def __repr__(self) -> str:
        rows = "pooled" if self.pooled else f"{self.n_rows:,} row{'s' * (self.n_rows != 1)}"
        sizes = np.diff(self.indptr)
        each = f" ({span(sizes, ',')} per row)" if self.n_rows > 1 else ""
        return (
            f"ActiveSet({rows}, {len(self.ids):,} ids{each} of {self.n_items:,} items, {self._law_shown()})"
        )

    def _law_shown(self) -> str:
        if self.is_biased:
            return "no inclusion probabilities"
        return f"{self.law} inclusion probabilities {span(np.exp(self.log_inclusion))}"

    def _repr_html_(self) -> str:
        header = ["row", "number of ids", "ids", "collisions"]
        header += [] if self.is_biased else ["inclusion probability"]
        rows = []
        for row in range(min(self.n_rows, SHOWN_ROWS)):
            own = slice(self.indptr[row], self.indptr[row + 1])
            cells = [row, f"{len(self.ids[own]):,}", few_ids(self.ids[own]), span(self.counts[own], ",")]
            rows.append(cells if self.is_biased else [*cells, span(np.exp(self.log_inclusion[own]))])
        return html_table(repr(self), header, rows, total=self.n_rows)
