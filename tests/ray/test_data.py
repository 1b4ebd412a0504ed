"""Rows and texts of Ray Data are those of memory, in the same order."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.ray import dataset_rows, dataset_texts

N_FEATURES, N_LABELS = 30, 20


class InBlocks:
    """A dataset with the interface of Ray's, whose blocks come in another order than their rows."""

    def __init__(self, rows, columns=None):
        self.rows, self.names = rows, list(rows[0]) if columns is None else columns

    def columns(self):
        return self.names

    def iter_batches(self, *, batch_size, batch_format):
        assert batch_format == "numpy"
        for start in (20, 0, 10, 30):
            several = self.rows[start : start + 10]
            if several:
                yield {name: column([row[name] for row in several]) for name in self.names}


def column(values):
    """An array of numbers, or of objects where rows differ in length, as Ray returns it."""
    if not isinstance(values[0], list | np.ndarray):
        return np.array(values)
    out = np.empty(len(values), object)
    out[:] = [np.array(value) for value in values]
    return out


def made(dense=False):
    rng = np.random.default_rng(0)
    x = sp.random_array((37, N_FEATURES), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = sp.csr_array(sp.random_array((37, N_LABELS), density=0.1, rng=rng, format="csr") != 0)
    rows = []
    for i in range(37):
        a, b, c, d = x.indptr[i], x.indptr[i + 1], y.indptr[i], y.indptr[i + 1]
        features = {"x": x[[i]].toarray()[0]} if dense else {"ids": x.indices[a:b], "values": x.data[a:b]}
        rows.append({"row": i, "labels": y.indices[c:d].tolist(), **features})
    return Dataset(x, y), rows


def same(found, wanted):
    for one, other in ((found.x, wanted.x), (found.y, wanted.y)):
        assert one.shape == other.shape
        for name in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("dense", [False, True])
def test_rows_are_in_the_order_of_their_numbers(dense):
    wanted, rows = made(dense)
    same(dataset_rows(InBlocks(rows), N_FEATURES, N_LABELS), wanted)


def test_what_occurs_twice_is_added():
    row = {"row": 0, "labels": [3, 1, 3], "ids": [4, 2, 4], "values": [1.0, 0.5, 2.0]}
    found = dataset_rows(InBlocks([row]), 5, 4)
    assert found.x.toarray().tolist() == [[0, 0, 0.5, 0, 3]]
    assert found.y.toarray().tolist() == [[0, 1, 0, 1]]


def test_texts_are_in_the_order_of_their_numbers():
    rows = [{"row": i, "text": f"text {i}", "labels": [f"label {i % 3}", "all"]} for i in range(35)]
    texts, labels = dataset_texts(InBlocks(rows))
    assert texts == [row["text"] for row in rows]
    assert labels == [row["labels"] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 5}, "each integer from 0 to 36 once in column row"),
        ({"row": 0.5}, "each integer from 0 to 36 once in column row"),
        ({"labels": [N_LABELS]}, r"integers from 0 to 19 in column labels \(got 20\)"),
        ({"ids": [-1], "values": [1.0]}, r"integers from 0 to 29 in column ids \(got -1\)"),
        ({"ids": [1], "values": [1.0, 2.0]}, "as many in each row"),
        ({"ids": [1.5], "values": [1.0]}, "a list of numbers in each row"),
        ({"ids": [1], "values": [float("nan")]}, "finite"),
    ],
    ids=str,
)
def test_bad_rows_are_refused(change, message):
    _, rows = made()
    rows[3] = rows[3] | change
    with pytest.raises(ArgumentError, match=message):
        dataset_rows(InBlocks(rows), N_FEATURES, N_LABELS)


def test_bad_datasets_are_refused():
    _, rows = made()
    for dataset, message in (
        (rows, "dataset must be a ray.data.Dataset"),
        (InBlocks(rows, ["row", "ids", "values"]), "one with a column labels"),
        (InBlocks(rows, ["row", "labels", "ids"]), "one with a column values"),
        (InBlocks([], ["row", "labels", "x"]), "at least one row"),
    ):
        with pytest.raises(ArgumentError, match=message):
            dataset_rows(dataset, N_FEATURES, N_LABELS)
    with pytest.raises(ArgumentError, match=r"29 .*|30 values in a row of column x"):
        dataset_rows(InBlocks(made(dense=True)[1]), N_FEATURES - 1, N_LABELS)
