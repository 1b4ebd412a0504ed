"""Loading, statuses, array views, threads and instruction sets."""

from __future__ import annotations

import copy
import os
import weakref
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
    "array_of",
    "check",
    "check_finite",
    "csr_from_parts",
    "csr_rows",
    "csr_struct",
    "csr_view",
    "dense_rows",
    "dense_struct",
    "dense_view",
    "feature_rows",
    "ffi",
    "forced_isa",
    "index_dtype",
    "isa",
    "kept_rows",
    "lib",
    "offsets_of",
    "pointer",
    "processors",
    "rows_between",
    "threads_or_default",
]

Float32 = npt.NDArray[np.float32]

#: Instruction sets by name, the least first.
ISAS = {
    "baseline": lib.LSH_ISA_BASELINE,
    "avx2": lib.LSH_ISA_AVX2,
    "avx512": lib.LSH_ISA_AVX512,
    "neon": lib.LSH_ISA_NEON,
}
_ISA_NAMES = {value: name for name, value in ISAS.items()}
_MAX_THREADS = 64
_INT32_MAX = 2**31 - 1
_FINITE = "finite float32 values"


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
    """The instruction set in use: ``"baseline"``, ``"avx2"``, ``"avx512"`` or, on ARM, ``"neon"``."""
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


def array_of(x: Any, argument: str) -> npt.NDArray[Any]:
    """What NumPy makes of an array, a frame, a tensor or nested lists, without losing anything silently.

    Masked values, tensors on another device, with a gradient or of a sparse layout, and what is not an array
    at all are refused.
    """
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ArgumentError(argument, "masked values", "an array without masked values: x.filled(0)")
    if not isinstance(x, np.ndarray):
        checked_device(getattr(x, "device", "cpu"), argument)
        if getattr(x, "requires_grad", False) is True:
            raise ArgumentError(argument, "a tensor that requires grad", "without a gradient: x.detach()")
        layout = str(getattr(x, "layout", ""))
        if layout.startswith("torch.") and layout != "torch.strided":
            raise ArgumentError(
                argument, f"a tensor of layout {layout}", "a dense tensor or a scipy.sparse array"
            )
        if sp.issparse(x):
            raise ArgumentError(
                argument, f"a sparse {type(x).__name__}", "a dense array (x.toarray() is one)"
            )
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        given = f"{type(x).__name__}: {error}"
        raise ArgumentError(argument, given, "an array, or nested lists of one length") from error


#: The object that arrays of this type share.
_FLOAT32 = np.dtype(np.float32)


def dense_rows(x: Any, argument: str, cols: int | None = None, *, finite: bool = True) -> Float32:
    """A finite 2-D float32 array with contiguous rows; copies only if it must.

    Accepts what NumPy turns into a numeric 2-D array. Complex, object and string arrays, NaN and infinities,
    values beyond float32, a wrong number of columns and what :func:`array_of` refuses are refused.
    ``finite=False`` leaves NaN and infinities to the caller, for a kernel that checks while it reads.
    """
    usual = type(x) is np.ndarray and x.dtype is _FLOAT32 and x.ndim == 2 and x.flags.c_contiguous
    if usual and cols is None and not finite:
        kept: Float32 = x
        return kept
    array = array_of(x, argument)
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
    if finite or array.dtype.itemsize > rows.itemsize:
        check_finite(rows, argument, array)
    return rows


def check_finite(values: Float32, argument: str, given: npt.NDArray[Any] | None = None) -> None:
    """Refuse NaN and infinities, naming the first place; rows (or the one row) must be contiguous.

    ``given``, of the same shape, has the values as they were before the conversion to float32.
    """
    if lib.lsh_finite(dense_view(np.atleast_2d(values))):
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    value = (values if given is None else given)[place]
    raise ArgumentError(argument, f"{value} at {place}", _FINITE)


def dense_struct(rows: Float32) -> Any:
    """A float32 ``lsh_dense *`` over an array from :func:`dense_rows`, which must outlive its use."""
    stride = rows.strides[0] // rows.itemsize if rows.shape[0] > 1 else rows.shape[1]
    view = (pointer("float *", rows), rows.shape[0], rows.shape[1], stride, lib.LSH_FLOAT32)
    return ffi.new("lsh_dense *", view)


