"""The kit must detect families with typical mistakes."""

import functools
import itertools

import attrs
import numpy as np
import pytest
from lshsample_families.dwta import DWTA, DWTASpec
from lshsample_families.simhash import SimHash, SimHashSpec
from lshsample_families.wta import WTA

from lshsample.errors import ArgumentError
from lshsample.plugin import FamilySpec, HashFamily, NativeKernel
from lshsample.registry import make_family
from lshsample.testing import CHECKS, FamilyCase, check_family, family_checks, law_checks


class PlainSimHash(HashFamily):
    """SimHash in a few lines, without a kernel: the first version of a plugin."""

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
    """One sign for all coordinates of a hash."""

    def directions(self):
        rng = np.random.default_rng(self.seed)
        shape = (self.n_hashes, self.n_tables, self.dim)
        return rng.choice([-1, 1], (*shape[:2], 1)) * (rng.random(shape) < 1 / 3)


class ClaimedIndependent(PlainSimHash):
    """All hashes of a code are the same one."""

    shared_directions = True


class Unseeded(PlainSimHash):
    """Draws from a counter that is not part of the spec."""

    draws = itertools.count()

    def directions(self):
        return np.random.default_rng([self.seed, next(self.draws)]).standard_normal(
            (self.n_hashes, self.n_tables, self.dim)
        )


class TablesShareDirections(PlainSimHash):
    """All tables are the same, but are declared independent."""

    def directions(self):
        directions = super().directions()
        return np.broadcast_to(directions[:, :1], directions.shape)


class NormalizesInPlace(PlainSimHash):
    """Normalises the caller's rows in place."""

    def hash(self, x):
        if isinstance(x, np.ndarray):
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1)
        return super().hash(x)


class ProbeLawOffByATenth(SimHash):
    """Its law of probes is too high."""

    def probe_probability(self, q, x, n_probes):
        return np.minimum(1.0, 1.1 * super().probe_probability(q, x, n_probes))


class SeedIgnored(PlainSimHash):
    """with_seed does not change the functions."""

    def directions(self):
        return np.random.default_rng(5).standard_normal((self.n_hashes, self.n_tables, self.dim))


class LawOffByThreePercent(PlainSimHash):
    """A law that is slightly wrong."""

    def collision_probability(self, similarity):
        return np.minimum(1.0, 1.03 * super().collision_probability(similarity))


class UnclampedLaw(PlainSimHash):
    """NaN where rounding puts a cosine above 1."""

    def collision_probability(self, similarity):
        with np.errstate(invalid="ignore"):
            return 1 - np.arccos(similarity) / np.pi


class CodesTooLarge(PlainSimHash):
    """Codes with one bit too many."""

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
    """Three bits per hash, packed as if they were two: log 8 = 2.08."""

    def hash(self, x):
        wide, codes = super().hash(x), np.zeros((x.shape[0], self.n_tables), np.uint32)
        for k in range(self.n_hashes):
            codes |= (wide >> np.uint32(3 * k) & np.uint32(7)) << np.uint32(2 * k)
        return codes

    def native(self):
        return None


class StoredZerosMatter(PlainSimHash):
    """Uses stored entries whatever their values."""

    def hash(self, x):
        codes = super().hash(x)
        if not isinstance(x, np.ndarray):
            codes[np.diff(x.indptr) % 2 == 0] ^= np.uint32(1)
        return codes


class NeighboursMatter(PlainSimHash):
    """Centres the rows of a block: a row's code depends on its block."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        return super().hash(rows - rows.mean(axis=0)) if len(rows) else super().hash(rows)


class ReadsPastTheEnd(PlainSimHash):
    """Reads one element beyond the row: in a block, the first one of the next row."""

    def hash(self, x):
        rows = (x if isinstance(x, np.ndarray) else x.toarray()).copy()
        rows[:-1, -1] += rows[1:, 0]
        return super().hash(rows)


class TailLeftOut(SimHash):
    """The kernel ignores the columns after the last multiple of eight."""

    def native(self) -> NativeKernel:
        cut = SimHash(self.spec)
        cut._projection.matrix[self.dim // 8 * 8 :] = 0
        return cut.native()


class StoresAnotherElement(WTA):
    """Compares one element of a window, and stores the value of another."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        codes = np.zeros((len(rows), self.n_tables), np.uint32)
        for number, window in enumerate(self._windows.columns):
            largest, position = np.full(len(rows), -np.inf), np.zeros(len(rows), np.uint32)
            for place, column in enumerate(window):
                wins = rows[:, column] > largest
                position[wins], largest[wins] = place, rows[wins, window[place - 1]]
            codes[:, number // self.n_hashes] |= position << np.uint32(
                number % self.n_hashes * self.bits_per_hash
            )
        return codes

    def native(self):
        return None


