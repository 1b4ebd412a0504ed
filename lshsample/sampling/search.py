"""Search: the items of largest inner product among those in a sampled set."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core, layers
from lshsample._native.sample import Drawn
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer

__all__ = ["best_of"]


def best_of(
    drawn: Drawn, n_items: int, queries: Any, vectors: Any, top: int, threads: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The ``top`` ids of each query's set by inner product; see :meth:`Sampler.search`."""
    top = checked_integer("top", top, 1, n_items, ", the number of items")
    for name, given in (("queries", queries), ("vectors", vectors)):
        if given is None or sp.issparse(given):
            what = "nothing" if given is None else "a sparse matrix"
            how = ": bind(..., vectors=...)" if name == "vectors" else ""
            raise ArgumentError(name, what, f"a dense array, for ranking by inner products{how}")
    rows = core.dense_rows(vectors, "vectors", finite=False)
    if len(rows) != n_items:
        raise ArgumentError("vectors", f"{len(rows)} rows", f"an array with {n_items} rows, one per item")
    checked = core.dense_rows(queries, "queries", rows.shape[1], finite=False)
    return layers.csr_top_k(checked, rows, None, drawn.indptr, drawn.ids, top, threads=threads)
