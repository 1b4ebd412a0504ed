"""Rows from outside: damaged sparse arrays of every format, index types, arrays that are more than values."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError

DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 4]], np.float32)


def damaged():
    """(name, array): every format whose arrays can point outside of it."""
    for form in ("csr", "csc", "bsr"):
        for name, change in (
            ("offset before the first", ("indptr", 1, -100_000_000)),
            ("offset after the last", ("indptr", 1, 100_000_000)),
            ("descending offset", ("indptr", -2, -1)),
            ("first offset", ("indptr", 0, 1)),
            ("last offset", ("indptr", -1, 1_000_000_000)),
            ("negative index", ("indices", 0, -100_000_000)),
            ("large index", ("indices", -1, 100_000_000)),
        ):
            matrix = sp.csr_array(DENSE).asformat(form)
            getattr(matrix, change[0])[change[1]] = change[2]
            yield f"{form}: {name}", matrix
        for name in ("indptr", "indices", "data"):
            matrix = sp.csr_array(DENSE).asformat(form)
            setattr(matrix, name, getattr(matrix, name)[:1])
            yield f"{form}: short {name}", matrix
        for name in ("indptr", "indices"):
            matrix = sp.csr_array(DENSE).asformat(form)
            setattr(matrix, name, getattr(matrix, name).astype(float))
            yield f"{form}: {name} of floats", matrix
    for name, value in (("row", -100_000_000), ("row", 3), ("col", 4), ("col", 100_000_000)):
        matrix = sp.coo_matrix(DENSE)
        getattr(matrix, name)[0] = value
        yield f"coo: {name} {value}", matrix


DAMAGED = dict(damaged())


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_arrays_are_refused(name):
    """SciPy's own conversions follow such offsets and indices, and may end the process."""
    with pytest.raises(ArgumentError, match="rows must be "):
        core.csr_rows(DAMAGED[name], "rows")


def test_every_format_gives_the_same_rows():
    for form in ("csr", "csc", "bsr", "coo", "lil", "dok", "dia"):
        for cls in (sp.csr_array, sp.csr_matrix):
            found = core.csr_rows(cls(DENSE).asformat(form), "rows")
            assert np.array_equal(found.toarray(), DENSE)
            assert found.nonzero()[1].tolist() == [1, 3, 0, 3]


@pytest.mark.parametrize("indptr", [np.int32, np.int64, np.uint32, np.uint64, np.int16])
@pytest.mark.parametrize("indices", [np.int32, np.int64, np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("cls", [sp.csr_array, sp.csc_matrix])
def test_every_mix_of_index_types_is_taken(indptr, indices, cls):
    matrix = cls(DENSE)
    matrix.indptr, matrix.indices = matrix.indptr.astype(indptr), matrix.indices.astype(indices)
    found = core.csr_rows(matrix, "rows")
    assert found.indptr.dtype == found.indices.dtype == np.int32
    assert np.array_equal(found.tocoo().toarray(), DENSE)


def test_index_types_beyond_int32(monkeypatch):
    """Offsets that do not fit make both arrays int64; the core reads them as before."""
    monkeypatch.setattr(core, "_INT32_MAX", 3)
    found = core.csr_from_parts(*parts(sp.csr_array(DENSE[:, 1:])))
    assert found.indptr.dtype == found.indices.dtype == np.int32
    wide = core.csr_from_parts(*parts(sp.csr_array(DENSE)))
    assert wide.indptr.dtype == wide.indices.dtype == np.int64
    assert np.array_equal(wide.toarray(), DENSE)
    view = core.csr_view(wide)
    assert [view.indptr[i] for i in range(4)] == [0, 2, 2, 4]
    assert [view.indices[i] for i in range(4)] == [1, 3, 0, 3]


def parts(matrix):
    return matrix.indptr, matrix.indices, matrix.data, matrix.shape


def test_entries_behind_the_last_row_belong_to_none():
    matrix = sp.csr_array((2, 5), dtype=np.float32)
    matrix.indptr, matrix.indices = np.array([0, 1, 2]), np.array([3, 1, 9, 9])
    matrix.data = np.array([1, 2, np.nan, 4], np.float32)
    found = core.csr_rows(matrix, "rows")
    assert (found.nnz, len(found.indices), found.data.tolist()) == (2, 2, [1, 2])


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-300])
@pytest.mark.parametrize("finite", [True, False])
def test_zeros_are_left_out(value, finite):
    """Those that are stored, those of rounding, and those that cancel."""
    matrix = sp.csr_array(DENSE.astype(np.float64))
    matrix.data[1] = value
    found = core.csr_rows(matrix, "rows", finite=finite)
    assert found.data.tolist() == [1, 3, 4]
    assert found.indptr.tolist() == [0, 1, 1, 3]
    assert matrix.nnz == 4
    cancelled = sp.coo_array(([1.0, 2.0, -2.0], ([0, 0, 0], [1, 3, 3])), shape=(1, 4))
    assert core.csr_rows(cancelled, "rows").indices.tolist() == [1]


