"""The kit must catch families that are broken in the ways that real ones have been."""

import functools
import itertools

import attrs
import numpy as np
import pytest
from lshsample_families.dwta import DWTA, DWTASpec
from lshsample_families.simhash import SimHash, SimHashSpec

from lshsample.errors import ArgumentError
from lshsample.plugin import FamilySpec, HashFamily, NativeKernel
from lshsample.registry import make_family
from lshsample.testing import CHECKS, FamilyCase, check_family, family_checks


class PlainSimHash(HashFamily):
    """SimHash in a few lines, without a kernel: what a plugin's author would write first."""

    similarity = "cosine"
    shared_directions = False

    def directions(self):
        rng = np.random.default_rng(self.seed)
        shape = (self.n_hashes, self.n_tables, self.dim)
        if self.shared_directions:
            return np.broadcast_to(rng.standard_normal(shape[1:]), shape)
        return rng.standard_normal(shape)

    def hash(self, x):
        rows = (x if isinstance(x, np.ndarray) else x.toarray()).astype(np.float64)
        margins = np.zeros((self.n_hashes, self.n_tables, len(rows)))
        directions = self.directions()
        for i in range(self.dim):  # one column after the other, so that neighbours do not change the rounding
            margins += directions[:, :, i, None] * rows[:, i]
        weights = np.uint32(1) << np.arange(self.n_hashes, dtype=np.uint32)
        return ((margins >= 0) * weights[:, None, None]).sum(axis=0, dtype=np.uint32).T

    def collision_probability(self, similarity):
        return 1 - np.arccos(np.clip(similarity, -1, 1)) / np.pi


class SignPerBin(PlainSimHash):
    """One sign for all coordinates that a hash looks at."""

    def directions(self):
        rng = np.random.default_rng(self.seed)
        shape = (self.n_hashes, self.n_tables, self.dim)
        return rng.choice([-1, 1], (*shape[:2], 1)) * (rng.random(shape) < 1 / 3)


class ClaimedIndependent(PlainSimHash):
    """All hashes of a code are the same one."""

    shared_directions = True


class Unseeded(PlainSimHash):
    """Draws from a counter that the spec knows nothing of."""

    draws = itertools.count()

    def directions(self):
        return np.random.default_rng([self.seed, next(self.draws)]).standard_normal(
            (self.n_hashes, self.n_tables, self.dim)
        )


class SeedIgnored(PlainSimHash):
    """A rehash changes nothing."""

    def directions(self):
        return np.random.default_rng(5).standard_normal((self.n_hashes, self.n_tables, self.dim))


class LawOffByThreePercent(PlainSimHash):
    """A law that is nearly right."""

    def collision_probability(self, similarity):
        return np.minimum(1.0, 1.03 * super().collision_probability(similarity))


class UnclampedLaw(PlainSimHash):
    """NaN where rounding puts a cosine above 1."""

    def collision_probability(self, similarity):
        with np.errstate(invalid="ignore"):
            return 1 - np.arccos(similarity) / np.pi


class CodesTooLarge(PlainSimHash):
    """A bit more than the code has."""

    def hash(self, x):
        return super().hash(x) << np.uint32(1)


class SignedCodes(PlainSimHash):
    """Codes of the wrong dtype."""

    def hash(self, x):
        return super().hash(x).astype(np.int64)


class KernelOfOtherFunctions(SimHash):
    """The kernel of another seed than the reference's."""

    def native(self) -> NativeKernel:
        return SimHash(attrs.evolve(self.spec, seed=self.seed + 1)).native()


class NaturalLogPacking(DWTA):
    """Three bits a hash, packed as though they were two: log 8 = 2.08."""

    def hash(self, x):
        wide, codes = super().hash(x), np.zeros((x.shape[0], self.n_tables), np.uint32)
        for k in range(self.n_hashes):
            codes |= (wide >> np.uint32(3 * k) & np.uint32(7)) << np.uint32(2 * k)
        return codes

    def native(self):
        return None


class StoredZerosMatter(PlainSimHash):
    """Counts stored entries instead of looking at values."""

    def hash(self, x):
        codes = super().hash(x)
        if not isinstance(x, np.ndarray):
            codes[np.diff(x.indptr) % 2 == 0] ^= np.uint32(1)
        return codes


class NeighboursMatter(PlainSimHash):
    """Centres the rows that come together: a row's code depends on its block."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        return super().hash(rows - rows.mean(axis=0)) if len(rows) else super().hash(rows)


BROKEN = [
    (NeighboursMatter, FamilySpec, {"blocks_and_threads"}),
    (SignPerBin, FamilySpec, {"law_one_hash[non_negative]", "law_code[non_negative]"}),
    (ClaimedIndependent, FamilySpec, {"law_code[rotated]"}),
    (Unseeded, FamilySpec, {"determinism"}),
    (SeedIgnored, FamilySpec, {"seeds"}),
    (
        LawOffByThreePercent,
        FamilySpec,
        {"law_one_hash[rotated]", "law_one_hash[non_negative]", "law_code[rotated]"},
    ),
    (UnclampedLaw, FamilySpec, {"law_values"}),
    (CodesTooLarge, FamilySpec, {"codes"}),
    (SignedCodes, FamilySpec, {"codes"}),
    (KernelOfOtherFunctions, SimHashSpec, {"native_equals_reference"}),
    (NaturalLogPacking, DWTASpec, {"law_one_hash[rotated]"}),
    (StoredZerosMatter, FamilySpec, {"dense_equals_csr"}),
]


@pytest.mark.parametrize(
    ("cls", "spec", "name"),
    [pytest.param(c, s, n, id=f"{c.__name__}-{n}") for c, s, names in BROKEN for n in sorted(names)],
)
def test_broken_families_are_caught(cls, spec, name):
    case = FamilyCase(lambda **shape: cls(spec(**shape)))
    with pytest.raises(AssertionError):
        CHECKS[name](case)


def test_a_plain_family_without_kernel_passes_everything():
    outcomes = check_family(FamilyCase(lambda **shape: PlainSimHash(FamilySpec(**shape))))
    assert outcomes["native_equals_reference"] == "skipped: the family has no native kernel"
    assert outcomes["probing"].startswith("skipped")
    assert [name for name, outcome in outcomes.items() if not outcome.startswith("skipped")] == [
        name for name in CHECKS if name not in ("native_equals_reference", "probing")
    ]
    assert all(outcome == "passed" or outcome.startswith("skipped") for outcome in outcomes.values())


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
    reasons = {
        f"law_{w}[{k}]": "few entries" for w in ("one_hash", "code") for k in ("very_sparse", "heavy_tailed")
    }
    assert check_family(sparse, reasons)["law_code[very_sparse]"] == "fails as expected: few entries"
