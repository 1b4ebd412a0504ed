"""Datasets validate and convert their arrays."""

import numpy as np
import pytest

from lshsample.data import Dataset
from lshsample.data.dataset import csr
from lshsample.errors import ArgumentError


def test_datasets_check_and_convert():
    x = csr((2, 3), np.array([0, 1, 2]), np.array([0, 2], np.int32), np.array([1, 2], np.float32))
    y = csr((2, 4), np.array([0, 0, 1]), np.array([3], np.int32))
    data = Dataset.of(x.astype(np.float64), y * 5)
    assert data.y.data.tolist() == [1]
    assert len(data) == 2
    assert data.take(slice(1, 2)).y.indices.tolist() == [3]
    assert data.take(np.array([False, True])).n_rows == 1
    zero = csr((2, 4), y.indptr, y.indices, np.zeros(1, np.float32))
    assert Dataset.of(x, zero).y.nnz == 0
    with pytest.raises(ArgumentError, match="1 rows"):
        Dataset(x, y[:1])
    with pytest.raises(ArgumentError, match="x"):
        Dataset.of(np.eye(2), y)
