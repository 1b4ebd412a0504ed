"""The checked door to hash families: rows in, codes out, whatever the plugin does.

A family with a native kernel is called by the C core in parallel blocks; one without is called in Python.
Either way the rows are checked before, the codes after, and an error names the family.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.addresses import check_callable
from lshsample._native.core import ffi, lib
from lshsample.errors import ArgumentError, LshsampleError, PluginError, UnsupportedError

if TYPE_CHECKING:
    from lshsample.plugin import HashFamily, NativeKernel

__all__ = [
    "KernelStruct",
    "check_made",
    "checked_rows",
    "family_label",
    "hash_rows",
    "kernel_struct",
    "pair_chances",
    "prepared",
    "probe_rows",
    "reseeded",
    "with_checked_rows",
]

Codes = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32] | sp.csr_array

#: A longer probe sequence is a mistake: it would cost more than to scan the items.
MAX_PROBES = 65536


@attrs.frozen(eq=False)
class KernelStruct:
    """A ``lsh_family_kernel`` that the C core can call, with everything that it borrows.

    Attributes
    ----------
    pointer : cffi pointer
        The struct; owned by this object.
    can_probe : bool
        Whether it has a probe function.
    keepalive : object
        The plugin's arrays and libraries behind it.
    """

    pointer: Any
    can_probe: bool
    keepalive: object


def family_label(family: HashFamily) -> str:
    """How errors name a family: its class with its module, which names the plugin."""
    cls = type(family)
    return f"{cls.__module__}.{cls.__qualname__}"


def check_made(family: HashFamily, spec: Any) -> None:
    """What a family is made from: a spec of its class, and codes that have room in 32 bits."""
    if not isinstance(spec, family.Spec):
        raise ArgumentError("spec", repr(spec), f"a {family.Spec.__name__}")
    bits = family.bits_per_hash
    if not isinstance(bits, (int, np.integer)) or bits < 1:
        where = f"{family_label(family)}.bits_per_hash"
        raise PluginError(f"{where} is {bits!r}; wanted a positive integer")
    if spec.n_hashes * bits > 32:
        given = f"{spec.n_hashes} hashes of {bits} bits"
        raise ArgumentError("n_hashes", given, "a code of at most 32 bits")


def checked_rows(
    family: HashFamily, x: Any, argument: str = "x", *, finite: bool = True, threads: int | None = None
) -> Rows:
    """Rows as families take them: finite, ``family.dim`` columns, dense float32 or canonical CSR.

    ``finite=False`` leaves NaN and infinities to the caller.
    """
    if sp.issparse(x):
        return core.csr_rows(x, argument, family.dim, finite=finite, threads=threads)
    return core.dense_rows(x, argument, family.dim, finite=finite)


def with_checked_rows(method: Callable[..., Codes], argument: str) -> Callable[..., Codes]:
    """A family's method whose first argument goes through :func:`checked_rows`."""

    @functools.wraps(method)
    def checked(family: HashFamily, *given: Any, **named: Any) -> Codes:
        rows = (checked_rows(family, given[0], argument),) if given else ()
        return method(family, *rows, *given[1:], **named)

    return checked


def hash_rows(family: HashFamily, x: Any, *, query: bool = False, threads: int | None = None) -> Codes:
    """Codes of rows, through the family's native kernel where it has one.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    x : (n, dim) array or scipy.sparse matrix
        Finite rows; float32 (dense, or canonical CSR) is taken without a copy. n may be 0.
    query : bool
        Hash as queries (asymmetric families differ).
    threads : int, optional
        At most so many threads; the codes never depend on it.

    Returns
    -------
    (n, n_tables) uint32 array
        Each code below ``2**family.code_bits``.

    Raises
    ------
    ArgumentError
        The rows are not finite, not 2-D, or have another number of columns; or the family, which is then
        named, has no codes for them.
    PluginError
        The family broke its contract: another ABI version, a failing method or kernel, codes of the wrong
        shape, dtype or range.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.registry import make_family
    >>> family = make_family("simhash", dim=4, n_hashes=2, n_tables=3)
    >>> hash_rows(family, np.zeros((1, 4), np.float32))
    array([[3, 3, 3]], dtype=uint32)
    """
    argument, count = "queries" if query else "x", core.threads_or_default(threads)
    kernel = kernel_struct(family, query)
    rows = checked_rows(family, x, argument, finite=kernel is None, threads=count)
    if kernel is not None:
        return _run_native(family, kernel, rows, argument, 0, count)
    method = "hash_query" if query else "hash"
    codes = _call_python(family, method, rows)
    return _checked_codes(family, method, codes, (rows.shape[0], family.n_tables))


