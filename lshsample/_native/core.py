"""Loading, statuses, array views, threads and instruction sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.dtypes import checked_device, described
from lshsample.errors import ArgumentError, NativeError, PluginError
from lshsample.specs import checked_integer

try:
    from lshsample._core import ffi, lib
except ImportError as error:  # pragma: no cover - needs a broken installation
    raise NativeError(
        "the C core is not built (lshsample/_core is missing); build it with `pip install .` or, "
        "in a checkout, `pip install -e .` (needs gcc or clang)"
    ) from error

__all__ = [
    "ISAS",
    "check",
    "check_finite",
    "csr_struct",
    "csr_view",
    "dense_rows",
    "dense_struct",
    "dense_view",
    "ffi",
    "forced_isa",
    "isa",
    "kept_rows",
    "lib",
    "pointer",
    "processors",
    "rows_between",
    "threads_or_default",
]

Float32 = npt.NDArray[np.float32]

#: Instruction sets by name, the least first.
ISAS = {"baseline": lib.LSH_ISA_BASELINE, "avx2": lib.LSH_ISA_AVX2, "avx512": lib.LSH_ISA_AVX512}
_ISA_NAMES = {value: name for name, value in ISAS.items()}
_MAX_THREADS = 64


#: What signal handlers raised inside of a call of the core, until :func:`check` raises it.
_raised: list[BaseException] = []


def _keep(_type: Any, error: BaseException, _traceback: Any) -> None:
    _raised.append(error)


@ffi.def_extern(name="lsh_python_interrupt", error=1, onerror=_keep)  # type: ignore[untyped-decorator]
def _handle_signals() -> int:
    """Called by the core in the main thread during a long call: Python runs the handlers of signals here."""
    return 0


lib.lsh_interrupt_by(lib.lsh_python_interrupt)


def check(status: int, what: str) -> None:
    """Raise the exception for a status; ``what`` names the call in the message.

    For an interrupted call it is what the signal handler raised, usually KeyboardInterrupt.
    """
    if status == lib.LSH_OK:
        return
    if status == lib.LSH_INTERRUPTED:
        raise _raised.pop().with_traceback(None)
    text = f"{what}: {ffi.string(lib.lsh_status_text(status)).decode()}"
    if status == lib.LSH_NO_MEMORY:
        raise MemoryError(text)
    if status in (lib.LSH_PLUGIN_FAILED, lib.LSH_BAD_ABI):
        raise PluginError(text)
    raise NativeError(text)


def processors() -> int:
    """The number of processors that this process may use."""
    return int(lib.lsh_processors())


def threads_or_default(threads: int | None, argument: str = "threads") -> int:
    """A checked number of threads; None means ``OMP_NUM_THREADS`` or, without it, every processor.

    Results never depend on it. More threads than processors are allowed up to 64, so that a run can be
    repeated as it was on a larger machine; beyond that the number is refused.
    """
    if type(threads) is int and 1 <= threads <= _MAX_THREADS:
        return threads
    available = processors()
    limit, more = max(_MAX_THREADS, available), f" ({available} processors)"
    if threads is not None:
        return checked_integer(argument, threads, 1, limit, more)
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    count = int(text) if text.isascii() and text.isdigit() else text or available
    return checked_integer(f"{argument} (OMP_NUM_THREADS)", count, 1, limit, more)


#: The instruction set in use by the core; only :func:`use_isa` changes it.
_isa = _ISA_NAMES[lib.lsh_isa_current()]


def isa() -> str:
    """The instruction set in use: ``"baseline"``, ``"avx2"`` or ``"avx512"``."""
    return _isa


def available_isas() -> tuple[str, ...]:
    """The instruction sets that this machine can run."""
    return tuple(name for name, value in ISAS.items() if lib.lsh_isa_available(value))


def use_isa(name: str, argument: str = "isa") -> None:
    """Use another instruction set in the whole process from now on."""
    if name not in available_isas():
        raise ArgumentError(argument, repr(name), f"one of {', '.join(available_isas())} on this machine")
    global _isa
    check(lib.lsh_isa_use(ISAS[name]), "isa")
    _isa = name


@contextmanager
def forced_isa(name: str) -> Iterator[None]:
    """Use an instruction set inside a ``with`` block (for tests and benchmarks; process-wide)."""
    before = isa()
    use_isa(name)
    try:
        yield
    finally:
        use_isa(before)


if os.environ.get("LSHSAMPLE_ISA"):
    use_isa(os.environ["LSHSAMPLE_ISA"], "LSHSAMPLE_ISA")


def pointer(ctype: str, array: npt.NDArray[Any] | None) -> Any:
    """A C pointer to an array's first element; the array must outlive its use. None gives NULL."""
    if array is None:
        return ffi.NULL
    # from_buffer takes a tenth of the time of ctypes, but refuses strided arrays.
    return ffi.from_buffer(ctype, array) if array.flags.c_contiguous else ffi.cast(ctype, array.ctypes.data)


