"""npz, atomic files and predictions."""

import contextlib
import errno
import io
import os
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample.data import Dataset, atomic_file, load, read_npz, write_npz, write_predictions, write_xc
from lshsample.errors import ArgumentError, DataFormatError, MemoryBudgetError

OWN = {
    "x_indptr": np.array([0, 2, 2]),
    "x_indices": np.array([0, 3]),
    "x_values": np.array([0.5, -1.0]),
    "y_indptr": np.array([0, 1, 3]),
    "y_indices": np.array([4, 0, 1]),
    "n_features": 4,
    "n_labels": 5,
}
SHORT = dict(zip(("xptr", "xidx", "xval", "yptr", "yidx", "D", "L"), OWN.values(), strict=True))


@pytest.mark.parametrize("layout", [OWN, SHORT], ids=["own", "short"])
def test_both_layouts_are_read(tmp_path, layout):
    np.savez_compressed(tmp_path / "a.npz", **layout)
    for data in (read_npz(tmp_path / "a.npz"), load(tmp_path / "a.npz")):
        assert data.x.toarray().tolist() == [[0.5, 0, 0, -1], [0, 0, 0, 0]]
        assert data.y.toarray().tolist() == [[0, 0, 0, 0, 1], [1, 1, 0, 0, 0]]
        assert data.x.indices.dtype == np.int32
        assert data.x.indptr.dtype == np.int32


