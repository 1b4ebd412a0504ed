"""ChiSquare under the conformance kit, on rows without negative values, and how far its law is from what is observed."""

import doctest
import functools
import sys

import numpy as np
import pytest
from lshsample_chi_square import ChiSquare

from lshsample.registry import families, make_family
from lshsample.testing import FamilyCase, family_checks

_APPROXIMATE = "the collision probability is an approximation"
#: Checks that the family is expected to fail, by name, each with the reason; a check that passes is an error.
EXPECTED_FAILURES = {
    f"law_{event}[{pairs}]": _APPROXIMATE
    for event in ("one_hash", "code")
    for pairs in ("rotated", "non_negative", "very_sparse", "heavy_tailed")
}


def test_it_is_installed():
    assert families()["chi-square"] is ChiSquare


def test_it_has_a_kernel():
    assert make_family("chi-square", dim=2).native() is not None


def test_the_examples_of_its_docstrings():
    assert doctest.testmod(sys.modules[ChiSquare.__module__]).failed == 0


@pytest.mark.parametrize("check", family_checks(EXPECTED_FAILURES))
def test_conformance(check):
    check(FamilyCase(functools.partial(make_family, "chi-square"), prepare=np.abs))


@pytest.mark.parametrize("power", [1, 3])
def test_the_law_is_within_a_twentieth_of_the_observed_rates(power):
    rng = np.random.default_rng(power)
    one, other = rng.random((2, 9, 50)) ** power
    rows, near = one.astype(np.float32), (one + np.linspace(0, 2, 9)[:, None] * other).astype(np.float32)
    family = make_family("chi-square", dim=50, n_hashes=1, n_tables=20_000)
    observed = (family.hash(rows) == family.hash(near)).mean(axis=1)
    np.testing.assert_allclose(family.pair_probability(near, rows), observed, atol=0.05)


def test_rows_with_negative_values_are_refused():
    with pytest.raises(ValueError, match="x must be rows without negative values"):
        make_family("chi-square", dim=2).hash(np.array([[1, -1]], np.float32))