def dense_rows(x: Any, argument: str, cols: int | None = None, *, finite: bool = True) -> Float32:
    """A finite 2-D float32 array with contiguous rows; copies only if it must.

    Accepts what NumPy turns into a numeric 2-D array. Complex, object and string arrays, NaN and infinities,
    values beyond float32, a wrong number of columns and arrays on another device are refused.
    ``finite=False`` leaves NaN and infinities to the caller, for a kernel that checks while it reads.
    """
    if not isinstance(x, np.ndarray):
        checked_device(getattr(x, "device", "cpu"), argument)
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        given = f"dtype {described(array.dtype)}"
        raise ArgumentError(argument, given, "an array of real numbers (float32 is not copied)")
    if array.ndim != 2:
        raise ArgumentError(argument, f"shape {array.shape}", "a 2-D array (n_rows, n_columns)")
    if cols is not None and array.shape[1] != cols:
        raise ArgumentError(argument, f"{array.shape[1]} columns", f"an array with {cols} columns")
    rows = array
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):
            rows = array.astype(np.float32)
    item, step = rows.itemsize, rows.strides[0]
    whole_rows = rows.strides[1] == item and step % item == 0 and step >= rows.shape[1] * item
    if rows.size and not whole_rows:
        rows = np.ascontiguousarray(rows)
    if finite:
        check_finite(rows, argument)
    return rows


def check_finite(values: Float32, argument: str) -> None:
    """Refuse NaN and infinities, naming the first place; rows (or the one row) must be contiguous."""
    if lib.lsh_finite(dense_view(np.atleast_2d(values))):
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    raise ArgumentError(argument, f"{values[place]} at {place}", "finite float32 values")


def dense_struct(rows: Float32) -> Any:
    """A float32 ``lsh_dense *`` over an array from :func:`dense_rows`, which must outlive its use."""
    stride = rows.strides[0] // rows.itemsize if rows.shape[0] > 1 else rows.shape[1]
    view = (pointer("float *", rows), rows.shape[0], rows.shape[1], stride, lib.LSH_FLOAT32)
    return ffi.new("lsh_dense *", view)


def dense_view(rows: Float32) -> Any:
    """A float32 ``lsh_dense`` by value over an array from :func:`dense_rows`, which must outlive its use."""
    return dense_struct(rows)[0]


def csr_rows(
    x: Any, argument: str, cols: int | None = None, *, finite: bool = True, threads: int | None = None
) -> sp.csr_array:
    """A canonical, finite CSR array: int64 indptr, int32 indices (ascending, unique, in range), float32 data.

    Copies only what it must. ``finite=False`` leaves NaN and infinities to the caller.
    """
    if not sp.issparse(x):
        raise ArgumentError(argument, type(x).__name__, "a scipy.sparse matrix or array")
    matrix: Any = x
    if matrix.dtype.kind not in "fiub":
        raise ArgumentError(argument, f"dtype {matrix.dtype}", "a matrix of real numbers")
    csr: Any = sp.csr_array(matrix)
    if csr.ndim != 2 or csr.shape[1] >= 2**31:
        raise ArgumentError(argument, f"shape {csr.shape}", "2-D with fewer than 2**31 columns")
    if cols is not None and csr.shape[1] != cols:
        raise ArgumentError(argument, f"{csr.shape[1]} columns", f"a matrix with {cols} columns")
    count = threads_or_default(threads)
    out, faults = _checked_csr(csr, argument, finite, count)
    if faults.order >= 0:
        # A copy does not have the flags that SciPy caches, so it is really sorted and summed.
        csr = csr.copy()
        csr.sum_duplicates()
        out, faults = _checked_csr(csr, argument, finite, count)
    if faults.value >= 0:
        entry = int(faults.value)
        place = int(np.searchsorted(out.indptr, entry, side="right")) - 1, int(out.indices[entry])
        raise ArgumentError(argument, f"{out.data[entry]} at {place}", "finite float32 values")
    out.has_canonical_format = True
    return cast("sp.csr_array", out)


