"""Linear scores over label trees: the order of labels, training, and the search for the best labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.arrays import Float32, Int32, Int64, vector
from lshsample._native.core import check, ffi, lib, pointer
from lshsample.errors import ArgumentError

__all__ = ["MAX_CHILDREN", "Forest", "LinearWeights", "Training", "label_order"]

#: Children that a node can have.
MAX_CHILDREN: int = lib.LSH_MAX_CHILDREN

UInt32 = npt.NDArray[np.uint32]


@attrs.frozen(eq=False)
class Forest:
    """Trees over the same labels, as ``lsh_forest`` in C describes them.

    Attributes
    ----------
    roots : (n_trees,) int32
    child_begin : (n_nodes + 1,) int64
    children : (n_children,) int32
        A node, whose number is above its parent's, or ``~label``.
    n_labels : int
    """

    roots: Int32
    child_begin: Int64
    children: Int32
    n_labels: int

    @property
    def n_nodes(self) -> int:
        """Nodes of all trees."""
        return len(self.child_begin) - 1

    def struct(self) -> Any:
        """An ``lsh_forest *`` over the arrays, which must outlive its use."""
        parts = (
            pointer("int32_t *", self.roots),
            pointer("int64_t *", self.child_begin),
            pointer("int32_t *", self.children),
        )
        return ffi.new("lsh_forest *", (*parts, len(self.roots), self.n_nodes, self.n_labels))


def label_order(
    vectors: sp.csr_array, n_trees: int, depth: int, *, iterations: int, seed: int, threads: int
) -> Int32:
    """The rows of ``vectors`` ordered ``n_trees`` times by repeated balanced 2-means.

    Parameters
    ----------
    vectors : (n, n_columns) csr_array
        From :func:`~lshsample._native.core.csr_rows`; rows of length 1, or empty.
    n_trees, depth, iterations, seed, threads : int
        Orders; how often parts are halved; the most passes of 2-means.

    Returns
    -------
    (n_trees, n) int32
        A part of m rows is its first ``m // 2`` and the rest.
    """
    order = np.empty((n_trees, vectors.shape[0]), np.int32)
    status = lib.lsh_label_order(
        core.csr_view(vectors), n_trees, depth, iterations, seed, threads, pointer("int32_t *", order)
    )
    check(status, "grouping the labels")
    return order


#: The arrays of a model by name, with their types.
_ARRAYS = {
    "roots": np.int32,
    "child_begin": np.int64,
    "children": np.int32,
    "bias": np.float32,
    "feature_begin": np.int64,
    "features": np.int32,
    "offsets": np.uint32,
    "entry_begin": np.int64,
    "entries": np.uint32,
}


@attrs.frozen(eq=False)
class LinearWeights:
    """Weights by node, feature and child, as ``lsh_linear`` in C describes them; checked where it is made.

    Attributes
    ----------
    forest : Forest
    n_features : int
    bias : (n_children,) float32
    feature_begin : (n_nodes + 1,) int64
    features : (n_pairs,) int32
    offsets : (n_pairs,) uint32
    entry_begin : (n_nodes + 1,) int64
    entries : (n_entries,) uint32
        ``place << 16 | weight``, the weight as bfloat16.
    """

    forest: Forest
    n_features: int
    bias: Float32
    feature_begin: Int64
    features: Int32
    offsets: UInt32
    entry_begin: Int64
    entries: UInt32

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], n_labels: int, n_features: int, *, check_all: bool = True
    ) -> LinearWeights:
        """Weights over the arrays of :meth:`arrays`, which may come from anywhere.

        Without ``check_all`` no weights are read: those of a damaged file give wrong scores.

        Raises
        ------
        ArgumentError
            An array is missing, of another type or shape, or the arrays do not fit each other.
        """
        if set(arrays) != set(_ARRAYS):
            raise ArgumentError("arrays", ", ".join(sorted(arrays)) or "none", ", ".join(_ARRAYS))
        for name, dtype in _ARRAYS.items():
            vector(arrays[name], name, dtype)
        n_nodes, n_children = len(arrays["child_begin"]) - 1, len(arrays["children"])
        sizes = {"feature_begin": n_nodes + 1, "entry_begin": n_nodes + 1, "bias": n_children}
        sizes["offsets"] = len(arrays["features"])
        for name, size in sizes.items():
            vector(arrays[name], name, _ARRAYS[name], size)
        given = dict(arrays)
        forest = Forest(given.pop("roots"), given.pop("child_begin"), given.pop("children"), n_labels)
        weights = cls(forest, n_features, **given)
        status = lib.LSH_INVALID
        if n_nodes > 0:
            n_entries = len(weights.entries)
            sizes_of = n_children, len(weights.features), n_entries
            status = lib.lsh_linear_check(weights.struct()[0], *sizes_of, check_all)
        if status == lib.LSH_INVALID:
            raise ArgumentError("arrays", "some that do not fit each other", "those of a LinearModel")
        check(status, "reading a linear model")
        return weights

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by name."""
        return {name: getattr(self.forest if hasattr(self.forest, name) else self, name) for name in _ARRAYS}

    def struct(self) -> tuple[Any, Any]:
        """An ``lsh_linear *`` over the arrays, and what must be kept with it."""
        forest = self.forest.struct()
        parts = (
            forest[0],
            pointer("float *", self.bias),
            pointer("int64_t *", self.feature_begin),
            pointer("int32_t *", self.features),
            pointer("uint32_t *", self.offsets),
            pointer("int64_t *", self.entry_begin),
            pointer("uint32_t *", self.entries),
            self.n_features,
        )
        return ffi.new("lsh_linear *", parts), forest

    def top_k(self, rows: sp.csr_array, k: int, beam: int, threads: int) -> tuple[Int32, Float32]:
        """The best labels of rows from :func:`~lshsample._native.core.csr_rows`, (n, k) each."""
        ids, scores = np.empty((rows.shape[0], k), np.int32), np.empty((rows.shape[0], k), np.float32)
        struct, view, kept = self.struct()[0], core.csr_struct(rows), self.forest
        status = lib.lsh_linear_top_k(
            struct, view[0], beam, k, threads, pointer("int32_t *", ids), pointer("float *", scores)
        )
        check(status, "scoring labels")
        del kept
        return ids, scores


