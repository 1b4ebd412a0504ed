"""L1Cauchy under the conformance kit: exact rules, and its collision probability on pairs of rows on which faulty families fail."""

import doctest
import functools
import sys

import numpy as np
import pytest
from lshsample_l1_cauchy import L1Cauchy

from lshsample.registry import families, make_family
from lshsample.testing import FamilyCase, family_checks

#: Checks that the family is expected to fail, by name, each with the reason; a check that passes is an error.
EXPECTED_FAILURES: dict[str, str] = {}


def test_it_is_installed():
    assert families()["l1-cauchy"] is L1Cauchy


def test_it_has_a_kernel():
    assert make_family("l1-cauchy", dim=2).native() is not None


def test_many_bits_give_the_published_formula():
    c = np.array([0.1, 1, 3, 20])
    published = 2 * np.arctan(2 / c) / np.pi - c * np.log1p(4 / c**2) / (2 * np.pi)
    family = make_family("l1-cauchy", dim=2, n_hashes=1, width=2, bits=8)
    np.testing.assert_allclose(family.collision_probability(c), published, atol=0.01)


def test_the_examples_of_its_docstrings():
    assert doctest.testmod(sys.modules[L1Cauchy.__module__]).failed == 0


@pytest.mark.parametrize("check", family_checks(EXPECTED_FAILURES))
def test_conformance(check):
    # Options other than the defaults, so that a kernel that does not receive them is found.
    check(FamilyCase(functools.partial(make_family, "l1-cauchy:width=2,bits=3")))
