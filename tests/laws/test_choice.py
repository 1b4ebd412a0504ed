"""Laws and the choice of K and L at the ends of their ranges: certain and impossible collisions."""

import numpy as np
import pytest

from lshsample import laws
from lshsample.errors import ArgumentError


@pytest.mark.parametrize(
    ("p_near", "n_hashes", "recall", "n_tables"),
    [
        (1.0, 4, 0.95, 1),
        (1, 32, 1.0, 1),
        (1.0, 1, 0, 1),
        (0.0, 4, 0.0, 1),
        (0.5, 1, 0.5, 1),
        (0.5, 1, 0.75, 2),
        (np.float32(0.5), np.int64(1), 0.75, 2),
        (1 - 1e-17, 4, 0.5, 1),
    ],
)
def test_number_of_tables_at_the_ends(p_near, n_hashes, recall, n_tables):
    assert laws.n_tables_for(p_near, n_hashes, recall=recall) == n_tables
    assert laws.union_inclusion(p_near**n_hashes, n_tables) >= recall


def test_number_of_tables_of_rare_collisions_is_finite():
    n_tables = laws.n_tables_for(1e-9, 2, recall=0.5)
    assert n_tables == pytest.approx(np.log(2) * 1e18)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 4, 0.5), r"p_near must be such that p_near\*\*n_hashes is above 0 \(got 0.0 with 4 hashes\)"),
        ((1e-20, 32, 0.5), r"p_near must be such that .* \(got 1e-20 with 32 hashes\)"),
        ((0.9, 4, 1.0), r"recall must be below 1, unless p_near is 1"),
        ((1.1, 4, 0.5), r"p_near must be a number from 0 to 1 \(got 1.1\)"),
        ((float("nan"), 4, 0.5), r"p_near must be a number from 0 to 1"),
        ((0.9, 0, 0.5), r"n_hashes must be an integer >= 1"),
        ((0.9, 4, "0.5"), r"recall must be a number from 0 to 1 \(got '0.5'\)"),
        ((True, 4, 0.5), r"p_near must be a number from 0 to 1"),
    ],
)
def test_number_of_tables_refuses_what_no_number_reaches(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        laws.n_tables_for(*arguments)


def test_number_of_hashes_at_the_ends():
    assert laws.n_hashes_for(1000, 0.0) == 1
    assert laws.n_hashes_for(1, 0.5) == 1
    assert laws.n_hashes_for(10, 1.0, candidates=10) == 1
    assert laws.n_hashes_for(10, 0.5, candidates=float("inf")) == 1
    assert laws.n_hashes_for(8, 0.5) == 3
    for arguments, word in (
        ((10, 1.0), "p_far must be below 1"),
        ((10, 0.5, 0), "candidates must be a number above 0"),
        ((0, 0.5), "n_items"),
        ((10, None), "p_far must be a number from 0 to 1"),
    ):
        with pytest.raises(ArgumentError, match=word):
            laws.n_hashes_for(*arguments)


def test_rho_at_the_ends():
    assert laws.rho(1.0, 0.5) == laws.rho(0.5, 0.0) == laws.rho(1, 0) == 0
    assert laws.rho(0.25, 0.0625) == pytest.approx(0.5)
    for near, far in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.5, 2.0)):
        with pytest.raises(ArgumentError, match="p_far"):
            laws.rho(near, far)


def test_inclusion_of_certain_and_impossible_items():
    ends = np.array([0.0, 1.0])
    for n_tables in (1, 2, 65535):
        assert laws.union_inclusion(ends, n_tables).tolist() == [0, 1]
        for m in (1, n_tables):
            assert laws.at_least_inclusion(ends, n_tables, m).tolist() == [0, 1]
        assert laws.at_least_inclusion(ends, n_tables, n_tables + 1).tolist() == [0, 0]
    by_table = np.array([[0.0, 0], [1, 0], [1, 1]])
    assert laws.tables_inclusion(by_table).tolist() == [0, 1, 1]
    assert laws.tables_inclusion(by_table, m=2).tolist() == [0, 0, 1]
    assert laws.tables_inclusion(by_table, m=3).tolist() == [0, 0, 0]
    assert laws.mixture_inclusion(ends, 1.0).tolist() == [1, 1]
    assert laws.mixture_inclusion(ends, 0.0).tolist() == [0, 1]
    assert laws.frequency_inclusion(ends, 0).tolist() == [0, 0]
    assert laws.frequency_inclusion(ends, 1).tolist() == [0, 1]
    assert laws.cap_inclusion(ends, 0, 0).tolist() == [0, 1]
    assert laws.cap_inclusion(ends, 0, 5).tolist() == [0, 0]
    assert laws.fill_inclusion(ends, 3, 3, 3).tolist() == [0, 1]
    assert laws.fill_inclusion(ends, 0, 3, 3).tolist() == [1, 1]
    assert laws.uniform_inclusion(0, 1) == 0
    assert laws.uniform_inclusion(1, 1) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: laws.union_inclusion("a", 3),
        lambda: laws.union_inclusion([0.5, float("nan")], 3),
        lambda: laws.cap_inclusion(0.5, -1, 3),
        lambda: laws.cap_inclusion(0.5, 1, float("nan")),
        lambda: laws.fill_inclusion(0.5, -1, 3, 9),
        lambda: laws.fill_inclusion(0.5, 1.5, 3, 9),
    ],
)
def test_laws_refuse_what_is_no_probability_or_number(call):
    with pytest.raises(ArgumentError):
        call()