class FailsOnNoRows(PlainSimHash):
    """Computes the maximum of an empty array."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        return super().hash(rows / np.float64(max(rows.max(), 1)))


class LambdaInside(PlainSimHash):
    """Has an attribute that cannot be pickled."""

    def __reduce__(self):
        return LambdaInside, (self.spec, lambda: None)


class ProbesABucketTwice(PlainSimHash):
    """Flips one random bit after the other."""

    def probe(self, q, n_probes):
        codes = np.repeat(self.hash_query(q)[:, :, None], n_probes, axis=2)
        codes[:, :, 1:] ^= np.uint32(1)
        return codes


class ProbesNotItsOwn(PlainSimHash):
    """Omits the query's own bucket."""

    def probe(self, q, n_probes):
        return self.hash_query(q)[:, :, None] ^ np.arange(1, n_probes + 1, dtype=np.uint32)


RATES = "agree at a rate of .* the law says"
SPARSE_SPEC = functools.partial(SimHashSpec, projection="sparse")
#: Each broken family with its spec, and the checks that must detect it, each with its message.
BROKEN = [
    (NeighboursMatter, FamilySpec, {"blocks_and_threads": "blocks of 1 rows differ"}),
    (ReadsPastTheEnd, FamilySpec, {"blocks_and_threads": "blocks of 1 rows differ"}),
    (SignPerBin, FamilySpec, {"law_one_hash[non_negative]": RATES, "law_code[non_negative]": RATES,
                              "law_one_hash[disjoint_support]": RATES}),
    (ClaimedIndependent, FamilySpec, {"law_code[rotated]": RATES, "law_code[very_sparse]": RATES}),
    (TablesShareDirections, FamilySpec, {"law_code[rotated]": "two tables, claimed to be independent"}),
    (NormalizesInPlace, FamilySpec, {"rows_unchanged": "hash writes into the caller's rows"}),
    (ProbeLawOffByATenth, SimHashSpec, {"law_probes": "rotated row .: 5 probes find it at a rate of"}),
    (Unseeded, FamilySpec, {"determinism": "two families of one spec .* unseeded"}),
    (SeedIgnored, FamilySpec, {"seeds": "another seed leaves 100.0% of the codes"}),
    (LawOffByThreePercent, FamilySpec, {"law_one_hash[rotated]": RATES, "law_one_hash[non_negative]": RATES,
                                        "law_code[rotated]": RATES}),
    (UnclampedLaw, FamilySpec, {"law_values": "not probabilities"}),
    (CodesTooLarge, FamilySpec, {"codes": r"a code of 2\*\*4 or more"}),
    (SignedCodes, FamilySpec, {"codes": "returns dtype int64, expected uint32"}),
    (KernelOfOtherFunctions, SimHashSpec, {"native_equals_reference": "kernel differs from the reference"}),
    (TailLeftOut, functools.partial(SimHashSpec, projection="gaussian"),
     {"native_equals_reference": "kernel differs from the reference"}),
    (NaturalLogPacking, DWTASpec, {"law_one_hash[rotated]": RATES}),
    (StoresAnotherElement, DWTASpec, {"law_one_hash[rotated]": RATES}),
    (SimHash, SPARSE_SPEC, {"law_one_hash[very_sparse]": RATES, "law_one_hash[heavy_tailed]": RATES}),
    (StoredZerosMatter, FamilySpec, {"dense_equals_csr": "dense and CSR rows get different codes"}),
    (FailsOnNoRows, FamilySpec, {"edge_rows": "FailsOnNoRows.hash raised ValueError"}),
    (LambdaInside, FamilySpec, {"spec_round_trip": "cannot be pickled"}),
    (ProbesABucketTwice, FamilySpec, {"probing": "a bucket is probed twice"}),
    (ProbesNotItsOwn, FamilySpec, {"probing": "not the row's own code"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "spec", "name", "says"),
    [pytest.param(c, s, n, m, id=f"{c.__name__}-{n}") for c, s, names in BROKEN for n, m in names.items()],
)
def test_broken_families_are_detected(cls, spec, name, says):
    case = FamilyCase(lambda **shape: cls(spec(**shape)))
    with pytest.raises(AssertionError, match=says):
        CHECKS[name](case)


def test_every_check_and_every_kind_of_pairs_detects_something():
    caught = {name for _, _, names in BROKEN for name in names}
    assert {name for name in CHECKS if "[" not in name} == {name for name in caught if "[" not in name}
    assert {name.split("[")[1] for name in caught if "[" in name} == {f"{kind}]" for kind in law_checks.PAIRS}


def test_a_correct_family_without_kernel_passes_all_checks():
    outcomes = check_family(FamilyCase(lambda **shape: PlainSimHash(FamilySpec(**shape))))
    assert outcomes["native_equals_reference"] == "skipped: the family has no native kernel"
    assert outcomes["probing"].startswith("skipped")
    skipped = {name for name, outcome in outcomes.items() if outcome.startswith("skipped")}
    assert skipped == {"native_equals_reference", "probing", "law_probes"}
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
