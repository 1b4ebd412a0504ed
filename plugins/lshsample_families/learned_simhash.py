"""SimHash with directions learned from queries and the items that they should find."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import ArgumentError, Codes, Rows, UnsupportedError, checked_rows, label_rows
from lshsample_families import _draws
from lshsample_families._learned import Float32, LearnedFamily, LearnedSpec, as_text, to_unit
from lshsample_families.simhash import probe_flips

__all__ = ["LearnedSimHash"]

_GAUSSIANS = 3
Float64 = npt.NDArray[np.float64]


class LearnedSimHash(LearnedFamily[LearnedSpec]):
    """SimHash with learned directions, as in MONGOOSE (Chen et al., ICLR 2021).

    The initial directions are random and determined by the seed; :meth:`fit` changes them so that the signs
    of a query agree with those of its positives more often than with those of other items. Before a fit the
    codes are those of SimHash with the projection "gaussian".

    Parameters
    ----------
    spec : LearnedSpec
        dim, n_hashes (K), n_tables (L), seed, and ``planes``, which :meth:`fit` sets.

    Notes
    -----
    The loss is the triplet loss of MONGOOSE with signs relaxed to tanh: with h the K relaxed signs of a
    table, it is max(0, margin + h(q) h(n) / K - h(q) h(p) / K) for a positive p and a negative n, summed
    over tables, where n is the one of a few random items that agrees with q most. There is no collision
    probability; samplers compute inclusion probabilities conditional on the tables, which are exact.

    Learned directions are not drawn from a seed, so a fitted family cannot be rehashed; fit a family of
    another seed and build with it: ``tables.rebuild(vectors, family)``.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> rng = np.random.default_rng(0)
    >>> items = rng.standard_normal((50, 12)).astype(np.float32)
    >>> queries = items + rng.standard_normal(items.shape).astype(np.float32)
    >>> family = LearnedSimHash(LearnedSpec(dim=12, n_hashes=4, n_tables=3))
    >>> fitted = family.fit(queries, sp.eye_array(50, format="csr"), items, epochs=2)
    >>> fitted.is_fitted, family.is_fitted, fitted.hash(items).shape
    (True, False, (50, 3))
    """

    def _initial(self) -> Float32:
        count = self.dim * self.n_hashes * self.n_tables
        return _draws.gaussians(self.seed, _GAUSSIANS, count).reshape(self._shape)

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the buckets near each row, in the order of SimHash's probes."""
        margins = self._projection.margins(q)
        codes = [[probe_flips(row[:, t], n_probes) for t in range(self.n_tables)] for row in margins]
        return np.array(codes, np.uint32).reshape(q.shape[0], self.n_tables, n_probes)

    def with_seed(self, seed: int) -> Self:
        """The family of another seed; not supported for a fitted family."""
        if self.is_fitted and seed != self.seed:
            raise UnsupportedError(
                "family LearnedSimHash: learned directions are not drawn by a seed; fit a family of the new "
                "seed, and build with it"
            )
        return super().with_seed(seed)

    def fit(
        self,
        queries: Rows,
        positives: Any,
        vectors: Rows,
        *,
        epochs: int = 5,
        batch_size: int = 64,
        learning_rate: float = 0.2,
        margin: float = 0.5,
        n_negatives: int = 4,
    ) -> Self:
        """A new family whose directions are trained further, starting from those of this family.

        Parameters
        ----------
        queries : (n, dim) rows
            Finite float32 rows, dense or CSR.
        positives : (n, n_items) sparse or dense array, or lists of ids
            1 for the pairs of query and item that should collide, 0 for the others; or the ids of the items
            of each query.
        vectors : (n_items, dim) rows
            The items.
        epochs, batch_size : int
            Number of passes over the queries, and of queries in a step. In each pass, a query has one of its
            positives, chosen at random.
        learning_rate : float
            Learning rate of Adagrad, for directions of norm sqrt(dim).
        margin : float
            The fraction of the K signs by which the agreement with a positive should exceed that with a
            negative.
        n_negatives : int
            Number of random items, of which the one that agrees most is the negative.

        Returns
        -------
        LearnedSimHash
            The same seed and data give the same directions.

        Raises
        ------
        ArgumentError
            Shapes that do not match, no positives, values out of range.
        """
        numbers = {"epochs": epochs, "batch_size": batch_size, "n_negatives": n_negatives}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(name, repr(value), "an integer >= 1")
        for name, rate in {"learning_rate": learning_rate, "margin": margin}.items():
            if not 0 < rate < np.inf:
                raise ArgumentError(name, repr(rate), "a positive number")
        queries, vectors = checked_rows(self, queries, "queries"), checked_rows(self, vectors, "vectors")
        pattern = label_rows(positives, "positives", vectors.shape[0], queries.shape[0])
        if not pattern.nnz:
            raise ArgumentError("positives", "no entry", "a matrix with at least one entry")
        trainer = _Training(self, to_unit(queries), pattern, to_unit(vectors), margin, n_negatives)
        for _ in range(epochs):
            order = trainer.rng.permutation(np.flatnonzero(np.diff(pattern.indptr)))
            for start in range(0, len(order), batch_size):
                trainer.step(order[start : start + batch_size], learning_rate)
        return type(self)(attrs.evolve(self.spec, planes=as_text(trainer.directions)))