def dense_view(rows: Float32) -> Any:
    """A float32 ``lsh_dense`` by value over an array from :func:`dense_rows`, which must outlive its use."""
    return dense_struct(rows)[0]


def index_dtype(n_entries: int) -> type[np.int32] | type[np.int64]:
    """The type of row offsets and column indices of a sparse array: int32 if it can count the entries."""
    return np.int32 if n_entries <= _INT32_MAX else np.int64


_EMPTY_CSR = sp.csr_array((0, 0), dtype=np.float32)


def csr_from_parts(
    indptr: npt.NDArray[Any], indices: npt.NDArray[Any], values: Float32 | None, shape: tuple[int, int]
) -> sp.csr_array:
    """A canonical CSR array of arrays that are known to be valid, without checks; all 1 without values.

    Offsets and indices have the one type of :func:`index_dtype`, as SciPy requires; they are copied only if
    they have another. O(1) otherwise.
    """
    dtype = index_dtype(len(indices))
    out: Any = copy.copy(_EMPTY_CSR)  # its constructor takes four times as long
    out._shape = shape
    out.indptr = indptr if indptr.dtype == dtype else indptr.astype(dtype)
    out.indices = indices if indices.dtype == dtype else indices.astype(dtype)
    out.data = np.ones(len(indices), np.float32) if values is None else values
    out.has_canonical_format = True
    return cast("sp.csr_array", out)


def offsets_of(csr: Any) -> npt.NDArray[np.int64]:
    """The row offsets of a CSR array as the core reads them: int64, contiguous."""
    return np.ascontiguousarray(csr.indptr, np.int64)


def feature_rows(x: Any, argument: str, cols: int | None = None) -> sp.csr_array:
    """Rows as :func:`csr_rows` returns them, from a sparse or a dense array."""
    if not sp.issparse(x):
        x = sp.csr_array(dense_rows(x, argument, cols))
    return csr_rows(x, argument, cols)


def csr_rows(
    x: Any,
    argument: str,
    cols: int | None = None,
    *,
    finite: bool = True,
    keep_zeros: bool = False,
    threads: int | None = None,
) -> sp.csr_array:
    """Sparse rows as they are used everywhere: canonical CSR, float32, finite, without explicit zeros.

    Columns ascend and are unique in each row (entries of one place are summed, as in SciPy); offsets and
    indices are of one type (:func:`index_dtype`). Stored zeros, and values that float32 rounds to 0, are
    left out, so that they count as absent in all that follows. Copies only what it must. ``finite=False``
    leaves NaN and infinities to the caller, except for those that come of values beyond float32;
    ``keep_zeros=True`` is for signals between layers, whose stored entries are the active units.

    Raises
    ------
    ArgumentError
        Not a sparse array of two dimensions and real numbers; another number of columns; offsets or indices
        that point outside of it; values that are not finite float32.
    """
    csr = _sound(x, argument, cols)
    count = threads_or_default(threads)
    rows, faults = _checked_csr(csr, argument, count)
    if faults.order >= 0:
        parts = rows.indptr.copy(), rows.indices.copy(), csr.data.copy()
        csr = _parts(sp.csr_array, csr.shape, *parts)
        csr.sum_duplicates()
        rows, faults = _checked_csr(csr, argument, count)
    entry = int(faults.value)
    if entry >= 0 and (finite or np.isfinite(csr.data[entry])):
        place = int(np.searchsorted(rows.indptr, entry, side="right")) - 1, int(rows.indices[entry])
        raise ArgumentError(argument, f"{csr.data[entry]} at {place}", _FINITE)
    if faults.zero >= 0 and not keep_zeros:
        rows = rows.copy()
        rows.eliminate_zeros()
    rows.has_canonical_format = True
    return cast("sp.csr_array", rows)


