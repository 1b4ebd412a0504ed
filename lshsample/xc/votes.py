"""Labels by the votes of neighbours: a neighbour's weight by its cosine, and the labels they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native import core, topk
from lshsample._native.core import csr_from_parts
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.metrics import precision_at_k
from lshsample.specs import checked_integer
from lshsample.xc.saved_csr import parts_of, saved_csr

__all__ = ["GRID", "LabelVotes", "Voting"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class Voting:
    """How neighbours vote.

    Attributes
    ----------
    k : int
        Nearest neighbours that vote.
    power : float, optional
        A vote has the weight cosine ** power.
    temperature : float, optional
        A vote has the weight exp(cosine / temperature). One of the two is given; by default power is 1.

    Examples
    --------
    >>> Voting(k=50, temperature=0.05)
    Voting(k=50, power=None, temperature=0.05)
    """

    k: int = attrs.field(default=20, validator=specs.integer(1, 2**31 - 1))
    power: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 1000)))
    temperature: float | None = attrs.field(
        default=None, validator=_optional(specs.number(0, 1e6, open_low=True))
    )

    def __attrs_post_init__(self) -> None:
        if self.power is not None and self.temperature is not None:
            raise ArgumentError("temperature", f"{self.temperature} with power", "left out with power")
        if self.power is None and self.temperature is None:
            object.__setattr__(self, "power", 1.0)

    def weights(self, ids: Int32, cosines: Float32) -> Float32:
        """The weights of the first k neighbours of each row, which add up to 1.

        Parameters
        ----------
        ids : (m, n) int32 array
            Neighbours, the nearest first; -1 for none.
        cosines : (m, n) float32 array
            Above 0 where there is a neighbour.

        Returns
        -------
        (m, min(k, n)) float32 array
            0 where there is no neighbour.
        """
        near = cosines[:, : self.k].astype(np.float64)
        voting = ids[:, : self.k] >= 0
        if self.temperature is not None:
            # Relative to the nearest, so that no weight is too large for a float.
            raw = np.exp((near - near.max(axis=1, initial=0, keepdims=True)) / self.temperature)
        else:
            raw = np.maximum(near, 0) ** self.power
        raw = np.where(voting, raw, 0)
        total = raw.sum(axis=1, keepdims=True)
        shares: Float32 = np.divide(raw, total, out=np.zeros_like(raw), where=total > 0).astype(np.float32)
        return shares


#: What :meth:`LabelVotes.fit` chooses from, unless it is given others.
GRID = tuple(
    Voting(k=k, **{how: value})
    for k in (10, 20, 50, 100)
    for how, values in {"power": (1.0, 3.0), "temperature": (0.1, 0.05, 0.025)}.items()
    for value in values
)


class LabelVotes:
    """The labels of training rows as votes for those of a query.

    Parameters
    ----------
    labels : (n_rows, n_labels) scipy.sparse array
        The labels of the training rows: 1 for a label.
    voting : Voting
        How neighbours vote.

    Notes
    -----
    A label's score is the sum of the weights of the neighbours that have it: its share of the votes, from 0
    to 1. Costs a sparse product: the labels of the neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> votes = LabelVotes(sp.csr_array([[1, 0, 0], [1, 1, 0]]), Voting(k=2))
    >>> ids, cosines = np.array([[1, 0]], np.int32), np.array([[0.6, 0.2]], np.float32)
    >>> labels, scores = votes.predict(ids, cosines, top=3)
    >>> labels, scores
    (array([[ 0,  1, -1]], dtype=int32), array([[1.  , 0.75, 0.  ]], dtype=float32))
    """

    def __init__(self, labels: Any, voting: Voting | None = None) -> None:
        if voting is not None and not isinstance(voting, Voting):
            raise ArgumentError("voting", type(voting).__name__, "a Voting")
        rows = label_rows(labels, "labels")
        self._indptr, self._indices = rows.indptr, rows.indices
        self._n_labels = int(rows.shape[1])
        self.voting = Voting() if voting is None else voting

    @property
    def n_rows(self) -> int:
        """Number of training rows."""
        return len(self._indptr) - 1

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return self._n_labels

    @property
    def labels(self) -> sp.csr_array:
        """The labels of the training rows: 1 for a label."""
        return self._labels_of(np.arange(self.n_rows))

    def __repr__(self) -> str:
        return f"LabelVotes({self.n_rows:,} rows, {self.n_labels:,} labels, {self.voting})"

    @classmethod
    def fit(
        cls,
        labels: Any,
        ids: Int32,
        cosines: Float32,
        held_out: Any,
        *,
        grid: Iterable[Voting] = GRID,
        at: tuple[int, ...] = (1, 3, 5),
    ) -> Self:
        """Votes whose weighting is the best of a grid on held-out rows.

        Parameters
        ----------
        labels : (n_rows, n_labels) scipy.sparse array
            The labels of the training rows.
        ids, cosines : (m, k) arrays
            The neighbours of the held-out rows among the training rows, as many as the largest k of the grid.
        held_out : (m, n_labels) scipy.sparse array
            The labels of the held-out rows; at least one row.
        grid : iterable of Voting
            The candidates; of equally good ones the first.
        at : tuple of int
            The mean of P@k over these k is what is compared.

        Returns
        -------
        LabelVotes

        Raises
        ------
        ArgumentError
            No rows, no candidates, or arrays that do not fit.
        """
        candidates = list(grid)
        if not candidates:
            raise ArgumentError("grid", "nothing", "one Voting or more")
        votes = [cls(labels, voting) for voting in candidates]
        truth = label_rows(held_out, "held_out", votes[0].n_labels, len(ids))
        if not len(ids):
            raise ArgumentError("held_out", "no rows", "at least one row")
        top = max(at)

        def quality(one: Self) -> float:
            predicted, _ = one.predict(ids, cosines, top)
            return float(np.mean([precision_at_k(predicted, truth, k) for k in at]))

        return max(votes, key=quality)

    def extended(self, labels: Any) -> Self:
        """The same votes with more training rows, whose labels may be more."""
        new = label_rows(labels, "labels")
        if new.shape[1] < self.n_labels:
            raise ArgumentError("labels", f"{new.shape[1]} columns", f"at least {self.n_labels} columns")
        wide = csr_from_parts(self._indptr, self._indices, None, (self.n_rows, new.shape[1]))
        return type(self)(sp.csr_array(sp.vstack([wide, new])), self.voting)

    def have(self, ids: Int32, label: int) -> npt.NDArray[np.bool_]:
        """Which training rows, of ids (-1 for none), have a label."""
        places, ids = self._indptr, np.asarray(ids)
        found = [row >= 0 and label in self._indices[places[row] : places[row + 1]] for row in ids]
        return np.array(found, bool)

    def votes(self, ids: Int32, cosines: Float32) -> sp.csr_array:
        """The share of the votes of each label that has one.

        Parameters
        ----------
        ids : (m, n) int32 array
            Training rows, the nearest first; -1 for none.
        cosines : (m, n) float32 array

        Returns
        -------
        (m, n_labels) csr_array
            float32; columns of a row are in no particular order.

        Raises
        ------
        ArgumentError
            Arrays that do not fit, or ids that are no training rows.
        """
        ids, cosines = np.asarray(ids), np.asarray(cosines)
        if ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape != cosines.shape:
            given = f"{ids.dtype} {ids.shape} with cosines {cosines.shape}"
            raise ArgumentError("ids", given, "integers (m, k), with cosines of the same shape")
        if ids.size and not (ids.min() >= -1 and ids.max() < self.n_rows):
            raise ArgumentError("ids", f"ids from {ids.min()} to {ids.max()}", f"-1 to {self.n_rows - 1}")
        weights = self.voting.weights(ids, cosines)
        voting = weights > 0
        indptr = np.concatenate([[0], np.cumsum(voting.sum(axis=1))])
        labels = self._labels_of(ids[:, : weights.shape[1]][voting])
        voters = np.arange(labels.shape[0], dtype=np.int32)
        return sp.csr_array(csr_from_parts(indptr, voters, weights[voting], (len(ids), len(voters))) @ labels)

    def _labels_of(self, ids: npt.NDArray[np.integer[Any]]) -> sp.csr_array:
        """The labels of training rows, a row for each; checked, as they may come from a damaged file."""
        begins, ends = self._indptr[ids], self._indptr[ids + 1]
        lengths = (ends - begins).astype(np.int64)
        inside = (begins >= 0) & (ends <= len(self._indices)) & (lengths >= 0) & (lengths <= self.n_labels)
        if not inside.all():
            raise CheckpointError("the labels of training rows are damaged")
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(begins - indptr[:-1], lengths) + np.arange(indptr[-1])
        own = self._indices[places]
        if len(own) and not (own.min() >= 0 and own.max() < self.n_labels):
            raise CheckpointError("the labels of training rows are damaged")
        return csr_from_parts(indptr, own, None, (len(ids), self.n_labels))

    def predict(
        self, ids: Int32, cosines: Float32, top: int = 5, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The labels of most votes.

        Parameters
        ----------
        ids, cosines : (m, n) arrays
            As for :meth:`votes`.
        top : int
            Number of labels.
        threads : int, optional
            Maximum number of threads.

        Returns
        -------
        labels : (m, top) int32 array
            Best first, ties by the smaller label; -1 where fewer labels have votes.
        scores : (m, top) float32 array
            Shares of the votes; 0 where the label is -1.
        """
        top = checked_integer("top", top, 1, 2**31 - 1)
        shares: Any = self.votes(ids, cosines)
        values = np.ascontiguousarray(shares.data, np.float32)
        own = np.ascontiguousarray(shares.indices, np.int32)
        labels, scores = topk.top_k_ragged(values, core.offsets_of(shares), own, top, threads=threads)
        scores[labels < 0] = 0
        return labels, scores

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """The votes as plain data and arrays, for :meth:`from_arrays`."""
        spec = {"n_labels": self.n_labels, **specs.to_dict(self.voting)}
        return spec, {"indptr": self._indptr, "indices": self._indices}

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], *, check: bool = True
    ) -> Self:
        """The votes that :meth:`to_arrays` returned.

        Parameters
        ----------
        spec, arrays : mapping
        check : bool
            Check all labels now. Without it, for arrays of a mapped file, those of a row are when it votes.

        Raises
        ------
        ArgumentError
            A spec or arrays of another form.
        """
        given = dict(spec)
        n_labels = checked_integer("n_labels", given.pop("n_labels", None), 0, 2**31 - 1)
        voting = specs.from_dict(Voting, given)
        if check:
            return cls(saved_csr(arrays, n_labels, "the labels", ones=True), voting)
        votes = cls(sp.csr_array((0, n_labels)), voting)
        votes._indptr, votes._indices = parts_of(arrays, ("indptr", "indices"), "the labels")
        return votes
