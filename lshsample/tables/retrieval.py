"""Retrieval as the fused sampling call does it: hashed in the C core where the family has a kernel."""

from __future__ import annotations

import functools

import numpy as np

from lshsample import hashing
from lshsample._native.sample import StageCall
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.tables.state import TableState

__all__ = ["retrieval"]


def retrieval(
    state: TableState, queries: Rows, n_probes: int, *, budget: int = 0, threads: int | None = None
) -> StageCall:
    """The call that joins what the probed buckets of a state hold.

    Parameters
    ----------
    state : TableState
        The tables.
    queries : (n, dim) rows
        Dense float32 or canonical CSR. The kernel checks that they are finite; without one this does.
    n_probes : int
        Buckets per table, best first.
    budget : int
        Ids at which to stop, looking into tables in random order; 0 to look into all.
    threads : int, optional
        Threads of hashing in Python.

    Raises
    ------
    ArgumentError
        The queries have another number of columns, or ``n_probes`` is out of range.
    UnsupportedError
        The family cannot probe.
    """
    family = state.family
    kernel = hashing.query_kernel(family, n_probes)
    call = StageCall(op="RETRIEVE", amount=budget, tables=state.packed, overlays=state.overlays)
    if kernel is None:
        call.codes = np.ascontiguousarray(hashing.probe_rows(family, queries, n_probes, threads=threads))
        return call
    if queries.shape[1] != family.dim:
        raise ArgumentError("queries", f"{queries.shape[1]} columns", f"{family.dim} columns")
    call.kernel, call.rows, call.n_probes = kernel, queries, n_probes
    call.refuse = functools.partial(hashing.refuse_queries, family, queries, n_probes)
    return call