def test_rows_out_of_order_are_sorted(tmp_path):
    np.savez(tmp_path / "a.npz", **(OWN | {"x_indices": np.array([3, 0]), "y_indices": np.array([4, 1, 0])}))
    data = read_npz(tmp_path / "a.npz")
    assert data.x.toarray()[0].tolist() == [-1, 0, 0, 0.5]
    assert data.y.indices.tolist() == [4, 0, 1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x_values": None}, "x_values missing; expected x_indptr"),
        ({"format": "lshsample-dataset-9"}, "expected 'lshsample-dataset-1'"),
        ({"x_indices": np.array([0, 4])}, "x_indices: expected ids from 0 to 3, got 0 to 4"),
        ({"y_indices": np.array([-1, 0, 1])}, "y_indices: expected ids from 0 to 4, got -1"),
        ({"x_indices": np.array([0.0, 3.0])}, "x_indices: expected integers in one dimension, got float64"),
        ({"x_indices": np.array([[0, 3]])}, "one dimension"),
        ({"x_indptr": np.array([0, 3, 2])}, "never decrease"),
        ({"x_indptr": np.array([1, 2, 2])}, "start at 0"),
        ({"x_indptr": np.array([0, 2, 3])}, "end at 2"),
        ({"x_indptr": np.array([0, 2])}, "expected the same"),
        ({"x_indices": np.array([3, 3])}, "x_indices: an id occurs twice"),
        ({"y_indices": np.array([4, 1, 1])}, "y_indices: an id occurs twice"),
        ({"x_values": np.array([0.5, np.nan])}, "finite"),
        ({"x_values": np.array([0.5, 1e39])}, "finite"),
        ({"x_values": np.array([0.5])}, "expected 2 real numbers"),
        ({"x_values": np.array([0.5, 1j])}, "expected 2 real numbers"),
        ({"n_features": -1}, "n_features"),
        ({"n_labels": np.array([5, 5])}, "n_labels"),
        ({"n_labels": 2**31}, "n_labels"),
        ({"x_values": np.array([None, None])}, "x_values: an array of objects"),
    ],
)
def test_faults_are_reported(tmp_path, change, problem):
    layout = {name: value for name, value in (OWN | change).items() if value is not None}
    np.savez(tmp_path / "a.npz", **layout)
    with pytest.raises(DataFormatError, match=problem):
        read_npz(tmp_path / "a.npz")


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"PK\x03\x04 no zip", b"1 2 3\n"):
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match="not a dataset in npz"):
            read_npz(path)
    with path.open("wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(DataFormatError, match="not a zip file"):
        read_npz(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "absent")


def npz_of(path, members, compression=zipfile.ZIP_DEFLATED):
    """An archive of (name, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy_of(array, **header):
    """The bytes of an npy file; with a header, one that states something else."""
    file = io.BytesIO()
    if header:
        described = {"descr": "<f4", "fortran_order": False, "shape": (3,)} | header
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue() + np.asarray(array).tobytes()
    np.save(file, array)
    return file.getvalue()


def test_headers_are_not_trusted(tmp_path):
    """What a header states is compared with the archive, before anything is allocated."""
    path, good = tmp_path / "a.npz", {f"{name}.npy": npy_of(array) for name, array in OWN.items()}
    assert read_npz(npz_of(path, good.items())).x.shape == (2, 4)
    values, huge = np.array([0.5, -1.0], np.float32), 2**40
    for name, content, problem in (
        ("x_values.npy", npy_of(values, shape=(huge,)), "x_values: its header states"),
        ("x_values.npy", npy_of(values, shape=(1,)), "x_values: its header states"),
        ("x_values.npy", npy_of(values, shape=(-2,)), "x_values: a header with shape"),
        ("x_values.npy", npy_of(values)[:-3], "x_values: its header states"),
        ("x_values.npy", npy_of(values)[:10] + b"{'descr': '" + b"(" * 100, "not a dataset"),
        ("x_values.npy", b"\x93NUMPY\x01\x00\x05\x00{'a\n ", "not a dataset"),
        ("x_values.npy", b"\x93NUMPY\x03\x00\xff\xff\xff\xff{'a", "npy version"),
        ("x_values.npy", b"", "not a dataset"),
    ):
        with pytest.raises(DataFormatError, match=problem) as caught:
            read_npz(npz_of(path, (good | {name: content}).items()))
        assert caught.value.path == str(path)
    with pytest.raises(DataFormatError, match=r"x_values.npy is in the archive twice"):
        read_npz(npz_of(path, [*good.items(), ("x_values.npy", npy_of(values))]))


def test_only_named_arrays_are_read(tmp_path, monkeypatch):
    """An array that no one asked for costs nothing, one that is larger than the memory is refused."""
    good = {f"{name}.npy": npy_of(array) for name, array in OWN.items()}
    bomb = npy_of(b"", shape=(2**30,)) + bytes(2**25)
    path = npz_of(tmp_path / "a.npz", (good | {"other.npy": bomb}).items())
    with resources(2**24):
        assert read_npz(path).x.shape == (2, 4)
    monkeypatch.setattr("lshsample.memory.available_bytes", lambda: 2**20)
    large = npy_of(np.zeros(2**20, np.float32))
    with pytest.raises(MemoryBudgetError, match="the array x_values needs 4 MiB"):
        read_npz(npz_of(path, (good | {"x_values.npy": large}).items()))


@contextlib.contextmanager
def resources(n_bytes):
    """Fails if Python and NumPy allocate more than that at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def some_data(seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset.of(
        sp.random_array((20, 30), density=0.2, rng=rng, format="csr"),
        sp.random_array((20, 9), density=0.2, rng=rng, format="csr").astype(bool),
    )


@settings(deadline=None, max_examples=60)
@given(
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 200),
)
def test_damaged_files_never_crash(tmp_path_factory, changes, cut):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, some_data())
    raw = bytearray(path.read_bytes())
    for at, byte in changes:
        raw[at % len(raw)] = byte
    path.write_bytes(raw[: len(raw) - cut])
    try:
        data = read_npz(path)
    except DataFormatError:
        return
    assert data.x.shape == (20, 30)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_write_and_read_again(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("npz") / "a"
    data = some_data(seed)
    write_npz(path, data)
    again = read_npz(path)
    for side in ("x", "y"):
        before, after = getattr(data, side), getattr(again, side)
        assert before.shape == after.shape
        assert (before.indptr == after.indptr).all()
        assert (before.indices == after.indices).all()
        assert (before.data == after.data).all()


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("write", [write_npz, write_xc])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, some_data())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_predictions(tmp_path):
    labels = np.arange(12_000).reshape(6000, 2)
    write_predictions(tmp_path / "p.txt", labels, np.tile([0.25, np.inf], (6000, 1)))
    lines = (tmp_path / "p.txt").read_text().splitlines()
    assert lines[5999] == "11998:0.25 11999:inf"
    assert len(lines) == 6000
    write_predictions(tmp_path / "p.txt", [[-1, 3], [-1, -1]], [[0.5, 0.125], [0, 0]])
    assert (tmp_path / "p.txt").read_text() == "3:0.125\n\n"
    write_predictions(tmp_path / "p.txt", np.empty((0, 5), int), np.empty((0, 5)))
    assert (tmp_path / "p.txt").read_text() == ""
    for bad_labels, bad_scores in (
        ([1], [1.0]),
        ([[0.5]], [[1.0]]),
        ([[1]], [[1.0, 2.0]]),
        ([[1]], [[np.nan]]),
    ):
        with pytest.raises(ArgumentError):
            write_predictions(tmp_path / "p.txt", bad_labels, bad_scores)


def test_only_datasets_are_written_and_only_to_files(tmp_path):
    data = Dataset.of(sp.csr_array((1, 2)), sp.csr_array((1, 3)))
    for write in (write_xc, write_npz):
        with pytest.raises(ArgumentError, match=r"data must be .* \(got tuple"):
            write(tmp_path / "a", (data.x, data.y))
    for path in (None, 5):
        with pytest.raises(ArgumentError, match="path"):
            write_xc(path, data)
    assert not list(tmp_path.iterdir())