def _sound(x: Any, argument: str, cols: int | None) -> Any:
    """CSR whose arrays fit each other in shape and dtype; offsets and indices of CSR are not yet checked."""
    if not sp.issparse(x):
        raise ArgumentError(argument, type(x).__name__, "a scipy.sparse matrix or array")
    matrix: Any = x
    if matrix.dtype.kind not in "fiub":
        raise ArgumentError(argument, f"dtype {matrix.dtype}", "a matrix of real numbers")
    if matrix.ndim != 2 or matrix.shape[1] > _INT32_MAX:
        raise ArgumentError(argument, f"shape {matrix.shape}", "2-D with fewer than 2**31 columns")
    if cols is not None and matrix.shape[1] != cols:
        raise ArgumentError(argument, f"{matrix.shape[1]} columns", f"a matrix with {cols} columns")
    try:
        if matrix.format == "coo":
            matrix = _checked_coo(matrix, argument)
        elif matrix.format in ("csr", "csc", "bsr"):
            matrix = _checked_compressed(matrix, argument)
        # SciPy's conversions trust offsets and indices.
        return matrix if matrix.format == "csr" else matrix.tocsr()
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(
            argument, f"a damaged {matrix.format} matrix: {error}", "a valid matrix"
        ) from error


def kept_rows(x: Any, argument: str) -> Any:
    """Rows that were kept for later, in the form of the core; checked only where they have another form."""
    if isinstance(x, np.ndarray) or not sp.issparse(x):
        return dense_rows(x, argument, finite=False)
    rows: Any = x
    if isinstance(rows, sp.csr_array):
        index = np.dtype(index_dtype(len(rows.indices)))
        known = rows.indptr.dtype == rows.indices.dtype == index and rows.data.dtype == np.float32
        if known and rows.has_canonical_format:  # which csr_rows sets
            return rows
    return csr_rows(rows, argument, finite=False)


def rows_between(rows: Any, begin: int, end: int) -> Any:
    """Rows ``begin`` to ``end - 1`` of validated rows, without a copy of their entries, as valid as these."""
    if not sp.issparse(rows):
        return rows[begin:end]
    whole: Any = rows
    first, last = whole.indptr[begin], whole.indptr[end]
    offsets, parts = whole.indptr[begin : end + 1] - first, slice(first, last)
    return csr_from_parts(offsets, whole.indices[parts], whole.data[parts], (end - begin, whole.shape[1]))


def _parts(cls: Any, shape: tuple[int, int], indptr: Any, indices: Any, data: Any) -> Any:
    """A compressed array of these parts, without SciPy's checks, which are not complete."""
    out = cls((0, 0), dtype=data.dtype)
    out._shape = shape
    out.indptr, out.indices, out.data = indptr, indices, data
    return out


def _checked_compressed(matrix: Any, argument: str) -> Any:
    """A CSR, CSC or BSR array whose arrays fit each other; for the latter two all offsets and indices too."""
    indptr, indices, data, form = matrix.indptr, matrix.indices, matrix.data, matrix.format
    n_rows, n_columns = matrix.shape
    if form == "csc":
        n_rows, n_columns = n_columns, n_rows
    elif form == "bsr":
        n_rows, n_columns = n_rows // data.shape[1], n_columns // data.shape[2]
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            given = f"{name} of {array.dtype} and shape {array.shape}"
            raise ArgumentError(
                argument, given, "a matrix with integers in one dimension as indptr and indices"
            )
    if len(indptr) != n_rows + 1 or len(data) != len(indices) or indptr[0] != 0:
        given = f"{len(indptr)} row offsets from {indptr[:1]}, {len(indices)} indices and {len(data)} values"
        wanted = f"a matrix with {n_rows + 1} offsets from 0, and as many values as indices"
        raise ArgumentError(argument, given, wanted)
    if form == "csr":
        # The check in C names the place; what lies behind the last row belongs to none.
        end = min(max(int(indptr[-1]), 0), len(indices))
        if end == len(indices) or end < int(indptr[-1]):
            return matrix
        return _parts(sp.csr_array, matrix.shape, indptr, indices[:end], data[:end])
    if (indptr[1:] < indptr[:-1]).any() or indptr[-1] > len(indices):
        raise ArgumentError(argument, "row offsets that descend or pass the end", "ascending offsets")
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_columns):
        given = f"indices from {indices.min()} to {indices.max()}"
        raise ArgumentError(argument, given, f"a matrix with indices from 0 to {n_columns - 1}")
    dtype = np.int32 if max(len(indices), n_rows, n_columns) <= _INT32_MAX else np.int64
    out = type(matrix)(matrix.shape, dtype=matrix.dtype) if form == "csc" else matrix.copy()
    out.indptr, out.indices, out.data = indptr.astype(dtype), indices.astype(dtype), data
    return out


