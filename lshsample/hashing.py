"""Hashing rows by a family: by its compiled kernel if it has one, otherwise by its Python methods.

Rows are validated before a family is called, codes and probabilities after; errors name the family.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lshsample import memory
from lshsample._native import core, kernels
from lshsample._native.convert import ConvertedRows
from lshsample._native.core import lib
from lshsample._native.kernels import KernelStruct
from lshsample._native.reader import NativeReader
from lshsample._native.sample import StageCall
from lshsample.errors import ArgumentError, LshsampleError, PluginError, UnsupportedError
from lshsample.family import Codes, Floats, HashFamily, Rows, checked_rows, family_label

__all__ = [
    "checked_rows",
    "family_label",
    "hash_rows",
    "kernel_struct",
    "pair_probabilities",
    "prepared",
    "probe_rows",
    "query_kernel",
    "refuse_queries",
    "reseeded",
    "retrieval",
]

#: More probes would cost more than to scan all items.
MAX_PROBES = 65536


@memory.named_shortage("hashing rows")
def hash_rows(family: HashFamily, x: Any, *, query: bool = False, threads: int | None = None) -> Codes:
    """Codes of rows, by the family's compiled kernel if it has one.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    x : (n, dim) array or scipy.sparse matrix
        Finite rows; float32 (dense, or canonical CSR) is not copied. n may be 0.
    query : bool
        Hash the rows as queries, which differs for asymmetric families.
    threads : int, optional
        Maximum number of threads; the codes do not depend on it.

    Returns
    -------
    (n, n_tables) uint32 array
        Each code below ``2**family.code_bits``.

    Raises
    ------
    ArgumentError
        The rows are not finite, not 2-D, or have another number of columns; or the family refuses them, and
        the message names it.
    PluginError
        The family breaks its contract: another ABI version, a method or kernel that fails, codes of the wrong
        shape, dtype or range.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.registry import make_family
    >>> family = make_family("simhash", dim=4, n_hashes=2, n_tables=3)
    >>> hash_rows(family, np.zeros((1, 4), np.float32))
    array([[3, 3, 3]], dtype=uint32)
    """
    if not isinstance(family, HashFamily):
        raise ArgumentError("family", repr(family), "a HashFamily, such as make_family(...)")
    argument, count = "queries" if query else "x", core.threads_or_default(threads)
    kernel = kernel_struct(family, query)
    rows = checked_rows(family, x, argument, finite=kernel is None, threads=count)
    if kernel is not None:
        return _run_native(family, kernel, rows, argument, 0, count)
    method = "hash_query" if query else "hash"
    codes = _call_python(family, method, rows)
    return _checked_codes(family, method, codes, (rows.shape[0], family.n_tables))


def prepared(family: HashFamily, rows: Rows) -> HashFamily:
    """The family prepared for validated rows: the result of its ``prepare``, which must keep class and shape.

    Raises
    ------
    PluginError
        ``prepare`` failed or returned something else.
    """
    if isinstance(rows, ConvertedRows):
        if type(family).prepare is HashFamily.prepare:
            return family
        rows = rows[:]
    return _same_shape(family, "prepare", _call_python(family, "prepare", rows), family.seed)


def reseeded(family: HashFamily, seed: int) -> HashFamily:
    """The family of another seed: the result of its ``with_seed``, which must keep class and shape.

    Raises
    ------
    PluginError
        ``with_seed`` failed or returned something else.
    UnsupportedError
        The functions are not drawn from a seed.
    """
    return _same_shape(family, "with_seed", _call_python(family, "with_seed", seed), seed)


def _same_shape(family: HashFamily, method: str, new: Any, seed: int) -> HashFamily:
    shape = ("dim", "n_hashes", "n_tables")
    if (
        type(new) is not type(family)
        or new.seed != seed
        or any(getattr(new, a) != getattr(family, a) for a in shape)
    ):
        raise PluginError(
            f"{family_label(family)}.{method}: returned {new!r}, expected the same class, dim, n_hashes "
            f"and n_tables, and seed {seed}"
        )
    return new


@memory.named_shortage("computing collision probabilities")
def pair_probabilities(family: HashFamily, q: Any, x: Any, n_probes: int = 1) -> Floats:
    """Probabilities that a query's buckets contain data rows, computed by the family.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    q, x : validated rows
        Queries and data rows, pair by pair; with more than one probe, one query and any number of data rows.
    n_probes : int
        Buckets per table that a query looks into.

    Returns
    -------
    (n,) or, with more than one probe, (n, n_tables) float64 array

    Raises
    ------
    UnsupportedError
        The probabilities are not known.
    PluginError
        The family's method failed, or returned something else than probabilities of that shape.
    """
    shape: tuple[int, ...] = (x.shape[0],)
    if n_probes == 1:
        method, found = "pair_code_probability", _call_python(family, "pair_code_probability", q, x)
    else:
        method, shape = "probe_probability", (*shape, family.n_tables)
        found = _call_python(family, method, q, x, n_probes)
    where = f"{family_label(family)}.{method}"
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != shape:
        given = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise PluginError(f"{where}: returned {given}, expected an array of floats of shape {shape}")
    if not ((found >= 0) & (found <= 1)).all():
        ends = f"{found.min()} to {found.max()}"
        raise PluginError(f"{where}: returned values from {ends}, expected probabilities from 0 to 1")
    return found.astype(np.float64, copy=False)


@memory.named_shortage("probing")
def probe_rows(family: HashFamily, q: Any, n_probes: int, *, threads: int | None = None) -> Codes:
    """Codes of the buckets to look into for each query, the most promising first.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    q : (n, dim) array or scipy.sparse matrix
        Queries, as for :func:`hash_rows`.
    n_probes : int
        Codes for each query and table, P; the first is the query's own code.
    threads : int, optional
        Maximum number of threads.

    Returns
    -------
    (n, n_tables, P) uint32 array

    Raises
    ------
    UnsupportedError
        The family cannot probe.
    ArgumentError, PluginError
        As for :func:`hash_rows`.
    """
    native = query_kernel(family, n_probes)
    if n_probes == 1:
        return hash_rows(family, q, query=True, threads=threads)[:, :, None]
    count = core.threads_or_default(threads)
    rows = checked_rows(family, q, "queries", finite=native is None, threads=count)
    if native is not None:
        return _run_native(family, native, rows, "queries", int(n_probes), count)
    codes = _call_python(family, "probe", rows, int(n_probes))
    return _checked_codes(family, "probe", codes, (rows.shape[0], family.n_tables, int(n_probes)))


def query_kernel(family: HashFamily, n_probes: int) -> KernelStruct | None:
    """The compiled kernel for ``n_probes`` buckets of each query and table; None if there is none.

    Raises
    ------
    ArgumentError
        ``n_probes`` is out of range.
    PluginError
        As for :func:`kernel_struct`.
    """
    if type(n_probes) is not int and (isinstance(n_probes, bool) or not isinstance(n_probes, np.integer)):
        raise ArgumentError("n_probes", repr(n_probes), f"an integer from 1 to {MAX_PROBES}")
    if not 1 <= n_probes <= MAX_PROBES:
        raise ArgumentError("n_probes", repr(n_probes), f"an integer from 1 to {MAX_PROBES}")
    if n_probes > 2**family.code_bits:
        raise ArgumentError("n_probes", n_probes, f"at most the number of codes, {2**family.code_bits}")
    kernel = kernel_struct(family, query=True)
    return kernel if kernel is None or n_probes == 1 or kernel.can_probe else None


def retrieval(
    family: HashFamily, reader: NativeReader, queries: Rows, n_probes: int, *, threads: int | None = None
) -> StageCall:
    """The call that joins the ids in the probed buckets: the core hashes, if there is a kernel.

    Parameters
    ----------
    family : HashFamily
        The tables' hash functions.
    reader : NativeReader
        The tables.
    queries : (n, dim) rows
        Dense float32 or canonical CSR. A kernel checks that they are finite; without one this function does.
    n_probes : int
        Buckets per table, best first.
    threads : int, optional
        Threads of hashing in Python.

    Raises
    ------
    ArgumentError
        The queries have another number of columns, or ``n_probes`` is out of range.
    UnsupportedError
        The family cannot probe.
    """
    kernel = query_kernel(family, n_probes)
    call = StageCall(op="RETRIEVE", reader=reader)
    if kernel is None:
        call.codes = np.ascontiguousarray(probe_rows(family, queries, n_probes, threads=threads))
        return call
    if queries.shape[1] != family.dim:
        raise ArgumentError("queries", f"{queries.shape[1]} columns", f"an array with {family.dim} columns")
    call.kernel, call.rows, call.n_probes = kernel, queries, n_probes
    call.refuse = functools.partial(refuse_queries, family, queries, n_probes)
    return call


def kernel_struct(family: HashFamily, query: bool = False) -> KernelStruct | None:
    """The family's compiled kernel as a struct of the C core, validated; None if the family has none.

    Raises
    ------
    PluginError
        Not a NativeKernel, compiled against another ABI version, or without a hash function.
    """
    # A family is immutable, so its kernels are made once for each instruction set.
    made: dict[tuple[str, bool], KernelStruct | None] = family.__dict__.setdefault("_kernel_structs", {})
    key = core.isa(), query
    if key not in made:
        method = "native_query" if query else "native"
        kernel = _call_python(family, method)
        made[key] = (
            None
            if kernel is None
            else kernels.kernel_struct(
                f"{family_label(family)}.{method}",
                kernel,
                dim=family.dim,
                n_tables=family.n_tables,
                code_bits=family.code_bits,
            )
        )
    return made[key]


def _run_native(
    family: HashFamily, kernel: KernelStruct, rows: Rows, argument: str, n_probes: int, threads: int
) -> Codes:
    status, codes = kernels.run_kernel(kernel, rows, n_probes, threads)
    if status != lib.LSH_OK:
        method = "probe" if n_probes else "hash_query" if argument == "queries" else "hash"
        _refuse(family, method, rows, argument, n_probes, status)
    return codes


def refuse_queries(family: HashFamily, queries: Rows, n_probes: int, status: int) -> None:
    """Raise the error for a kernel of the query side that failed inside a sampling call.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    queries : rows
        The queries that the kernel was called with, checked except for finite values.
    n_probes : int
        Buckets per table.
    status : int
        The status of the C core.
    """
    probes = n_probes if n_probes > 1 else 0
    _refuse(family, "probe" if probes else "hash_query", queries, "queries", probes, status)


def _refuse(family: HashFamily, method: str, rows: Rows, argument: str, n_probes: int, status: int) -> None:
    label = family_label(family)
    if status == lib.LSH_NOT_FINITE:
        if isinstance(rows, np.ndarray):
            core.check_finite(rows, argument)
        else:
            core.csr_rows(rows, argument)
    if status == lib.LSH_OUT_OF_RANGE:
        raise PluginError(f"{label}: the native kernel returned a code beyond {family.code_bits} bits")
    if status == lib.LSH_PLUGIN_FAILED:
        # The reference refuses the same rows, with a message.
        _call_python(family, method, *((rows, n_probes) if n_probes else (rows,)))
    core.check(status, f"{label}: the native kernel")


def _call_python(family: HashFamily, method: str, *arguments: Any) -> Any:
    where = f"{family_label(family)}.{method}"
    try:
        return getattr(family, method)(*arguments)
    except (UnsupportedError, MemoryError):
        raise
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error.argument}", error.given, error.wanted) from error
    except LshsampleError as error:
        raise PluginError(f"{where}: {error}") from error
    except Exception as error:
        raise PluginError(f"{where} raised {type(error).__name__}: {error}") from error


def _checked_codes(family: HashFamily, method: str, codes: Any, shape: tuple[int, ...]) -> Codes:
    where = f"{family_label(family)}.{method}"
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint32:
        given = f"dtype {codes.dtype}" if isinstance(codes, np.ndarray) else type(codes).__name__
        raise PluginError(f"{where}: returned {given}, expected an array of dtype uint32")
    if codes.shape != shape:
        raise PluginError(f"{where}: returned shape {codes.shape}, expected {shape}")
    if codes.size and int(codes.max()) >> family.code_bits:
        raise PluginError(
            f"{where}: returned code {int(codes.max())}, expected codes below 2**{family.code_bits}"
        )
    return np.ascontiguousarray(codes)
