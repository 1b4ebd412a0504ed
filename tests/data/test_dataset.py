"""Datasets validate and convert their arrays."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset
from lshsample.errors import ArgumentError


def test_datasets_check_and_convert():
    x = sp.csr_array((np.ones(2), np.array([0, 2]), np.array([0, 1, 2])), shape=(2, 3))
    y = sp.csr_array((np.ones(1), np.array([3]), np.array([0, 0, 1])), shape=(2, 4))
    for data in (Dataset(x, y), Dataset.of(x, y), Dataset.of(x.toarray(), y.toarray())):
        assert data.x.data.dtype == np.float32
        assert data.y.data.tolist() == [1]
        assert len(data) == 2
        assert data.take(slice(1, 2)).y.indices.tolist() == [3]
        assert data.take(np.array([False, True])).n_rows == 1
    assert Dataset(x, y * 0).y.nnz == 0
    for bad in (y * 5, y * -1, y * np.nan):
        with pytest.raises(ArgumentError, match=r"y must be .* at \(1, 3\)"):
            Dataset(x, bad)
    with pytest.raises(ArgumentError, match="1 rows"):
        Dataset(x, y[:1])
    for one, other, name in ((np.eye(2), y, "x"), (x, np.eye(2), "y")):
        with pytest.raises(ArgumentError, match=f"^{name} must be a scipy.sparse"):
            Dataset(one, other)
