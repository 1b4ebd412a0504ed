"""Superbit under the conformance kit: exact rules, and its collision probability on pairs of rows on which faulty families fail."""

import doctest
import functools
import sys

import numpy as np
import pytest
from lshsample_superbit import Superbit

from lshsample.registry import families, make_family
from lshsample.testing import FamilyCase, family_checks

#: Checks that the family is expected to fail, by name, each with the reason; a check that passes is an error.
EXPECTED_FAILURES: dict[str, str] = {}


def test_it_is_installed():
    assert families()["superbit"] is Superbit


def test_the_examples_of_its_docstrings():
    assert doctest.testmod(sys.modules[Superbit.__module__]).failed == 0


@pytest.mark.parametrize("check", family_checks(EXPECTED_FAILURES))
def test_conformance(check):
    check(FamilyCase(functools.partial(make_family, "superbit")))


def test_bits_of_a_code_vary_less_than_independent_ones():
    """The claim of the paper: at 60 degrees the number of agreeing bits of a code has less variance than binomial."""
    x = np.zeros((1, 16), np.float32)
    x[0, 0] = 1
    q = 0.5 * x
    q[0, 1] = np.sqrt(0.75)
    agreeing = []
    for seed in range(60):
        family = make_family("superbit", dim=16, n_hashes=8, n_tables=50, seed=seed)
        different = family.hash(x) ^ family.hash(q)
        agreeing += [8 - int(code).bit_count() for code in different.ravel()]
    p = family.collision_probability(0.5)
    counts = np.array(agreeing)
    assert abs(counts.mean() - 8 * p) < 0.1
    assert counts.var() < 0.9 * 8 * p * (1 - p)
