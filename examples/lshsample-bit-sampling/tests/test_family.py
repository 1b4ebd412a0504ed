"""BitSampling under the conformance kit: exact rules, and its collision probability on pairs of rows on which faulty families fail."""

import doctest
import functools
import sys

import pytest
from lshsample_bit_sampling import BitSampling

from lshsample.registry import families, make_family
from lshsample.testing import FamilyCase, family_checks

#: Checks that the family is expected to fail, by name, each with the reason; a check that passes is an error.
EXPECTED_FAILURES: dict[str, str] = {}


def test_it_is_installed():
    assert families()["bit-sampling"] is BitSampling


def test_the_examples_of_its_docstrings():
    assert doctest.testmod(sys.modules[BitSampling.__module__]).failed == 0


@pytest.mark.parametrize("check", family_checks(EXPECTED_FAILURES))
def test_conformance(check):
    check(FamilyCase(functools.partial(make_family, "bit-sampling")))
