"""A linear path from sparse features to labels: one-vs-rest squared hinge, in a leaf or over label trees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts, csr_rows, feature_rows, threads_or_default
from lshsample._native.labels import checked_ids, label_rows
from lshsample._native.linear import MAX_CHILDREN, Forest, LinearWeights, Training, label_order
from lshsample.errors import ArgumentError
from lshsample.memory import named_shortage
from lshsample.specs import at_least, checked_integer, from_dict, integer, number, to_dict

__all__ = ["LinearModel", "LinearSpec"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Progress = Callable[[int, int], None]

#: The number of labels up to which one node with all of them is the default.
ONE_NODE = 2000
_PARTS = 40  # of a training, between which progress is reported
_PASSES = 8  # of 2-means


@attrs.frozen(kw_only=True)
class LinearSpec:
    """How a linear model was made; plain values alone.

    Attributes
    ----------
    n_features, n_labels : int
        Columns of X and Y.
    c : float
        The weight of errors against that of ``|w|^2 / 2``.
    n_trees, leaf_size, branching : int
        Trees; the most labels of a leaf; the most children of a node above the leaves.
    max_epochs, tolerance : int and float
        When the training of a block of labels ends.
    prune : float
        Smaller weights were left out.
    seed : int
        Of the trees and of the order of rows.
    """

    n_features: int = attrs.field(validator=integer(1, 2**31 - 1))
    n_labels: int = attrs.field(validator=integer(1, 2**31 - 1))
    c: float = attrs.field(default=0.3, validator=number(0, 1e6, open_low=True))
    n_trees: int = attrs.field(default=1, validator=integer(1, 64))
    leaf_size: int = attrs.field(default=200, validator=integer(1, MAX_CHILDREN))
    branching: int = attrs.field(default=256, validator=integer(2, MAX_CHILDREN))
    max_epochs: int = attrs.field(default=20, validator=integer(1, 10**6))
    tolerance: float = attrs.field(default=0.1, validator=number(0, 1))
    prune: float = attrs.field(default=0.1, validator=at_least(0))
    seed: int = attrs.field(default=0, validator=integer(0, 2**64 - 1))


def _label_vectors(x: sp.csr_array, y: sp.csr_array, used: npt.NDArray[np.int64]) -> sp.csr_array:
    """The mean row of each label that has rows, of length 1."""
    sums = csr_rows((y.T.tocsr()[used] @ x).tocsr(), "X")
    squares = np.add.reduceat(np.append(sums.data.astype(np.float64) ** 2, 0), sums.indptr[:-1])
    squares[np.diff(sums.indptr) == 0] = 1
    lengths = np.repeat(np.sqrt(squares), np.diff(sums.indptr))
    data = (sums.data / lengths).astype(np.float32)
    return csr_from_parts(sums.indptr, sums.indices, data, sums.shape)


def _leaf_bounds(n: int, depth: int) -> npt.NDArray[np.int64]:
    """Where the parts of n labels begin that are halved ``depth`` times."""
    bounds = np.array([0, n], np.int64)
    for _ in range(depth):
        middles = bounds[:-1] + np.diff(bounds) // 2
        bounds = np.sort(np.concatenate([bounds, middles]))
    return bounds


def _levels(depth: int, branching: int) -> list[int]:
    """How often labels are halved in each level of nodes above the leaves, the first level the widest."""
    most = branching.bit_length() - 1
    count = -(-depth // most)
    return [depth // count + (level < depth % count) for level in range(count)]


def _forest(order: Int32, used: npt.NDArray[np.int64], depth: int, branching: int, n_labels: int) -> Forest:
    """Trees of wide nodes over the halves of halves of ordered labels."""
    n_trees, n_used = order.shape
    bounds = _leaf_bounds(n_used, depth)
    roots, widths, children = [], [], []
    base = 0
    for tree in range(n_trees):
        roots.append(base)
        at, first = 1, base
        for bits in _levels(depth, branching):
            widths.append(np.full(at, 2**bits))
            first += at
            at *= 2**bits
            children.append(np.arange(first, first + at))
        widths.append(np.diff(bounds))
        children.append(~used[order[tree]])
        base = first + at
    child_begin = np.concatenate([[0], np.cumsum(np.concatenate(widths))]).astype(np.int64)
    return Forest(np.array(roots, np.int32), child_begin, np.concatenate(children).astype(np.int32), n_labels)


def _child_weights(forest: Forest, weights: Float32) -> Float32:
    """The weight of each child: that of its label, or the mean of those below it."""
    out = np.empty(len(forest.children), np.float64)
    is_label = forest.children < 0
    out[is_label] = weights[~forest.children[is_label]]
    # Children have larger numbers than their parents.
    for place in np.flatnonzero(~is_label)[::-1]:
        child = forest.children[place]
        below = out[forest.child_begin[child] : forest.child_begin[child + 1]]
        out[place] = below.mean() if len(below) else 1.0
    return out.astype(np.float32)


def _positive_weights(given: Any, n_labels: int) -> Float32:
    try:
        weights = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        weights = np.full(2, np.nan)
    if weights.ndim == 0:
        weights = np.full(n_labels, weights)
    sound = weights.shape == (n_labels,) and bool(((weights >= 1e-6) & (weights <= 1e6)).all())
    if not sound:
        shown = repr(given) if np.ndim(given) == 0 else f"an array of shape {np.shape(given)}"
        wanted = f"a number from 1e-6 to 1e6, or an array of {n_labels}, one a label"
        raise ArgumentError("positive_weight", shown, wanted)
    return weights.astype(np.float32)


class LinearModel:
    """Labels scored by linear functions of sparse features, one-vs-rest; over label trees if labels are many.

    Up to 2,000 labels are the children of one node. More are grouped by their mean rows (balanced 2-means),
    in several trees: of wide nodes, down to leaves of up to 200 labels. In each node a squared hinge with L2
    regularisation is minimised for each child against the rows of the node's other children. Made by
    :meth:`fit` or :meth:`from_arrays`; it does not change, and may be used from several threads.

    Attributes
    ----------
    spec : dict
        How it was made, as plain data (:class:`LinearSpec`).
    n_features, n_labels : int
        Columns of X and of Y.
    n_weights, nbytes : int
        Weights that were not left out; bytes of the arrays.

    Notes
    -----
    The objective of each label is that of liblinear's L2-regularised L2-loss classification, with a feature 1
    for the bias, solved in the dual by coordinate descent (Hsieh et al., "A dual coordinate descent method
    for large-scale linear SVM", ICML 2008), 16 labels at once. The score of a label in a tree is the sum of
    ``-max(0, 1 - z)**2`` over the nodes of its path, with the margins z of the children on it; trees are
    combined by the mean of e^score.

    Examples
    --------
    >>> import numpy as np
    >>> model = LinearModel.fit(np.eye(3, dtype=np.float32), [[0], [1], [2]], c=10.0)
    >>> labels, scores = model.top_k(np.eye(3, dtype=np.float32), 1)
    >>> labels.ravel().tolist()
    [0, 1, 2]
    """

    def __init__(self, spec: LinearSpec, weights: LinearWeights) -> None:
        self._spec, self._weights = spec, weights

    @property
    def spec(self) -> dict[str, Any]:
        """How it was made, as plain data; with :meth:`arrays`, all that :meth:`from_arrays` needs."""
        return to_dict(self._spec)

    @property
    def n_labels(self) -> int:
        """The number of labels, those without a training row included."""
        return self._spec.n_labels

    @property
    def n_features(self) -> int:
        """The number of features of a row."""
        return self._spec.n_features

    @property
    def n_weights(self) -> int:
        """The number of weights that were not left out."""
        return len(self._weights.entries)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    @classmethod
    @named_shortage("training a linear model")
    def fit(
        cls,
        X: Any,
        Y: Any,
        *,
        c: float | None = None,
        n_trees: int | None = None,
        leaf_size: int | None = None,
        branching: int = 256,
        max_epochs: int = 20,
        tolerance: float = 0.1,
        prune: float = 0.1,
        positive_weight: float | npt.ArrayLike = 1.0,
        max_bytes: int | None = None,
        seed: int = 0,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> LinearModel:
        """Train on rows, which are used as given: weigh and normalise them before (TF-IDF, length 1).

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        Y : sparse or dense array of shape (rows, n_labels), or lists of ids
            Labels. Labels without a row are never predicted.
        c : float, optional
            The weight of errors against that of ``|w|^2 / 2``, liblinear's C; by default 0.3 if one leaf
            holds all labels, otherwise 0.5.
        n_trees : int, optional
            By default 1 if one leaf holds all labels, otherwise 3.
        leaf_size : int, optional
            The most labels of a leaf; by default all up to 2,000, otherwise 200.
        branching : int
            The most children of a node above the leaves; a power of 2 below it is used.
        max_epochs : int
            The most passes over the rows of a node, for each block of 16 children.
        tolerance : float
            A block ends earlier when no projected gradient of its dual is larger.
        prune : float
            Weights of a smaller absolute value are left out.
        positive_weight : float or array of shape (n_labels,)
            Factor of ``c`` for the rows that have the label; above 1 for rare labels, it favours them. A node
            above the leaves has the mean of those below.
        max_bytes : int, optional
            The smallest weights are left out until the arrays are not larger.
        seed : int
            Of the trees and of the order in which rows are visited.
        threads : int, optional
            Number of threads; the result does not depend on it.
        progress : callable, optional
            Called during the training with the work that is done and that of all, in arbitrary units; what it
            raises ends the training.

        Raises
        ------
        ArgumentError
            Values out of range, rows that do not fit the labels, NaN or infinite values, or ``max_bytes``
            below what the model needs without weights.

        Notes
        -----
        Time in one node is proportional to the nonzeros of X, times labels / 16, times passes; with trees to
        the nonzeros times ``n_trees * (branching + labels_per_row * leaf_size) / 16``. Weights need 4 bytes
        each, and 8 for each feature that a node has weights for.
        """
        rows = feature_rows(X, "X")
        labels = label_rows(Y, "Y", n_rows=rows.shape[0])
        count = threads_or_default(threads)
        used = np.flatnonzero(np.bincount(labels.indices, minlength=labels.shape[1]))
        if leaf_size is None:
            leaf_size = ONE_NODE if len(used) <= ONE_NODE else 200
        in_one = len(used) <= checked_integer("leaf_size", leaf_size, 1)
        spec = LinearSpec(
            n_features=rows.shape[1],
            n_labels=labels.shape[1],
            c=(0.3 if in_one else 0.5) if c is None else c,
            n_trees=(1 if in_one else 3) if n_trees is None else n_trees,
            leaf_size=leaf_size,
            branching=branching,
            max_epochs=max_epochs,
            tolerance=tolerance,
            prune=prune,
            seed=seed,
        )
        weights = _positive_weights(positive_weight, spec.n_labels)
        if max_bytes is not None:
            max_bytes = checked_integer("max_bytes", max_bytes, 1)
        if not len(used):
            raise ArgumentError("Y", "no label in any row", "an array in which some row has a label")
        depth = max(0, int(np.ceil(np.log2(len(used) / spec.leaf_size))))
        if depth:
            vectors = _label_vectors(rows, labels, used)
            order = label_order(
                vectors, spec.n_trees, depth, iterations=_PASSES, seed=spec.seed, threads=count
            )
        else:
            order = np.tile(np.arange(len(used), dtype=np.int32), (spec.n_trees, 1))
        forest = _forest(order, used, depth, spec.branching, spec.n_labels)
        training = Training(
            rows,
            labels,
            forest,
            _child_weights(forest, weights),
            c=spec.c,
            tolerance=spec.tolerance,
            prune=spec.prune,
            max_epochs=spec.max_epochs,
            seed=spec.seed,
        )
        _run(training, count, progress)
        least = spec.prune if max_bytes is None else _budgeted(training, spec.prune, max_bytes, count)
        return cls(attrs.evolve(spec, prune=least), training.weights(least, count))

    def top_k(self, X: Any, k: int, *, beam: int = 10, threads: int | None = None) -> tuple[Int32, Float32]:
        """The best labels of each row.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
        k : int
            Labels per row, at most ``n_labels``.
        beam : int
            Nodes of each depth of a tree whose children are scored.
        threads : int, optional
            Number of threads; the result does not depend on it.

        Returns
        -------
        labels : ndarray of int32, shape (rows, k)
            Best first, ties by the smaller label; -1 where the leaves found have fewer.
        scores : ndarray of float32, shape (rows, k)
            Logarithms of the mean over trees of e^score, at most 0; -inf where the label is -1.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, ``k`` or ``beam`` out of range.

        Notes
        -----
        For each tree, a row is looked up in about ``1 + beam`` nodes (times the depth less 1). The best
        labels are kept in order while they are collected, which is meant for some hundred of them.
        """
        rows = feature_rows(X, "X", self.n_features)
        k = checked_integer("k", k, 1, self.n_labels, ", the number of labels")
        beam = checked_integer("beam", beam, 1, 10**6)
        return self._weights.top_k(rows, k, beam, threads_or_default(threads))

    def scores(self, X: Any, labels: npt.ArrayLike) -> Float32:
        """The scores of chosen labels, as :meth:`top_k` has them where the beam reaches their leaves.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
        labels : (n,) integers
            Distinct labels.

        Returns
        -------
        ndarray of float32, shape (rows, n)
            -inf for labels without a training row.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, or labels out of range.

        Notes
        -----
        Costs a sparse product for each node of the paths to the labels. The weights are copied by child at
        the first call, 8 bytes each.
        """
        rows = feature_rows(X, "X", self.n_features)
        ids = checked_ids("labels", labels, self.n_labels)
        forest = self._weights.forest
        place_of = np.full(self.n_labels, -1, np.int64)
        place_of[ids] = np.arange(len(ids))
        leaves = np.flatnonzero(forest.children < 0)
        leaves = leaves[place_of[~forest.children[leaves]] >= 0]
        paths = self._paths(leaves)
        used = np.unique(paths[paths >= 0])
        margins = (rows @ self._by_child[used].T).toarray() + self._weights.bias[used]
        losses = np.square(np.maximum(0.0, 1.0 - margins.astype(np.float64)))
        # Sums over the paths, a column each, and then over the leaves of a label; both in a fixed order.
        leaf, level = np.nonzero(paths >= 0)
        of_paths = sp.csr_array(
            (np.ones(len(leaf)), (np.searchsorted(used, paths[leaf, level]), leaf)), (len(used), len(leaves))
        )
        places = place_of[~forest.children[leaves]]
        of_labels = sp.csr_array(
            (np.ones(len(leaves)), (np.arange(len(leaves)), places)), (len(leaves), len(ids))
        )
        values: Any = np.exp(-(losses @ of_paths)) @ of_labels
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(values / len(forest.roots)), np.float32)

    def _paths(self, leaves: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The places among the children from some leaves up to the roots, (n, depth); -1 above a root."""
        forest = self._weights.forest
        inner = np.flatnonzero(forest.children >= 0)
        above = np.full(forest.n_nodes, -1, np.int64)
        above[forest.children[inner]] = inner
        node_of = np.repeat(np.arange(forest.n_nodes), np.diff(forest.child_begin))
        levels = [leaves]
        while (levels[-1] >= 0).any():
            levels.append(np.where(levels[-1] >= 0, above[node_of[levels[-1]]], -1))
        return np.stack(levels, axis=1)

    @functools.cached_property
    def _by_child(self) -> Any:
        """The weights, (children, n_features)."""
        w = self._weights
        begins = w.offsets + np.repeat(w.entry_begin[:-1], np.diff(w.feature_begin))
        sizes = np.diff(np.append(begins, len(w.entries)))
        first_child = np.repeat(w.forest.child_begin[:-1], np.diff(w.entry_begin))
        children = first_child + (w.entries >> 16)
        values = (w.entries << 16).view(np.float32)
        shape = len(w.forest.children), self.n_features
        return sp.csr_array((values, (children, np.repeat(w.features, sizes))), shape=shape)

    @property
    def forest(self) -> Forest:
        """The trees; a single node with all labels is one."""
        return self._weights.forest

    def by_child(self) -> tuple[sp.csr_array, Float32]:
        """The weights of the children of all nodes, (children, n_features), a copy, and their biases."""
        return self._by_child, self._weights.bias

    def shares(self, x_row: Any, label: int) -> tuple[Int32, Float32]:
        """What the features of a row contribute to the margin of a label in its leaves.

        Parameters
        ----------
        x_row : csr_array or array, shape (1, n_features)
        label : int

        Returns
        -------
        features : ndarray of int32, shape (n,)
            Those of the row with a weight for the label, the largest contribution first.
        contributions : ndarray of float32, shape (n,)
            Value times weight, the mean over trees.

        Raises
        ------
        ArgumentError
            Not one row of ``n_features`` columns, or a label out of range.
        """
        rows = feature_rows(x_row, "x_row", self.n_features)
        label = checked_integer("label", label, 0, self.n_labels - 1)
        if rows.shape[0] != 1:
            raise ArgumentError("x_row", f"{rows.shape[0]} rows", "one row, of shape (1, n_features)")
        w, total = self._weights, np.zeros(len(rows.indices))
        for child in np.flatnonzero(w.forest.children == ~label):
            node = int(np.searchsorted(w.forest.child_begin, child, side="right")) - 1
            total += rows.data * self._child_row(node, int(child - w.forest.child_begin[node]), rows.indices)
        total /= len(w.forest.roots)
        found = np.flatnonzero(total)
        found = found[np.argsort(-np.abs(total[found]), kind="stable")]
        return rows.indices[found].astype(np.int32), total[found].astype(np.float32)

    def _child_row(self, node: int, place: int, features: Int32) -> npt.NDArray[np.float64]:
        """The weights of features for one child of a node."""
        w, out = self._weights, np.zeros(len(features))
        begin, end = w.feature_begin[node : node + 2]
        ends = np.append(w.offsets[begin + 1 : end], w.entry_begin[node + 1] - w.entry_begin[node])
        at = np.searchsorted(w.features[begin:end], features)
        for i, pair in enumerate(at):
            if pair == end - begin or w.features[begin + pair] != features[i]:
                continue
            first = w.entry_begin[node]
            entries = w.entries[first + w.offsets[begin + pair] : first + int(ends[pair])]
            bits = entries[entries >> 16 == place] << 16
            out[i] = bits.astype(np.uint32).view(np.float32).sum()
        return out

    def widened(self, n_features: int, n_labels: int) -> LinearModel:
        """The same model for rows of more features, which it has no weights for, and among more labels."""
        spec = attrs.evolve(self._spec, n_features=n_features, n_labels=n_labels)
        return self.from_arrays(to_dict(spec), self.arrays())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name: what a file stores beside ``spec``."""
        return self._weights.arrays()

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], *, check: bool = True
    ) -> LinearModel:
        """The model that had this ``spec`` and these :meth:`arrays`, which are not copied.

        Parameters
        ----------
        spec, arrays : mapping
        check : bool
            Check all weights. Without it, for arrays of a mapped file, only the trees are: weights that are
            damaged give wrong scores.

        Raises
        ------
        ArgumentError
            The spec or the arrays are not those of a linear model, or do not fit each other.
        """
        checked = from_dict(LinearSpec, dict(spec))
        sizes = checked.n_labels, checked.n_features
        return cls(checked, LinearWeights.of_arrays(arrays, *sizes, check_all=check))


def _run(training: Training, threads: int, progress: Progress | None) -> None:
    """All items, in parts of about the same work if progress is to be reported."""
    done = np.concatenate([[0], np.cumsum(training.sizes)])
    n_items, total = len(training.sizes), int(done[-1])
    if progress is None:
        training.run(0, n_items, threads)
        return
    cuts = np.searchsorted(done, np.linspace(0, total, _PARTS + 1)[1:])
    begin = 0
    progress(0, total)
    for end in np.unique(np.append(cuts, n_items)).tolist():
        training.run(begin, end, threads)
        begin = end
        progress(int(done[end]), total)


def _budgeted(training: Training, prune: float, max_bytes: int, threads: int) -> float:
    """The smallest threshold of weights, in steps of bfloat16 values, at which the arrays fit a budget."""
    forest = training.forest
    fixed = forest.roots.nbytes + 3 * forest.child_begin.nbytes + 2 * forest.children.nbytes
    if fixed > max_bytes:
        raise ArgumentError("max_bytes", max_bytes, f"at least {fixed}, the size without any weight")

    def fits(least: float) -> bool:
        pairs, entries = training.counts(least, threads)
        return bool(fixed + 8 * pairs.sum() + 4 * entries.sum() <= max_bytes)

    if fits(prune):
        return prune
    low, high = (int(np.float32(value).view(np.uint32) >> 16) for value in (prune, 3e38))
    while high - low > 1:
        middle = (low + high) // 2
        if fits(_bfloat16(middle)):
            high = middle
        else:
            low = middle
    return _bfloat16(high)


def _bfloat16(bits: int) -> float:
    """The value of a bfloat16."""
    return float(np.uint32(bits << 16).view(np.float32))
