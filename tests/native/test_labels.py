"""Labels: indicator matrices of any kind, lists of ids, and what is refused by name."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError

DENSE = np.array([[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])


def refused(y, message, n_labels=4, n_rows=3):
    with pytest.raises(ArgumentError, match=f"^Y must be .*{message}"):
        label_rows(y, "Y", n_labels, n_rows)


@pytest.mark.parametrize(
    "y",
    [
        DENSE,
        DENSE.astype(bool),
        DENSE.astype(np.float64),
        DENSE.tolist(),
        sp.coo_array(DENSE),
        sp.csc_matrix(DENSE.astype(bool)),
        sp.lil_array(DENSE),
        [[2], [1, 0], []],
        [[2], [0, 1, 0], ()],
        ([2], {0, 1}, np.array([], int)),
        [np.array([2], np.uint8), range(2), frozenset()],
        np.array([[2], [0, 1], []], dtype=object),
    ],
    ids=str,
)
def test_all_forms_are_the_same(y):
    found = label_rows(y, "Y", 4, 3)
    assert found.toarray().tolist() == DENSE.tolist()
    assert (found.indptr.dtype, found.indices.dtype, found.data.dtype) == (np.int32, np.int32, np.float32)
    assert found.nonzero()[1].tolist() == [2, 0, 1]
    assert found.has_canonical_format


@pytest.mark.parametrize("value", [-1, 2, 0.5, np.nan, np.inf, 1e300])
@pytest.mark.parametrize("kind", [np.array, sp.csr_array, sp.coo_matrix])
def test_other_values_are_refused_with_their_place(value, kind):
    matrix = DENSE.astype(np.float64)
    matrix[1, 3] = value
    refused(kind(matrix), rf"{value:g}".replace("+", r"\+") + r".* at \(1, 3\)")


def test_what_is_refused():
    twice = sp.coo_array((np.ones(2), ([0, 0], [2, 2])), shape=(3, 4))
    refused(twice, r"the value 2.0 at \(0, 2\)")
    refused([[2], [4], []], "ids from 0 to 3 .*the label 4 in row 1")
    refused([[2], [-1], []], "the label -1 in row 1")
    refused([[2**70], [], []], "the label 1180591620717411303424 in row 0")
    refused([[2], [0]], r"a matrix of 3 rows, as many as X has \(got shape \(2, 4\)\)")
    refused(DENSE[:, :3], "4 columns")
    refused([[0.5], [1, 2], []], "list")
    refused("abc", "")
    refused(None, "")
    refused([0, 1, 2], r"2-D array .*shape \(3,\)")
    refused(DENSE.astype(complex), "complex")
    refused(np.ma.masked_equal(DENSE, 1), "masked values")
    assert label_rows(np.ma.masked_equal(DENSE, 7), "Y").nnz == 3


def test_lists_that_could_be_both_are_refused():
    """Of two columns [0, 1] may be two ids or the indicator of the second label; longer ones repeat ids."""
    refused([[0, 1], [1, 0]], "an array for an indicator matrix", 2, 2)
    refused([[1], [0]], "an array for an indicator matrix", 1, 2)
    assert label_rows([[0, 1, 0], [1, 0, 0]], "Y", 3).indices.tolist() == [1, 0]
    assert label_rows([[0, 1], [1, 0]], "Y", 3).indices.tolist() == [0, 1, 0, 1]
    assert label_rows([[0], [1]], "Y").toarray().tolist() == [[1, 0], [0, 1]]
    assert label_rows([[True, False], [False, True]], "Y", 2).indices.tolist() == [0, 1]
    assert label_rows([], "Y", 4, 0).shape == (0, 4)
    assert label_rows([[], []], "Y").shape == (2, 0)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=6))
def test_lists_equal_their_matrix(rows):
    wanted = np.zeros((len(rows), 9))
    for row, ids in zip(wanted, rows, strict=True):
        row[ids] = 1
    assert label_rows(rows, "Y", 9).toarray().tolist() == wanted.tolist()
    assert label_rows(sp.csr_array(wanted), "Y", 9).toarray().tolist() == wanted.tolist()