class Training:
    """A training under way: items of work that are done in any number of calls, then the weights.

    Parameters
    ----------
    x, y : csr_array
        From :func:`~lshsample._native.core.csr_rows`, with as many rows.
    forest : Forest
    positive : (n_children,) float32
        The weight of a child's positive rows.
    c, tolerance, prune : float
    max_epochs, seed : int
    """

    def __init__(
        self,
        x: sp.csr_array,
        y: sp.csr_array,
        forest: Forest,
        positive: Float32,
        *,
        c: float,
        tolerance: float,
        prune: float,
        max_epochs: int,
        seed: int,
    ) -> None:
        self.forest, self.n_features = forest, x.shape[1]
        views = core.csr_struct(x), core.csr_struct(y)
        self._kept = x, y, positive, views
        found = ffi.new("lsh_linear_training **")
        options = ffi.new("lsh_linear_options *", (c, tolerance, prune, max_epochs, seed))
        status = lib.lsh_linear_begin(
            views[0][0], views[1][0], forest.struct(), pointer("float *", positive), options[0], found
        )
        check(status, "preparing the training of a linear model")
        self._training = ffi.gc(found[0], lib.lsh_linear_end)
        self.sizes: Int64 = np.empty(lib.lsh_linear_items(self._training, ffi.NULL), np.int64)
        lib.lsh_linear_items(self._training, pointer("int64_t *", self.sizes))

    def run(self, begin: int, end: int, threads: int) -> None:
        """Do the items from ``begin`` to ``end - 1``, which are sorted by size."""
        check(lib.lsh_linear_train(self._training, begin, end, threads), "training a linear model")

    def counts(self, least: float, threads: int) -> tuple[Int64, Int64]:
        """(features with weights, weights) of each node, of weights of at least ``least``."""
        pairs, entries = np.empty((2, self.forest.n_nodes), np.int64)
        places = pointer("int64_t *", pairs), pointer("int64_t *", entries)
        check(lib.lsh_linear_sizes(self._training, least, threads, *places), "counting weights")
        return pairs, entries

    def weights(self, least: float, threads: int) -> LinearWeights:
        """The weights of at least ``least``; all items must be done."""
        pairs, entries = self.counts(least, threads)
        if entries.max(initial=0) >= 2**32:
            raise ArgumentError(
                "prune", least, f"larger: a node has {entries.max()} weights, at most 2**32 - 1"
            )
        feature_begin, entry_begin = (
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) for sizes in (pairs, entries)
        )
        bias = np.empty(len(self.forest.children), np.float32)
        features, offsets = np.empty(feature_begin[-1], np.int32), np.empty(feature_begin[-1], np.uint32)
        packed = np.empty(entry_begin[-1], np.uint32)
        status = lib.lsh_linear_pack(
            self._training,
            least,
            pointer("int64_t *", feature_begin),
            pointer("int64_t *", entry_begin),
            threads,
            pointer("int32_t *", features),
            pointer("uint32_t *", offsets),
            pointer("uint32_t *", packed),
            pointer("float *", bias),
        )
        check(status, "packing weights")
        begins = feature_begin, features, offsets, entry_begin
        return LinearWeights(self.forest, self.n_features, bias, *begins, packed)
