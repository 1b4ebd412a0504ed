"""Running the checks of the kit: outcomes, failures, expected failures."""

import functools

import attrs
import pytest
from lshsample_families.simhash import SimHash, SimHashSpec

from lshsample.errors import ArgumentError
from lshsample.plugin import NativeKernel
from lshsample.registry import make_family
from lshsample.testing import CHECKS, FamilyCase, check_family, conformance, family_checks


class KernelOfOtherFunctions(SimHash):
    """The kernel of another seed than the reference's."""

    def native(self) -> NativeKernel:
        return SimHash(attrs.evolve(self.spec, seed=self.seed + 1)).native()


@pytest.fixture(autouse=True)
def few_checks(monkeypatch):
    names = ("determinism", "native_equals_reference", "edge_rows", "probing", "law_one_hash[very_sparse]")
    monkeypatch.setattr(conformance, "CHECKS", {name: CHECKS[name] for name in names})


def test_all_failures_are_listed():
    case = FamilyCase(lambda **shape: KernelOfOtherFunctions(SimHashSpec(**shape)))
    with pytest.raises(
        AssertionError, match=r"native_equals_reference: failed: .*differs(.|\n)*edge_rows: failed"
    ):
        check_family(case)


def test_expected_failures_must_fail_and_exist():
    case = FamilyCase(functools.partial(make_family, "simhash"))
    with pytest.raises(AssertionError, match="determinism: passed, but expected to fail: because"):
        check_family(case, {"determinism": "because"})
    with pytest.raises(ArgumentError, match="names of checks"):
        family_checks({"determinsm": "a misprint"})


def test_expected_failures_are_reported_with_their_reason():
    sparse = FamilyCase(functools.partial(make_family, "simhash", projection="sparse"))
    outcomes = check_family(sparse, {"law_one_hash[very_sparse]": "few entries"})
    assert outcomes["law_one_hash[very_sparse]"] == "fails as expected: few entries"
    assert outcomes["determinism"] == "passed"