def prepared(family: HashFamily, rows: Rows) -> HashFamily:
    """What the family's ``prepare`` makes of rows that were checked: a family of the same class and shape.

    Raises
    ------
    PluginError
        It returned something else, or failed.
    """
    return _same_shape(family, "prepare", _call_python(family, "prepare", rows), family.seed)


def reseeded(family: HashFamily, seed: int) -> HashFamily:
    """The family with other functions: what its ``with_seed`` makes, of the same class and shape.

    Raises
    ------
    PluginError
        It returned something else, or failed.
    UnsupportedError
        Its functions are not drawn by a seed.
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
            f"{family_label(family)}.{method}: returned {new!r}; wanted the same class, dim, n_hashes and "
            f"n_tables, and seed {seed}"
        )
    return new


def pair_chances(family: HashFamily, q: Any, x: Any, n_probes: int = 1) -> Floats:
    """Probabilities that buckets hold pairs, by the family's law.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    q, x : rows that were checked
        Queries and data, pair by pair; with more than one probe, one query and data.
    n_probes : int
        Buckets that a query looks into in each table.

    Returns
    -------
    (n,) or, with more than one probe, (n, n_tables) float64 array

    Raises
    ------
    UnsupportedError
        The family has no such law.
    PluginError
        The law failed, or gave something else than probabilities of that shape.
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
        raise PluginError(f"{where}: returned {given}; wanted an array of floats of shape {shape}")
    if not ((found >= 0) & (found <= 1)).all():
        ends = f"{found.min()} to {found.max()}"
        raise PluginError(f"{where}: returned values from {ends}; wanted probabilities from 0 to 1")
    return found.astype(np.float64, copy=False)


