"""L1Thresholds under the conformance kit: exact rules, and its collision probability on pairs of rows on which faulty families fail."""

import doctest
import functools
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_l1_thresholds import L1Thresholds

from lshsample.registry import families, make_family
from lshsample.testing import FamilyCase, family_checks

#: Checks that the family is expected to fail, by name, each with the reason; a check that passes is an error.
EXPECTED_FAILURES: dict[str, str] = {}


def within_0_and_1(rows):
    return np.abs(rows) / (1 + np.abs(rows))


def test_it_is_installed():
    assert families()["l1-thresholds"] is L1Thresholds


@pytest.mark.parametrize("rows", [[[0, 1.5]], [[-1, 0.5]]])
def test_rows_outside_of_the_range_are_refused(rows):
    with pytest.raises(ValueError, match=r"x must be rows of values from 0\.0 to 1\.0"):
        make_family("l1-thresholds", dim=2).hash(np.array(rows, np.float32))


def test_zeros_of_sparse_rows_are_values():
    family = make_family("l1-thresholds", dim=3, low=1, high=2)
    with pytest.raises(ValueError, match="x must be rows of values from"):
        family.hash(sp.csr_array(np.array([[1.5, 0, 1]], np.float32)))


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="high must be above low"):
        make_family("l1-thresholds", dim=3, low=1)


def test_the_examples_of_its_docstrings():
    assert doctest.testmod(sys.modules[L1Thresholds.__module__]).failed == 0


@pytest.mark.parametrize("check", family_checks(EXPECTED_FAILURES))
def test_conformance(check):
    check(FamilyCase(functools.partial(make_family, "l1-thresholds"), prepare=within_0_and_1))