class _Training:
    """Directions in training, with the sums of squared gradients of Adagrad."""

    def __init__(
        self,
        family: LearnedSimHash,
        queries: Any,
        positives: Any,
        vectors: Any,
        margin: float,
        negatives: int,
    ) -> None:
        self.queries, self.positives, self.vectors = queries, positives, vectors
        self.margin, self.negatives = margin, negatives
        self.shape = (family.n_hashes, family.n_tables)
        self.rng = np.random.Generator(np.random.Philox(key=np.array([family.seed, 21], np.uint64)))
        self.directions = self._scaled(family._projection.matrix.astype(np.float64))
        self.squares = np.full_like(self.directions, 1e-10)

    def _scaled(self, directions: Float64) -> Float64:
        norms = np.linalg.norm(directions, axis=0)
        return np.asarray(directions * (np.sqrt(len(directions)) / np.maximum(norms, 1e-30)))

    def _signs(self, rows: Any) -> Float64:
        """Relaxed signs (n, K, L) of rows of norm 1."""
        return np.asarray(np.tanh(rows @ self.directions)).reshape(-1, *self.shape)

    def step(self, batch: npt.NDArray[np.int64], rate: float) -> None:
        """One step on a batch of queries."""
        starts, counts = self.positives.indptr[batch], np.diff(self.positives.indptr)[batch]
        chosen = self.positives.indices[starts + self.rng.integers(counts)]
        q, p = self.queries[batch], self.vectors[chosen]
        hq, hp = self._signs(q), self._signs(p)
        items = self._hardest(batch, hq)
        n = self.vectors[items]
        hn = self._signs(n)
        wrong = self.margin + (hq * (hn - hp)).mean(axis=1) > 0
        # A negative that is a positive of the query is not trained on.
        wrong &= ~self._named(batch, items)[:, None]
        share = wrong[:, None, :] / (len(batch) * self.shape[0])
        gradient = np.zeros_like(self.directions)
        for rows, signs, slope in ((q, hq, hn - hp), (p, hp, -hq), (n, hn, hq)):
            flat = (share * slope * (1 - signs**2)).reshape(len(batch), -1)
            gradient += np.asarray(rows.T @ flat)
        self.squares += gradient**2
        self.directions = self._scaled(self.directions - rate * gradient / np.sqrt(self.squares))

    def _hardest(self, batch: npt.NDArray[np.int64], hq: Float64) -> npt.NDArray[np.int64]:
        """For each query, the random item whose relaxed signs agree most, positives excluded."""
        drawn = self.rng.integers(self.vectors.shape[0], size=(self.negatives, len(batch)))
        agreement = np.stack([(hq * self._signs(self.vectors[items])).sum(axis=(1, 2)) for items in drawn])
        for row, items in zip(agreement, drawn, strict=True):
            row[self._named(batch, items)] = -np.inf
        best: npt.NDArray[np.int64] = drawn[agreement.argmax(axis=0), np.arange(len(batch))]
        return best

    def _named(self, batch: npt.NDArray[np.int64], items: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        keys = self._keys
        wanted = batch * np.int64(self.vectors.shape[0]) + items
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.asarray(keys[at] == wanted)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        """One number for each (query, positive), ascending."""
        rows = np.repeat(np.arange(self.positives.shape[0]), np.diff(self.positives.indptr))
        return np.asarray(rows * np.int64(self.vectors.shape[0]) + self.positives.indices)
