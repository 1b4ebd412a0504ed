"""Exact search in an inverted index over sparse rows."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.arrays import Float32, Int32, Int64
from lshsample._native.core import check, csr_view, ffi, lib, pointer, threads_or_default

__all__ = ["PART_ROWS", "Postings", "postings_top_k"]

#: Rows of one part of an index, at most.
PART_ROWS = int(lib.LSH_POSTINGS_ROWS)


@attrs.frozen(eq=False)
class Postings:
    """The postings of a part of the rows, by column.

    Attributes
    ----------
    starts : (dim + 1,) int64 array
        The postings of column c are ``starts[c]`` to ``starts[c + 1] - 1``.
    rows : (n,) uint16 array
        The row of each posting within the part, ascending in a column.
    values : (n,) float32 array
    n_rows : int
        Rows of the part, at most :data:`PART_ROWS`.
    """

    starts: Int64
    rows: npt.NDArray[np.uint16]
    values: Float32
    n_rows: int


def postings_top_k(
    parts: tuple[Postings, ...], queries: Any, excluded: Int32 | None, k: int, *, threads: int | None = None
) -> tuple[Int32, Float32]:
    """The best k rows of each query by inner product; see ``lsh_inverted_top_k``.

    Parameters
    ----------
    parts : tuple of Postings
        Of one number of columns, each with as many values as rows.
    queries : (m, dim) canonical CSR
    excluded : (m,) int32 array or None
        A row for each query that is left out, -1 for none.
    k : int
        At least 1.
    threads : int or None

    Returns
    -------
    ids, scores : (m, k) int32 and float32
        Id -1 and score -inf where fewer than k products are above 0.
    """
    structs = ffi.new("lsh_postings[]", max(len(parts), 1))
    for struct, part in zip(structs, parts, strict=False):
        struct.starts = pointer("int64_t *", part.starts)
        struct.rows = pointer("uint16_t *", part.rows)
        struct.values = pointer("float *", part.values)
        struct.n_postings, struct.n_rows = len(part.rows), part.n_rows
    m = queries.shape[0]
    ids, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    status = lib.lsh_inverted_top_k(
        structs,
        len(parts),
        csr_view(queries),
        ffi.NULL if excluded is None else pointer("int32_t *", excluded),
        k,
        pointer("int32_t *", ids),
        pointer("float *", scores),
        threads_or_default(threads),
    )
    check(status, "postings_top_k")
    return ids, scores