def kept_rows(x: Any, argument: str) -> Any:
    """Rows that were kept for later, in the form of the core; checked only where they have another form."""
    if not sp.issparse(x):
        return dense_rows(x, argument, finite=False)
    rows: Any = x
    dtypes = rows.indptr.dtype, rows.indices.dtype, rows.data.dtype
    known = isinstance(rows, sp.csr_array) and dtypes == (np.int64, np.int32, np.float32)
    if known and rows.has_canonical_format:  # which csr_rows sets
        return rows
    return csr_rows(rows, argument, finite=False)


def rows_between(rows: Any, begin: int, end: int) -> Any:
    """Rows ``begin`` to ``end - 1`` of validated rows, without a copy of their entries, as valid as these.

    SciPy's own slices have index types of its choice.
    """
    if not sp.issparse(rows):
        return rows[begin:end]
    whole: Any = rows
    out: Any = sp.csr_array((end - begin, whole.shape[1]), dtype=np.float32)
    first, last = whole.indptr[begin], whole.indptr[end]
    out.indptr = whole.indptr[begin : end + 1] - first
    out.indices, out.data = whole.indices[first:last], whole.data[first:last]
    out.has_canonical_format = True
    return out


def _checked_csr(csr: Any, argument: str, finite: bool, threads: int) -> tuple[Any, Any]:
    """The array in the dtypes of the core, its columns in range, and what else is wrong with it."""
    out: Any = sp.csr_array(csr.shape, dtype=np.float32)
    out.indptr = np.ascontiguousarray(csr.indptr, dtype=np.int64)
    out.indices = _narrow(csr.indices, threads)
    with np.errstate(over="ignore"):
        out.data = np.ascontiguousarray(csr.data, dtype=np.float32)
    view, faults = csr_view(out), ffi.new("lsh_csr_faults *")
    if not finite:
        view.values = ffi.NULL
    check(lib.lsh_csr_check(view, len(out.indices), threads, faults), argument)
    if faults.row >= 0:
        given = f"row offsets that descend at row {faults.row}"
        raise ArgumentError(argument, given, "a matrix with ascending row offsets")
    if faults.index >= 0:
        given = f"column index {csr.indices[faults.index]} at entry {faults.index}"
        raise ArgumentError(argument, given, f"a matrix with column indices from 0 to {csr.shape[1] - 1}")
    return out, faults


def _narrow(indices: npt.NDArray[Any], threads: int) -> npt.NDArray[np.int32]:
    """Indices as int32; those that do not fit become -1."""
    if indices.dtype.kind != "i" or indices.dtype.itemsize <= 4:
        return np.ascontiguousarray(indices, dtype=np.int32)
    wide = np.ascontiguousarray(indices, dtype=np.int64)
    narrow = np.empty(len(wide), np.int32)
    check(
        lib.lsh_indices_narrow(pointer("int64_t *", wide), len(wide), threads, pointer("int32_t *", narrow)),
        "indices",
    )
    return narrow


def csr_struct(csr: sp.csr_array) -> Any:
    """An ``lsh_csr *`` over an array from :func:`csr_rows`, which must outlive its use."""
    view = ffi.new("lsh_csr *")
    view.indptr = pointer("int64_t *", csr.indptr)
    view.indices = pointer("int32_t *", csr.indices)
    view.values = pointer("float *", csr.data)
    view.rows, view.cols = csr.shape
    return view


def csr_view(csr: sp.csr_array) -> Any:
    """An ``lsh_csr`` by value over an array from :func:`csr_rows`, which must outlive its use."""
    return csr_struct(csr)[0]
