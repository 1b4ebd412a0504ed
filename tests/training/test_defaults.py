"""Hyperparameters chosen from the training data."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample.errors import ArgumentError
from lshsample.training.defaults import choose_defaults


def rows(n_rows: int, n_columns: int, value: float = 1.0) -> sp.csr_array:
    """One value per row."""
    indices = np.arange(n_rows, dtype=np.int32) % n_columns
    values = np.full(n_rows, value, np.float32)
    return sp.csr_array((values, indices, np.arange(n_rows + 1)), shape=(n_rows, n_columns))


def chosen(n_rows: int, n_features: int, n_labels: int, value: float = 1.0):
    return choose_defaults(rows(n_rows, n_features, value), rows(n_rows, n_labels))


def test_few_rows_get_a_wide_layer_under_dropout_and_many_passes():
    got = chosen(5_000, 2_000, 150)
    assert (got.hidden, got.dropout, got.batch_size, got.epochs) == ((1024,), 0.8, 64, 20)
    assert got.lr == pytest.approx(3e-3 / np.sqrt(2), rel=0.05)
    assert got.n_active == 75


def test_many_rows_and_labels_get_a_narrow_layer_without_dropout():
    got = chosen(500_000, 140_000, 700_000)
    assert (got.hidden, got.dropout, got.batch_size, got.epochs) == ((128,), 0.0, 256, 3)
    assert got.lr == pytest.approx(0.012)
    assert got.n_active == 2048


def test_without_dropout_there_are_half_as_many_epochs():
    wide, narrow = chosen(40_000, 100, 100), chosen(40_000, 400_000, 400_000)
    assert (wide.dropout > 0, wide.epochs) == (True, 8)
    assert (narrow.dropout, narrow.epochs) == (0.0, 2)


def test_more_rows_leave_more_units_in_smaller_steps():
    few, more, many = (chosen(n, 60_000, 20_000) for n in (20_000, 100_000, 600_000))
    assert few.hidden == more.hidden == many.hidden == (1024,)
    assert few.dropout > more.dropout > many.dropout > 0.3
    assert few.epochs > more.epochs > many.epochs > 3
    assert more.lr > many.lr


def test_the_most_rows_get_more_passes():
    epochs = [chosen(n, 200_000, 200_000).epochs for n in (50_000, 100_000, 400_000, 1_000_000)]
    assert epochs == [2, 2, 3, 4]


def test_the_loss_is_one_vs_all_while_half_of_the_labels_are_active():
    for n_labels, loss, smoothing in ((10, "sigmoid", 0.1), (8192, "sigmoid", 0.1), (8193, "softmax", 0.0)):
        got = chosen(1_000, 50, n_labels)
        assert (got.loss, got.label_smoothing) == (loss, smoothing)


def test_a_given_loss_has_its_own_recipe():
    data = rows(1_000, 50), rows(1_000, 20_000)
    softmax, sigmoid = (choose_defaults(*data, loss) for loss in ("softmax", "sigmoid"))
    assert (softmax.loss, softmax.dropout, softmax.label_smoothing) == ("softmax", 0.8, 0.0)
    assert (sigmoid.loss, sigmoid.dropout, sigmoid.label_smoothing) == ("sigmoid", 0.5, 0.1)


def test_width_is_bounded_by_memory():
    assert chosen(1_000, 50_000, 50_000).hidden == (1024,)
    assert chosen(1_000, 500_000, 500_000).hidden == (64,)


@pytest.mark.parametrize(("value", "weighting"), [(1.0, "idf-l2"), (3.0, "idf-l2"), (0.3, "l2")])
def test_flags_and_counts_are_weighted_by_idf_and_other_values_are_not(value, weighting):
    assert chosen(100, 10, 10, value).weighting == weighting


@given(
    n_rows=st.integers(1, 100_000),
    n_features=st.integers(1, 1_000_000),
    n_labels=st.integers(1, 1_000_000),
    value=st.sampled_from([1.0, 0.5]),
)
@settings(deadline=None, max_examples=50)
def test_every_shape_gets_valid_values(n_rows, n_features, n_labels, value):
    got = chosen(n_rows, n_features, n_labels, value)
    (hidden,) = got.hidden
    assert 16 <= hidden <= 1024
    assert hidden * (n_features + n_labels) <= 110_000_000
    assert 0.0 <= got.dropout < 0.9
    assert 64 <= got.batch_size <= 256
    assert 2 <= got.epochs <= 20
    assert 0.0 < got.lr < 0.1
    assert 1 <= got.n_active <= max(n_labels // 2, 1)


def test_similar_shapes_get_similar_values():
    sizes = [round(1_000 * 1.02**i) for i in range(250)]
    runs = [chosen(n, 30_000, 20_000) for n in sizes]
    for one, other in itertools.pairwise(runs):
        assert one.hidden[0] / other.hidden[0] in (1, 2)
        assert 0.4 < one.epochs / other.epochs < 2.5
        assert 0.4 < one.lr / other.lr < 1.5


def test_defaults_are_plain_and_frozen():
    got = chosen(10, 3, 2)
    assert attrs.asdict(got)["n_hashes"] is None
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        got.lr = 1.0


def test_empty_data_is_refused_by_name():
    with pytest.raises(ArgumentError, match="x"):
        choose_defaults(sp.csr_array((0, 3)), rows(3, 2))
    with pytest.raises(ArgumentError, match="y"):
        choose_defaults(rows(3, 2), sp.csr_array((3, 0)))
    with pytest.raises(ArgumentError, match="y"):
        choose_defaults(rows(3, 2), rows(4, 2))