def probe_rows(family: HashFamily, q: Any, n_probes: int, *, threads: int | None = None) -> Codes:
    """Codes of the buckets to look into for each query, the best first.

    Parameters
    ----------
    family : HashFamily
        The hash functions.
    q : (n, dim) array or scipy.sparse matrix
        Queries, as for :func:`hash_rows`.
    n_probes : int
        Codes for each query and table, P; the first is the query's own code.
    threads : int, optional
        At most so many threads.

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
    if (
        isinstance(n_probes, bool)
        or not isinstance(n_probes, (int, np.integer))
        or not 1 <= n_probes <= MAX_PROBES
    ):
        raise ArgumentError("n_probes", repr(n_probes), f"an integer from 1 to {MAX_PROBES}")
    if n_probes > 2**family.code_bits:
        raise ArgumentError("n_probes", n_probes, f"at most the {2**family.code_bits} codes that there are")
    if n_probes == 1:
        return hash_rows(family, q, query=True, threads=threads)[:, :, None]
    count = core.threads_or_default(threads)
    kernel = kernel_struct(family, query=True)
    native = kernel if kernel is not None and kernel.can_probe else None
    rows = checked_rows(family, q, "queries", finite=native is None, threads=count)
    if native is not None:
        return _run_native(family, native, rows, "queries", int(n_probes), count)
    codes = _call_python(family, "probe", rows, int(n_probes))
    return _checked_codes(family, "probe", codes, (rows.shape[0], family.n_tables, int(n_probes)))


def kernel_struct(family: HashFamily, query: bool = False) -> KernelStruct | None:
    """The family's native kernel as the C core takes it, checked; None where the family has none.

    Raises
    ------
    PluginError
        Not a NativeKernel, compiled against another ABI version, or without a hash function.
    """
    # A family is what its spec says, so its kernels stay the same; they are made once an instruction set.
    made: dict[tuple[str, bool], KernelStruct | None] = family.__dict__.setdefault("_kernel_structs", {})
    key = core.isa(), query
    if key not in made:
        made[key] = _make_struct(family, "native_query" if query else "native")
    return made[key]


def _make_struct(family: HashFamily, method: str) -> KernelStruct | None:
    kernel = _call_python(family, method)
    if kernel is None:
        return None
    where = f"{family_label(family)}.{method}"
    _check_kernel(where, kernel)
    struct = ffi.new("lsh_family_kernel *")
    struct.abi_version, struct.n_tables, struct.code_bits = (
        kernel.abi_version,
        family.n_tables,
        family.code_bits,
    )
    struct.dim, struct.scratch_bytes = family.dim, kernel.scratch_bytes
    struct.state = ffi.cast("void *", kernel.state)
    struct.hash = ffi.cast("lsh_hash_fn", kernel.hash)
    struct.probe = ffi.cast("lsh_probe_fn", kernel.probe)
    core.check(lib.lsh_kernel_check(struct, 0), where)
    return KernelStruct(struct, bool(kernel.probe), kernel)


def _check_kernel(where: str, kernel: NativeKernel) -> None:
    # Duck-typed: the class lives one layer up.
    for name in ("hash", "state", "abi_version", "scratch_bytes", "probe"):
        if not hasattr(kernel, name):
            raise PluginError(f"{where}: returned {type(kernel).__name__}; wanted a NativeKernel or None")
        value = getattr(kernel, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise PluginError(
                f"{where}: NativeKernel.{name} is {value!r}; wanted an integer (an address or a size)"
            )
    if kernel.abi_version != lib.LSH_FAMILY_ABI:
        raise PluginError(
            f"{where}: the kernel was compiled against version {kernel.abi_version} of lshsample/family.h; "
            f"this lshsample has version {lib.LSH_FAMILY_ABI}, so build the plugin again"
        )
    if kernel.hash == 0:
        raise PluginError(f"{where}: NativeKernel.hash is 0; wanted the address of an lsh_hash_fn")
    for name in ("hash", "probe"):
        address = getattr(kernel, name)
        try:
            if address:
                check_callable(address)
        except ValueError as error:
            raise PluginError(
                f"{where}: NativeKernel.{name} is {error}; wanted the address of an lsh_{name}_fn"
            ) from None


def _run_native(
    family: HashFamily, kernel: KernelStruct, rows: Rows, argument: str, n_probes: int, threads: int
) -> Codes:
    method = "probe" if n_probes else "hash_query" if argument == "queries" else "hash"
    shape = (rows.shape[0], family.n_tables) + ((n_probes,) if n_probes else ())
    codes = np.empty(shape, np.uint32)
    out = core.pointer("uint32_t *", codes)
    if not isinstance(rows, np.ndarray):
        status = lib.lsh_hash_csr(kernel.pointer, core.csr_view(rows), n_probes, threads, out)
    else:
        status = lib.lsh_hash_dense(kernel.pointer, core.dense_view(rows), n_probes, threads, out)
    label = family_label(family)
    if status == lib.LSH_NOT_FINITE:
        core.check_finite(rows if isinstance(rows, np.ndarray) else rows.data, argument)
    if status == lib.LSH_OUT_OF_RANGE:
        raise PluginError(f"{label}: the native kernel returned a code beyond {family.code_bits} bits")
    if status == lib.LSH_PLUGIN_FAILED:
        # The reference refuses the same rows, and says why.
        _call_python(family, method, *((rows, n_probes) if n_probes else (rows,)))
    core.check(status, f"{label}: the native kernel")
    return codes


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
        raise PluginError(f"{where}: returned {given}; wanted an array of dtype uint32")
    if codes.shape != shape:
        raise PluginError(f"{where}: returned shape {codes.shape}; wanted {shape}")
    if codes.size and int(codes.max()) >> family.code_bits:
        raise PluginError(
            f"{where}: returned code {int(codes.max())}; wanted codes below 2**{family.code_bits}"
        )
    return np.ascontiguousarray(codes)
