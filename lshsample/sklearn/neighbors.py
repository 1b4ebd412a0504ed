"""Nearest rows by cosine as a scikit-learn transformer and neighbours estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from lshsample._native import topk
from lshsample.errors import ArgumentError
from lshsample.sklearn.threads import seed_of, threads_of
from lshsample.specs import checked_integer, checked_number
from lshsample.xc import RowNeighbours
from lshsample.xc.unit_rows import unit_rows

__all__ = ["LSHNeighbors"]

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_MODES = ("distance", "connectivity")
#: Neighbours that a search by radius asks for at first; and cosines that are held at once.
_FIRST, _CELLS = 64, 1 << 22


class LSHNeighbors(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The nearest rows by cosine distance, 1 - cosine: graphs of neighbours for other estimators.

    Parameters
    ----------
    n_neighbors : int
        Neighbours of each row.
    radius : float
        For searches by radius: the largest cosine distance, below 1.
    mode : str
        What :meth:`transform` returns: ``"distance"`` or ``"connectivity"``.
    index : str
        ``"auto"``; ``"inverted"`` (sparse rows) or ``"exact"`` (dense rows), which find all; or ``"lsh"``,
        hash tables, which find a share. See :meth:`RowNeighbours.build <lshsample.xc.RowNeighbours.build>`.
    family : str, optional
        The hash family, with ``index="lsh"``.
    recall : float
        The share of the nearest rows that hash tables are chosen to find.
    random_state : int or RandomState, optional
        Determines the hash functions; by default 0.
    n_jobs : int, optional
        Threads; by default one, -1 for all. Results do not depend on it.

    Attributes
    ----------
    neighbours_ : RowNeighbours
        The index.
    n_samples_fit_ : int
        Number of rows.
    effective_metric_ : str
        ``"cosine"``.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    The contract is that of scikit-learn's ``KNeighborsTransformer``. With ``mode="distance"``,
    :meth:`transform` finds one neighbour more, since rows are neighbours of themselves. A query for which the
    index finds fewer than k rows of a cosine above 0 is compared with all rows. A row of zeros is at a
    distance of 1 from all rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> x, y = load_iris(return_X_y=True)
    >>> nearest = KNeighborsClassifier(5, metric="precomputed")
    >>> model = make_pipeline(LSHNeighbors(n_neighbors=5), nearest).fit(x, y)
    >>> bool(model.score(x, y) > 0.9)
    True
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        radius: float = 0.5,
        mode: str = "distance",
        index: str = "auto",
        family: str | None = None,
        recall: float = 0.9,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.mode = mode
        self.index = index
        self.family = family
        self.recall = recall
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Index rows.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        y : ignored

        Returns
        -------
        LSHNeighbors
            Itself.

        Raises
        ------
        ValueError
            Bad rows, or a bad parameter.
        """
        checked_integer("n_neighbors", self.n_neighbors, 1)
        _checked_radius(self.radius)
        _checked_mode(self.mode)
        threads = threads_of(self.n_jobs)
        rows = unit_rows(validate_data(self, X, accept_sparse="csr", dtype="numeric"), "X")
        self.neighbours_ = RowNeighbours.build(
            rows,
            self.index,
            family=self.family,
            recall=self.recall,
            dtype="float32",
            seed=seed_of(self.random_state, 0),
            threads=threads,
        )
        self._rows, self.n_samples_fit_, self.effective_metric_ = rows, rows.shape[0], "cosine"
        return self

    @property
    def _n_features_out(self) -> int:
        """Columns of :meth:`transform`."""
        return int(self.n_samples_fit_)

    def transform(self, X: Any) -> sp.csr_array:
        """The graph of the nearest rows.

        Parameters
        ----------
        X : array or sparse matrix, shape (queries, n_features)

        Returns
        -------
        csr_array, shape (queries, rows)
            As :meth:`kneighbors_graph`, in the estimator's mode.
        """
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"), self.mode)

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> tuple[Float32, Int64] | Int64:
        """The nearest rows of each query.

        Parameters
        ----------
        X : array or sparse matrix, shape (queries, n_features), optional
            By default the indexed rows, which are then no neighbours of themselves.
        n_neighbors : int, optional
            By default that of the estimator.
        return_distance : bool
            Whether distances are returned.

        Returns
        -------
        distances : (queries, n_neighbors) float32 array
            Ascending.
        ids : (queries, n_neighbors) int64 array

        Raises
        ------
        ValueError
            Bad queries, or more neighbours than rows.
        """
        check_is_fitted(self)
        queries, own = self._queries(X)
        most, k = (
            self.n_samples_fit_ - (own is not None),
            self.n_neighbors if n_neighbors is None else n_neighbors,
        )
        k, threads = checked_integer("n_neighbors", k, 1, most, ", the rows to find"), threads_of(self.n_jobs)
        ids, cosines = self.neighbours_.search(queries, k, exclude=own, threads=threads)
        few = np.flatnonzero(ids[:, -1] < 0)
        if len(few):
            excluded = None if own is None else own[few]
            ids[few], cosines[few] = _among_all(queries[few], self._rows, k, excluded, threads)
        found = ids.astype(np.int64)
        return (_distances(cosines), found) if return_distance else found

    def kneighbors_graph(
        self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> sp.csr_array:
        """The nearest rows of each query as a sparse matrix.

        Parameters
        ----------
        X, n_neighbors
            As for :meth:`kneighbors`.
        mode : str
            ``"connectivity"`` (ones) or ``"distance"``.

        Returns
        -------
        csr_array, shape (queries, rows)
            Entries of a row by distance.
        """
        _checked_mode(mode)
        distances, ids = self.kneighbors(X, n_neighbors)
        indptr = np.arange(len(ids) + 1) * ids.shape[1]
        return self._graph(indptr, ids.ravel(), distances.ravel(), mode)

    def radius_neighbors(
        self, X: Any = None, radius: float | None = None, return_distance: bool = True
    ) -> Any:
        """All rows within a distance of each query, that the index finds.

        Parameters
        ----------
        X : array or sparse matrix, shape (queries, n_features), optional
            As for :meth:`kneighbors`.
        radius : float, optional
            The largest distance, at least 0 and below 1; by default that of the estimator.
        return_distance : bool
            Whether distances are returned.

        Returns
        -------
        distances : (queries,) array of float32 arrays
            Ascending.
        ids : (queries,) array of int64 arrays

        Raises
        ------
        ValueError
            Bad queries or a bad radius.
        """
        indptr, ids, distances = self._within(X, radius)
        pieces = [_pieces(array, indptr) for array in (distances, ids)]
        return tuple(pieces) if return_distance else pieces[1]

    def radius_neighbors_graph(
        self, X: Any = None, radius: float | None = None, mode: str = "connectivity"
    ) -> sp.csr_array:
        """All rows within a distance of each query as a sparse matrix.

        Parameters
        ----------
        X, radius
            As for :meth:`radius_neighbors`.
        mode : str
            ``"connectivity"`` (ones) or ``"distance"``.

        Returns
        -------
        csr_array, shape (queries, rows)
            Entries of a row by distance.
        """
        _checked_mode(mode)
        return self._graph(*self._within(X, radius), mode)

    def _queries(self, X: Any) -> tuple[Any, Int64 | None]:
        """Queries of the kind of the rows; and each one's own id, if they are the rows."""
        if X is None:
            return self._rows, np.arange(self.n_samples_fit_)
        X = validate_data(self, X, accept_sparse="csr", dtype="numeric", reset=False)
        if self.neighbours_.is_sparse != sp.issparse(X):
            X = sp.csr_array(X) if self.neighbours_.is_sparse else X.toarray()
        return unit_rows(X, "X"), None

    def _within(self, X: Any, radius: float | None) -> tuple[Int64, Int64, Float32]:
        """Offsets, ids and distances: searches for more of the nearest, until one is too far away."""
        check_is_fitted(self)
        radius = _checked_radius(self.radius if radius is None else radius)
        queries, own = self._queries(X)
        threads, k, found = threads_of(self.n_jobs), _FIRST, []
        left = np.arange(queries.shape[0])
        while len(left):
            k = min(k, self.n_samples_fit_)
            excluded = None if own is None else own[left]
            ids, cosines = self.neighbours_.search(queries[left], k, exclude=excluded, threads=threads)
            distances = _distances(cosines)
            near = (ids >= 0) & (distances <= radius)
            done = ~near[:, -1] | (k == self.n_samples_fit_)
            kept = near & done[:, None]
            found.append((np.repeat(left, kept.sum(axis=1)), ids[kept], distances[kept]))
            left, k = left[~done], 4 * k
        rows, ids, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(rows, kind="stable")
        indptr = np.searchsorted(rows[order], np.arange(queries.shape[0] + 1))
        return indptr, ids[order].astype(np.int64), distances[order]

    def _graph(self, indptr: Int64, ids: Int64, distances: Float32, mode: str) -> sp.csr_array:
        data = distances if mode == "distance" else np.ones(len(ids), np.float32)
        return sp.csr_array((data, ids, indptr), shape=(len(indptr) - 1, self.n_samples_fit_))


def _checked_mode(mode: Any) -> None:
    if mode not in _MODES:
        raise ArgumentError("mode", repr(mode), " or ".join(map(repr, _MODES)))


def _checked_radius(radius: Any) -> float:
    return checked_number("radius", radius, 0, 1, open_high=True)


def _distances(cosines: Float32) -> Float32:
    """Cosine distances; a rounding error below 0 is none."""
    return np.asarray(np.clip(np.float32(1) - cosines, 0, 2), np.float32)


def _pieces(values: npt.NDArray[Any], indptr: Int64) -> npt.NDArray[Any]:
    """The rows of a ragged array, as an array of arrays."""
    pieces = np.empty(len(indptr) - 1, object)
    pieces[:] = np.split(values, indptr[1:-1])
    return pieces


def _among_all(queries: Any, rows: Any, k: int, own: Int64 | None, threads: int) -> tuple[Any, Float32]:
    """The k nearest of all rows, those of a cosine of 0 and below included."""
    width = k + (own is not None)
    if isinstance(rows, np.ndarray):
        ids, cosines = topk.top_k(queries, rows, None, width, threads=threads)
    else:
        step, parts = max(1, _CELLS // rows.shape[0]), []
        for begin in range(0, queries.shape[0], step):
            part = (queries[begin : begin + step] @ rows.T).toarray()
            best = np.argsort(-part, axis=1, kind="stable")[:, :width]
            parts.append((best, np.take_along_axis(part, best, axis=1)))
        ids, cosines = (np.concatenate(part) for part in zip(*parts, strict=True))
    if own is None:
        return ids, cosines
    others = np.argsort(ids == own[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, others, axis=1), np.take_along_axis(cosines, others, axis=1)