def test_rows_in_order_are_not_copied():
    matrix = sp.csr_array(DENSE)
    found = core.csr_rows(matrix, "rows")
    assert np.shares_memory(found.data, matrix.data)
    assert np.shares_memory(found.indices, matrix.indices)


@pytest.mark.parametrize("finite", [True, False])
def test_values_beyond_float32_are_named_as_they_were_given(finite):
    wide = DENSE.astype(np.float64)
    wide[2, 3] = 1e300
    for take, rows in ((core.dense_rows, wide), (core.csr_rows, sp.csr_array(wide))):
        with pytest.raises(ArgumentError, match=r"finite float32 values \(got 1e\+300 at \(2, 3\)\)"):
            take(rows, "rows", finite=finite)


def test_denormals_are_values():
    tiny = sp.csr_array(DENSE * np.float32(1e-45))
    assert core.csr_rows(tiny, "rows").nnz == 4


def test_arrays_that_are_more_than_values_are_refused():
    masked = np.ma.masked_equal(DENSE, 2)
    with pytest.raises(ArgumentError, match=r"^x must be an array without masked values"):
        core.dense_rows(masked, "x")
    assert np.array_equal(core.dense_rows(np.ma.masked_equal(DENSE, 9), "x"), DENSE)
    assert np.array_equal(core.dense_rows(masked.filled(0), "x"), np.where(DENSE == 2, 0, DENSE))
    for tensor, message in (
        (SimpleNamespace(requires_grad=True), r"x.detach\(\)"),
        (SimpleNamespace(layout="torch.sparse_coo"), "layout torch.sparse_coo"),
        (SimpleNamespace(device="cuda:0"), "cuda"),
        ([[1.0], [1.0, 2.0]], "nested lists of one length"),
        (sp.csr_array(DENSE), "a sparse csr_array"),
    ):
        with pytest.raises(ArgumentError, match=f"^x must be .*{message}"):
            core.dense_rows(tensor, "x")


def test_frames_are_taken():
    for module in ("pandas", "polars"):
        frames = pytest.importorskip(module)
        frame = frames.DataFrame({f"c{i}": DENSE[:, i] for i in range(4)})
        assert np.array_equal(core.dense_rows(frame, "x"), DENSE)


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(DENSE)
    assert np.array_equal(core.dense_rows(tensor, "x"), DENSE)
    for bad, message in (
        (torch.tensor(DENSE, requires_grad=True), r"x.detach\(\)"),
        (tensor.to_sparse(), "torch.sparse_coo"),
        (tensor.to(torch.bfloat16), "BFloat16"),
        (tensor.to("meta"), "meta"),
    ):
        with pytest.raises(ArgumentError, match=f"^x must be .*{message}"):
            core.dense_rows(bad, "x")
