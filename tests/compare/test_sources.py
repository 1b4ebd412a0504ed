"""Rows from files: arrays of NumPy and SciPy, HDF5 of ann-benchmarks."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.compare import Workload
from lshsample.compare.nearest import nearest
from lshsample.compare.sources import read_ann_benchmark
from lshsample.data import read_rows
from lshsample.errors import ArgumentError, DataFormatError, UnsupportedError

RNG = np.random.default_rng(0)
DENSE = RNG.standard_normal((60, 8)).astype(np.float32)


def hdf5(path, **parts):
    h5py = pytest.importorskip("h5py", reason="pip install 'lshsample[hdf5]'")
    with h5py.File(path, "w") as file:
        for name, part in parts.items():
            if isinstance(part, np.ndarray):
                file[name] = part
            else:
                file.attrs[name] = part
    return path


def test_arrays_of_numpy_and_scipy(tmp_path):
    np.save(tmp_path / "rows.npy", DENSE.astype(np.float64))
    np.testing.assert_array_equal(read_rows(tmp_path / "rows.npy"), DENSE)
    sparse = sp.random_array((50, 9), density=0.3, format="coo", dtype=np.float64, rng=1)
    sp.save_npz(tmp_path / "rows.npz", sparse)
    found = read_rows(tmp_path / "rows.npz")
    assert isinstance(found, sp.csr_array)
    np.testing.assert_allclose(found.toarray(), sparse.toarray(), rtol=1e-6)
    workload = Workload.of_file(tmp_path / "rows.npy", n_items=30, n_queries=9, k=4, metric="l1")
    assert (workload.n_items, workload.n_queries, workload.metric) == (30, 9, "l1")
    assert workload.truth.shape == (9, 4)


@pytest.mark.parametrize(
    "array",
    [np.zeros(5), np.zeros((2, 2, 2)), np.full((4, 2), np.nan), np.array([["a"]]), np.array([[None]])],
)
def test_arrays_that_are_not_rows(tmp_path, array):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(DataFormatError, match=r"bad\.npy"):
        read_rows(tmp_path / "bad.npy")


def test_damaged_files(tmp_path):
    np.save(tmp_path / "a.npy", DENSE)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
    with pytest.raises(DataFormatError, match=r"cut\.npy"):
        read_rows(tmp_path / "cut.npy")
    with pytest.raises(ArgumentError, match="trust_rows must be left out"):
        read_rows(tmp_path / "a.npy", trust_rows=True)
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "none.npy")
    (tmp_path / "cut.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(DataFormatError, match=r"cut\.hdf5"):
        Workload.of_file(tmp_path / "cut.hdf5")


@pytest.mark.parametrize(("distance", "metric"), [("euclidean", "l2"), ("angular", "cosine")])
def test_dense_data_of_ann_benchmarks(tmp_path, distance, metric):
    train, test = DENSE[:50], DENSE[50:]
    near = nearest(test, train, 6, metric)[:, ::-1]
    path = hdf5(tmp_path / "a.hdf5", train=train, test=test, neighbors=near, distance=distance)
    workload = Workload.of_file(path, k=6, n_queries=7)
    assert (workload.metric, workload.k, workload.n_items, workload.n_queries) == (metric, 6, 50, 7)
    np.testing.assert_array_equal(workload.truth, nearest(workload.queries, train, 6, metric))
    # Another metric, more neighbours or fewer items than stored: the truth is found anew.
    np.testing.assert_array_equal(
        Workload.of_file(path, k=8, metric="l1").truth, nearest(test, train, 8, "l1")
    )
    assert Workload.of_file(path, n_items=20, k=3).truth.max() < 20


def test_sets_of_ann_benchmarks(tmp_path):
    sets = [np.unique(RNG.integers(0, 30, 12)) for _ in range(40)]
    parts = {}
    for name, chosen in (("train", sets[:30]), ("test", sets[30:])):
        parts |= {name: np.concatenate(chosen), f"size_{name}": np.array([len(one) for one in chosen])}
    path = hdf5(tmp_path / "sets.hdf5", **parts, type="sparse", distance="jaccard")
    data = read_ann_benchmark(path)
    np.testing.assert_array_equal(data.train[[4]].indices, sets[4])
    assert Workload.of_file(path, k=3).metric == "jaccard"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbors": np.zeros((10, 10), int)}, "neighbors are not the 10 nearest rows"),
        (
            {"neighbors": np.arange(100).reshape(10, 10) // 10 + np.arange(10)},
            "neighbors are not the 10 nearest",
        ),
        ({"neighbors": np.full((10, 10), 99)}, "with ids 0 to 99; expected"),
        ({"distance": "chebyshev"}, "distance is 'chebyshev'; expected one of angular"),
        ({"test": DENSE[50:, :4].copy()}, "test has 4 columns and train 8"),
    ],
)
def test_wrong_files_of_ann_benchmarks(tmp_path, change, message):
    parts = {"train": DENSE[:50], "test": DENSE[50:], "distance": "euclidean", **change}
    with pytest.raises(DataFormatError, match=message):
        Workload.of_file(hdf5(tmp_path / "a.hdf5", **parts))


def test_hdf5_that_is_something_else(tmp_path):
    path = hdf5(tmp_path / "a.hdf5", vectors=DENSE)
    with pytest.raises(DataFormatError, match="train is missing; it has vectors"):
        Workload.of_file(path)


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UnsupportedError, match=r"lshsample\[hdf5\]"):
        Workload.of_file(tmp_path / "a.hdf5")