def _checked_coo(matrix: Any, argument: str) -> Any:
    """A COO array whose places are inside of it."""
    for name, places, size in (("row", matrix.row, matrix.shape[0]), ("column", matrix.col, matrix.shape[1])):
        if places.shape != matrix.data.shape or places.dtype.kind not in "iu":
            given = f"{name} indices of {places.dtype} and shape {places.shape}"
            raise ArgumentError(argument, given, f"a matrix with {len(matrix.data)} integers, one a value")
        if len(places) and not (places.min() >= 0 and places.max() < size):
            given = f"{name} indices from {places.min()} to {places.max()}"
            raise ArgumentError(argument, given, f"a matrix with {name} indices from 0 to {size - 1}")
    return matrix


def _checked_csr(csr: Any, argument: str, threads: int) -> tuple[Any, Any]:
    """CSR as float32 with one index type and columns in range; what else is wrong with it."""
    narrow = _narrow(csr.indices, threads)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(csr.data, dtype=np.float32)
    checked: Any = csr_from_parts(csr.indptr, narrow, values, csr.shape)
    offsets, faults = offsets_of(csr), ffi.new("lsh_csr_faults *")
    view = ffi.new(
        "lsh_csr *",
        (
            pointer("int64_t *", offsets), pointer("int32_t *", narrow), pointer("float *", values),
            *csr.shape,
        ),
    )  # fmt: skip
    check(lib.lsh_csr_check(view[0], len(narrow), threads, faults), argument)
    if faults.row >= 0:
        given = f"row offsets that descend at row {faults.row}"
        raise ArgumentError(argument, given, "a matrix with ascending row offsets")
    if faults.index >= 0:
        given = f"column index {csr.indices[faults.index]} at entry {faults.index}"
        raise ArgumentError(argument, given, f"a matrix with column indices from 0 to {csr.shape[1] - 1}")
    return checked, faults


def _narrow(indices: npt.NDArray[Any], threads: int) -> npt.NDArray[np.int32]:
    """Indices as int32; those that do not fit become -1."""
    if indices.dtype.itemsize < 4 or indices.dtype == np.int32:
        return np.ascontiguousarray(indices, dtype=np.int32)
    wide = np.ascontiguousarray(indices, dtype=np.int64)
    narrow = np.empty(len(wide), np.int32)
    check(
        lib.lsh_indices_narrow(pointer("int64_t *", wide), len(wide), threads, pointer("int32_t *", narrow)),
        "indices",
    )
    return narrow


#: The arrays that a view points to and that only it holds (cffi's structs hold nothing).
_held: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def csr_struct(csr: sp.csr_array) -> Any:
    """An ``lsh_csr *`` over an array from :func:`csr_rows`, which must outlive its use."""
    rows: Any = csr
    # The core reads offsets of 8 bytes and indices of 4, whatever SciPy needs.
    offsets = np.ascontiguousarray(rows.indptr, np.int64)
    indices = np.ascontiguousarray(rows.indices, np.int32)
    n_rows, n_columns = rows._shape  # the property of this name copies it, in Python
    view = ffi.new(
        "lsh_csr *",
        (
            ffi.from_buffer("int64_t *", offsets),
            ffi.from_buffer("int32_t *", indices),
            pointer("float *", rows.data),
            n_rows,
            n_columns,
        ),
    )
    # The struct, not the pointer to it: a view by value holds the one and not the other.
    _held[view[0]] = offsets, indices
    return view


def csr_view(csr: sp.csr_array) -> Any:
    """An ``lsh_csr`` by value over an array from :func:`csr_rows`, which must outlive its use."""
    return csr_struct(csr)[0]
