"""The conformance kit of hash families: the rules of the interface, as checks for the tests of any plugin.

.. code-block:: python

    import pytest
    from lshsample.testing import FamilyCase, family_checks

    case = FamilyCase(lambda **shape: MyFamily(MySpec(**shape)))

    @pytest.mark.parametrize("check", family_checks())
    def test_my_family(check):
        check(case)

A check raises AssertionError if the family breaks a rule, and ``unittest.SkipTest`` (which pytest reports as
a skip) if the rule does not apply to it. A known failure is declared with its reason, and must then fail:
``family_checks({"law_one_hash[very_sparse]": "a direction often misses a row of few entries"})``.
"""

from __future__ import annotations

import functools
import itertools
import json
import locale
import os
import pickle
import random
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest import SkipTest

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native import core
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.family import HashFamily
from lshsample.hashing import checked_rows, hash_rows, kernel_struct, prepared, probe_rows
from lshsample.testing import kernel_checks
from lshsample.testing import law_checks as laws
from lshsample.testing.law_values import check_law_values
from lshsample.testing.other_process import codes_elsewhere
from lshsample.testing.outcomes import as_parameters, run_checks

__all__ = ["CHECKS", "FamilyCase", "check_family", "family_checks"]

Float32 = npt.NDArray[np.float32]
#: Shapes (dim, K, L) of the exact checks: even and odd sizes, and the smallest.
SHAPES = ((64, 4, 16), (37, 3, 21), (130, 2, 5), (16, 1, 1))
#: Long rows of an odd size, beyond what a fixed buffer or a block of columns may hold.
LONG = (2053, 2, 3)
#: Shapes that share all sizes but one with the first, so that a cache with an incomplete key confuses them.
VARIANTS = ((37, 3, 21), (64, 3, 21), (37, 2, 21), (37, 3, 5))
#: Seeds that no other check uses, for functions that were not drawn yet.
_unused_seeds = itertools.count(10**6)


@attrs.frozen(eq=False)
class FamilyCase:
    """The family under test.

    Attributes
    ----------
    make : callable
        ``make(dim=, n_hashes=, n_tables=, seed=)`` returns a family. It is called with at least 16 columns
        and up to 4 hashes, or as many as fit into a code of 32 bits.
    prepare : callable
        Maps dense rows, (n, dim) float32, into the family's domain (unit norms, sets of zeros and ones), each
        row by itself; the identity by default.
    """

    make: Callable[..., HashFamily]
    prepare: Callable[[Float32], Float32] = attrs.field(default=lambda rows: rows)

    def rows(self, n: int, dim: int, seed: int = 0) -> Float32:
        """Mixed rows in the domain: dense, half-empty and very sparse ones; the first one is zero."""
        rng = np.random.default_rng([7, seed])
        rows = rng.standard_normal((n, dim)).astype(np.float32)
        rows[1::3] *= rng.random(rows[1::3].shape) < 0.5
        rows[2::3] *= rng.random(rows[2::3].shape) < 2.5 / dim
        rows[:1] = 0
        return self.prepare(rows)


def check_kernel_memory(case: FamilyCase) -> None:
    """Kernels write their codes and their scratch memory, and nothing else."""
    _require_kernel(case)
    for family, _ in _shapes(case):
        dense = [case.rows(50, family.dim, seed=40 + k) for k in range(3)]
        for blocks in (dense, [checked_rows(family, sp.csr_array(x)) for x in dense]):
            changed = kernel_checks.static_data_changed(family, blocks)
            assert changed is None, (
                f"{changed}, which threads that run at the same time overwrite: use the scratch memory"
            )


def check_determinism(case: FamilyCase) -> None:
    """The spec alone determines the codes: another family of the spec, and later calls, agree."""
    for (one, x), (two, _) in zip(_shapes(case), _shapes(case), strict=True):
        first = hash_rows(one, x)
        kept = first.copy()
        assert (hash_rows(two, x) == first).all(), (
            "two families of one spec give different codes: is something unseeded?"
        )
        for call in range(15):
            if call in (0, 1, 5):
                hash_rows(one, case.rows(75, one.dim, seed=3 + call))
                assert (first == kept).all(), "a later call changes the codes that an earlier one returned"
            assert (hash_rows(one, x) == kept).all(), (
                "the same family gives other codes the second time, or after other rows were hashed"
            )
        assert one == two, "two families of one spec are not equal"


def check_instances(case: FamilyCase) -> None:
    """Families do not share state: one of another seed, or of another shape, changes nothing."""
    seed = next(_unused_seeds)
    family, x = _made(case, VARIANTS[0], seed), case.rows(40, VARIANTS[0][0])
    codes = hash_rows(family, x)
    for shape, number in (*((shape, seed) for shape in VARIANTS[1:]), (VARIANTS[0], next(_unused_seeds))):
        rows = case.rows(40, shape[0])
        hash_rows(_made(case, shape, next(_unused_seeds)), rows)  # what fails for this shape at any time
        try:
            hash_rows(_made(case, shape, number), rows)
        except Exception as error:
            raise AssertionError(
                f"a family of (dim, n_hashes, n_tables) {shape} raises {type(error).__name__}: {error}, only "
                f"after one of the same seed and another shape: is there a cache keyed by the seed alone?"
            ) from error
        assert (hash_rows(family, x) == codes).all(), "the codes of a family change when another one is made"
    assert (hash_rows(_made(case, VARIANTS[0], seed), x) == codes).all(), (
        "a spec gives other codes after families of other specs were made"
    )


def check_other_process(case: FamilyCase) -> None:
    """Another process gives the same codes, whatever its PYTHONHASHSEED, clock, locale and directory.

    There, families are made in another order, so that a cache that confuses them shows.
    """
    families = [_made(case, shape, 11) for shape in VARIANTS]
    rows = [case.rows(40, family.dim) for family in families]
    here = [family.hash(x) for family, x in zip(families, rows, strict=True)]
    there = codes_elsewhere(families[::-1], rows[::-1])

    def same(one: list[Any], other: list[Any]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    first, second, moved = there.values()
    assert same(first, second), (
        "the codes depend on PYTHONHASHSEED: hash() of a text and the order of a set differ between processes"
    )
    assert same(first, moved), (
        "the codes depend on the surroundings of the process: its clock, time zone, locale, working "
        "directory or number of processors"
    )
    assert same(here, first[::-1]), (
        "another process gives other codes: do the functions depend on what was made before, as with a cache "
        "keyed by the seed alone, or on something that is set while the process runs?"
    )


def check_global_state(case: FamilyCase) -> None:
    """No method changes or uses the state of the process: random generators, error handling, environment."""
    shape = (64, laws.hashes_that_fit(case.make, 2), 3)
    x = case.rows(9, shape[0])
    made: list[HashFamily] = []

    def use(method: str, *arguments: Any) -> Callable[[], object]:
        return lambda: getattr(made[0], method)(*arguments)

    calls: dict[str, Callable[[], object]] = {
        "making a family": lambda: made.append(_made(case, shape, next(_unused_seeds))),
        "hash": use("hash", x),
        "hash_query": use("hash_query", x),
        "the kernel": lambda: hash_rows(made[0], x),
        "probe": use("probe", x, 2),
        "prepare": use("prepare", x),
        "with_seed": lambda: made[0].with_seed(next(_unused_seeds)).hash(x),
        "pair_probability": use("pair_probability", x, x),
        "pair_code_probability": use("pair_code_probability", x, x),
        "probe_probability": use("probe_probability", x[:1], x, 2),
    }
    for name, call in calls.items():
        before = _global_state()
        with suppress(UnsupportedError, ArgumentError):  # what it cannot do, it may refuse
            call()
        after = _global_state()
        for what, state in before.items():
            assert after[what] == state, f"{name} changes {what}"


def _global_state() -> dict[str, object]:
    tiny = np.array([1e-39], np.float32) * np.float32(0.5)
    return {
        "the state of NumPy's global random generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "the state of Python's global random generator": random.getstate(),
        "how NumPy handles floating-point errors": np.geterr(),
        "the treatment of subnormal numbers (a library linked with -ffast-math does)": bool(tiny[0] > 0),
        "the environment variables": dict(os.environ),
        "the working directory": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
    }


def check_codes(case: FamilyCase) -> None:
    """Shape, dtype and range of the codes, of the Python methods and of the kernels."""
    _check_bits(case)
    for family, x in _shapes(case):
        for method in ("hash", "hash_query"):
            codes = getattr(family, method)(x)
            kind = type(codes).__name__
            assert isinstance(codes, np.ndarray), f"{method} returns {kind}, expected an array"
            assert codes.dtype == np.uint32, f"{method} returns dtype {codes.dtype}, expected uint32"
            assert codes.shape == (len(x), family.n_tables), f"{method} returns shape {codes.shape}"
            assert codes.max(initial=0) < 2**family.code_bits, (
                f"{method}: a code of 2**{family.code_bits} or more"
            )
        with _no_plugin_error():
            hash_rows(family, x)
            hash_rows(family, x, query=True)


def _check_bits(case: FamilyCase) -> None:
    """More hashes than fit into a code are refused, which ``HashFamily.__init__`` does."""
    bits = case.make(dim=48, n_hashes=1, n_tables=1, seed=0).bits_per_hash
    n_hashes = 32 // bits + 1
    try:
        family = case.make(dim=48, n_hashes=n_hashes, n_tables=1, seed=0)
    except ArgumentError:
        return
    assert family.code_bits <= 32, (
        f"{n_hashes} hashes of {family.bits_per_hash} bits are not refused, although code_bits is "
        f"{family.code_bits}, more than 32: set bits_per_hash before super().__init__(spec)"
    )


def check_rows_unchanged(case: FamilyCase) -> None:
    """No method writes into the caller's rows."""
    for family, x in _shapes(case):
        csr: Any = core.csr_rows(sp.csr_array(x), "x")
        dense, values = x.copy(), csr.data.copy()
        methods: dict[str, Callable[[Any], object]] = {
            "hash": family.hash,
            "hash_query": family.hash_query,
            "the kernel": functools.partial(hash_rows, family),
            "similarity_of": functools.partial(_similarities, family),
            "prepare": family.prepare,
        }
        if family.can_probe:
            methods["probe"] = functools.partial(family.probe, n_probes=min(3, 2**family.code_bits))
        for name, method in methods.items():
            method(x)
            method(csr)
            same = (x == dense).all() and (csr.data == values).all()
            assert same, f"{name} writes into the caller's rows"


def check_dense_equals_csr(case: FamilyCase) -> None:
    """A row's codes do not depend on how it is stored; float64 is accepted."""
    for family, x in _shapes(case, delicate=True):
        csr = core.csr_rows(sp.csr_array(x), "x")
        for method in ("hash", "hash_query"):
            reference = getattr(family, method)
            assert (reference(x) == reference(csr)).all(), f"{method}: dense and CSR rows get different codes"
        assert (hash_rows(family, x) == hash_rows(family, csr)).all(), "kernel: dense and CSR rows differ"
        for query in (False, True):
            codes = hash_rows(family, x, query=query)
            for double in (x.astype(np.float64), sp.csr_array(x.astype(np.float64))):
                assert (hash_rows(family, double, query=query) == codes).all(), "float64 rows differ"


def check_native_equals_reference(case: FamilyCase) -> None:
    """The kernels give the reference's codes, bit for bit, on each instruction set of this machine."""
    _require_kernel(case)
    long = _made(case, LONG, 11), case.rows(9, LONG[0])
    for family, x in (*_shapes(case, delicate=True), long):
        wide = x * np.float32(2.0) ** np.linspace(-120, 110, len(x), dtype=np.float32)[:, None]
        for rows in (x, case.prepare(wide.astype(np.float32)), checked_rows(family, sp.csr_array(x))):
            for query, method in ((False, family.hash), (True, family.hash_query)):
                expected = method(rows)
                for name in core.available_isas():
                    with core.forced_isa(name):
                        same = hash_rows(family, rows, query=query) == expected
                    assert same.all(), (
                        f"the {name} kernel differs from the reference in {(~same).mean():.2%} of codes"
                    )


def check_blocks_and_threads(case: FamilyCase) -> None:
    """A row's codes do not depend on its neighbours, its place in memory, or the number of threads."""
    for family, _ in _shapes(case):
        x = case.rows(261, family.dim, seed=1)
        x = np.concatenate([x, _near_boundaries(case, family)])
        whole = hash_rows(family, x, threads=1)
        for threads in (2, 4):
            assert (hash_rows(family, x, threads=threads) == whole).all(), (
                f"{threads} threads give other codes"
            )
        for size, count in ((1, 100), (7, 100), (33, 300)):
            starts = range(0, min(count, len(x)), size)
            for order in (starts, starts[::-1]):
                for i in order:
                    same = hash_rows(family, x[i : i + size]) == whole[i : i + size]
                    assert same.all(), f"blocks of {size} rows differ: codes depend on the rows around them"
        assert (hash_rows(family, x[::-1]) == whole[::-1]).all(), "the order of the rows changes their codes"
        large = hash_rows(family, np.concatenate([x] * 8))
        assert (large == np.concatenate([whole] * 8)).all(), f"a block of {len(large)} rows differs"
        _check_layouts(family, x, whole)


def _check_layouts(family: HashFamily, x: Float32, whole: Any) -> None:
    """The codes ``whole`` of rows in other places in memory, from the kernel and from the reference."""
    padded = np.zeros((len(x), family.dim + 3), np.float32)
    padded[:, 1:-2] = x
    layouts = {"strided, unaligned rows": padded[:, 1:-2], "rows in Fortran order": np.asfortranarray(x)}
    for what, rows in layouts.items():
        assert (hash_rows(family, rows) == whole).all(), f"{what} get other codes"
        assert (family.hash(rows[:30]) == whole[:30]).all(), f"{what} get other codes from hash"
    csr = sp.csr_array(x)
    assert (hash_rows(family, csr, threads=2) == whole).all(), "CSR rows get other codes in blocks"
    assert (hash_rows(family, csr[100:200]) == whole[100:200]).all(), "a slice of CSR rows differs"


def check_concurrent_calls(case: FamilyCase) -> None:
    """Four threads that hash different rows at the same time get the codes of each alone."""
    for family, _ in itertools.islice(_shapes(case), 2):
        jobs: list[tuple[Any, Any]] = []
        for k in range(4):
            x = case.rows(300, family.dim, seed=20 + k)
            rows: Any = core.csr_rows(sp.csr_array(x), "x") if k % 2 else x
            jobs.append((rows, hash_rows(family, rows)))
        wrong = _run_together(family, jobs)
        assert wrong is None, (
            f"threads that hash at the same time get other codes ({wrong}): do they share a buffer?"
        )


def _run_together(family: HashFamily, jobs: list[tuple[Any, Any]]) -> str | None:
    """What went wrong in threads that repeat the jobs, (rows, codes), for a twelfth of a second."""
    start = threading.Barrier(len(jobs))
    found: list[str] = []

    def work(rows: Any, codes: Any) -> None:
        start.wait()
        end, calls = time.monotonic() + 0.08, 0
        while not found and (calls < 3 or time.monotonic() < end):
            calls += 1
            try:
                wrong = (hash_rows(family, rows, threads=1) != codes).mean()
                if wrong:
                    found.append(f"{wrong:.2%} of the codes")
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")

    with _fast_switching():
        threads = [threading.Thread(target=work, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found[0] if found else None


@contextmanager
def _fast_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def check_edge_rows(case: FamilyCase) -> None:
    """No rows, zeros, the largest and smallest floats have codes; NaN, Inf and wrong widths are refused."""
    for family, x in _shapes(case):
        empty = np.zeros((0, family.dim), np.float32)
        with _no_plugin_error():
            assert hash_rows(family, empty).shape == (0, family.n_tables), (
                "0 rows do not give 0 rows of codes"
            )
            assert hash_rows(family, sp.csr_array(empty)).shape == (0, family.n_tables), "0 CSR rows"
            zeros = hash_rows(family, case.prepare(np.zeros((3, family.dim), np.float32)))
            assert (zeros == zeros[0]).all(), "rows of zeros have different codes"
            for value in (3e38, 1e-38, 1e-45):
                extreme = case.prepare((np.sign(x[1:4]) * np.float32(value)).astype(np.float32))
                assert (hash_rows(family, extreme) == family.hash(extreme)).all(), f"rows of {value} differ"
        for bad in (np.nan, np.inf):
            rows = x[:3].copy()
            rows[1, 2] = bad
            _check_refused(family, rows, f"a row with {bad}")
        _check_refused(family, x[:, 1:], "rows of another width")


def check_spec_round_trip(case: FamilyCase) -> None:
    """The spec survives dict, JSON, TOML and pickle; the family made from it has the same functions."""
    for family, x in _shapes(case):
        _check_frozen(family.spec)
        data, codes = specs.to_dict(family.spec), hash_rows(family, x)
        for back in (data, json.loads(json.dumps(data)), tomllib.loads(specs.to_toml(family.spec))):
            again = type(family)(specs.from_dict(type(family.spec), back))
            assert again == family, f"{back} makes {again}"
            assert hash(again) == hash(family), "equal families have different hash values"
            assert (hash_rows(again, x) == codes).all(), "the family of a restored spec has other functions"
        pickled = _pickled(family)
        assert pickled == family, "pickling changes the family"
        assert (hash_rows(pickled, x) == codes).all(), "a pickled family has other functions"


def _check_frozen(spec: Any) -> None:
    kind = type(spec).__name__
    fields = {field.name for field in attrs.fields(type(spec))}
    lost = set(vars(type(spec)).get("__annotations__", {})) - fields
    assert not lost, (
        f"{kind} is not decorated with @attrs.frozen(kw_only=True): {', '.join(lost)} is no field"
    )
    try:
        setattr(spec, "seed", spec.seed)  # noqa: B010
    except attrs.exceptions.FrozenInstanceError:
        return
    raise AssertionError(f"{kind} can be changed: decorate it with @attrs.frozen(kw_only=True)")


def check_seeds(case: FamilyCase) -> None:
    """``with_seed`` draws other functions, keeps the rest of the spec, and can be undone."""
    for family, x in _shapes(case):
        try:
            other = family.with_seed(family.seed + 1)
        except UnsupportedError as error:
            raise SkipTest(str(error)) from None
        assert attrs.evolve(other.spec, seed=family.seed) == family.spec, (
            "with_seed changes more than the seed"
        )
        assert other.with_seed(family.seed) == family, "the old seed does not give the old family"
        if family.n_tables * family.code_bits >= 16:
            codes = hash_rows(family, x[1:])
            same = (hash_rows(other, x[1:]) == codes).mean()
            assert same < 0.99, f"another seed leaves {same:.1%} of the codes unchanged"
            for seed in (family.seed + 2**32, 2**63 - 1):
                try:
                    far = hash_rows(family.with_seed(seed), x[1:])
                except (ArgumentError, PluginError, ValueError, OverflowError) as error:
                    raise AssertionError(
                        f"seed {seed} is refused, but seeds go to 2**63 - 1: {error}"
                    ) from error
                same = (far == codes).mean()
                assert same < 0.99, f"seeds {family.seed} and {seed} give the same functions"
    _check_neighbouring_seeds(case)


def _check_neighbouring_seeds(case: FamilyCase) -> None:
    """Seeds s and s + 1 have no more hashes in common than distant ones: a sign test over 60 seeds."""
    rows = case.rows(75, 48)[1:]

    def columns(seed: int) -> Counter[bytes]:
        family = _made(case, (48, 2, 8), seed)
        codes, bits = hash_rows(family, rows, threads=1), family.bits_per_hash
        hashes = codes[:, :, None] >> np.arange(0, family.code_bits, bits, dtype=np.uint32)
        values = (hashes & np.uint32(2**bits - 1)).reshape(len(rows), -1)
        return Counter(column.tobytes() for column in values.T)

    more = 0
    for seed in range(1000, 1600, 10):
        here = columns(seed)
        near, far = ((here & columns(seed + step)).total() for step in (1, 2**40 + seed))
        more += (near > far) - (near < far)
    # By chance with a probability below exp(-45**2 / 120) (Hoeffding 1963).
    assert more <= 45, (
        "seeds s and s + 1 have functions in common: is the number of a table added to the seed?"
    )


def check_prepare(case: FamilyCase) -> None:
    """``prepare`` returns a family of the same class and shape, and changes neither family nor rows."""
    for family, x in _shapes(case):
        codes, spec, rows = hash_rows(family, x), family.spec, x.copy()
        with _no_plugin_error():
            fitted = prepared(family, x)
        assert family.spec == spec, "prepare changes the spec of the family: it must return another one"
        assert (hash_rows(family, x) == codes).all(), (
            "prepare changes the codes of the family: it must return another one"
        )
        assert prepared(fitted, rows) == fitted, "prepare gives another family for the same rows"


def check_probing(case: FamilyCase) -> None:
    """Probes: the row's own code first, no code twice, the same ones first for any number of them."""
    for family, x in _shapes(case):
        n_probes = min(6, 2**family.code_bits)
        try:
            reference = family.probe(x[:9], n_probes)
        except UnsupportedError as error:
            raise SkipTest(str(error)) from None
        assert (reference[:, :, 0] == family.hash_query(x[:9])).all(), (
            "the first probe is not the row's own code"
        )
        ordered = np.sort(reference, axis=2)
        assert (ordered[:, :, 1:] != ordered[:, :, :-1]).all(), "a bucket is probed twice"
        for fewer in range(1, n_probes):
            assert (family.probe(x[:9], fewer) == reference[:, :, :fewer]).all(), (
                f"the first {fewer} of {n_probes} probes are not the {fewer} probes"
            )
        for name in core.available_isas():
            with core.forced_isa(name):
                same = probe_rows(family, x[:9], n_probes) == reference
            assert same.all(), f"the {name} kernel probes other buckets than the reference"


def check_probe_order(case: FamilyCase) -> None:
    """The most promising bucket first: no probe finds rows near the query more often than one before it."""
    laws.check_probe_order(case.make, case.prepare)


def check_symmetry(case: FamilyCase) -> None:
    """A row finds itself if the law says so: queries and items are then hashed alike, to the last bit."""
    for family, x in _shapes(case, delicate=True):
        try:
            own = family.pair_probability(x, x)
        except UnsupportedError as error:
            raise SkipTest(str(error)) from None
        own = own[x.any(axis=1)]  # a row of zeros may have no similarity to another one
        if type(family).hash_query is HashFamily.hash_query and not family.law_of_norms:
            assert np.allclose(own, 1, atol=1e-3), (
                f"a row agrees with itself, but the law says with probability {own.min():.4f}"
            )
        elif not (own >= 1 - 1e-6).all():
            raise SkipTest("the law of equal rows is not 1: the family is asymmetric")
        assert (hash_rows(family, x) == hash_rows(family, x.copy(), query=True)).all(), (
            "a row misses itself: queries are hashed differently from items, but the law of equal rows is 1"
        )


def check_probe_law(case: FamilyCase) -> None:
    """The law of probes given the query: observed rates are in its interval, for all pairs."""
    for kind in laws.PAIRS:
        laws.check_probe_law(case.make, case.prepare, kind)


def _law_check(kind: str, what: str, check: Callable[..., None]) -> Callable[[FamilyCase], None]:
    def run(case: FamilyCase) -> None:
        check(case.make, case.prepare, kind)

    pairs = f"{kind.replace('_', '-')} pairs"
    run.__doc__ = f"The law of {what} on {pairs}: observed rates are in its interval."
    return run


def _guarded(check: Callable[[FamilyCase], None]) -> Callable[[FamilyCase], None]:
    """A check that does not run, but fails, if a kernel would write into the memory of others."""

    @functools.wraps(check)
    def run(case: FamilyCase) -> None:
        fault = _overrun(case)
        assert fault is None, fault
        check(case)

    return run


_one_hash = functools.partial(laws.check_law, whole_code=False)
_whole_code = functools.partial(laws.check_law, whole_code=True)
_ALL: dict[str, Callable[[FamilyCase], None]] = {
    "kernel_memory": check_kernel_memory,
    "determinism": check_determinism,
    "instances": check_instances,
    "other_process": check_other_process,
    "global_state": check_global_state,
    "codes": check_codes,
    "rows_unchanged": check_rows_unchanged,
    "dense_equals_csr": check_dense_equals_csr,
    "native_equals_reference": check_native_equals_reference,
    "blocks_and_threads": check_blocks_and_threads,
    "concurrent_calls": check_concurrent_calls,
    "edge_rows": check_edge_rows,
    "spec_round_trip": check_spec_round_trip,
    "seeds": check_seeds,
    "prepare": check_prepare,
    "probing": check_probing,
    "probe_order": check_probe_order,
    "symmetry": check_symmetry,
    "law_values": check_law_values,
    "law_probes": check_probe_law,
    **{f"law_one_hash[{kind}]": _law_check(kind, "one hash", _one_hash) for kind in laws.PAIRS},
    **{f"law_code[{kind}]": _law_check(kind, "a whole code", _whole_code) for kind in laws.PAIRS},
}
#: Every check by name.
CHECKS = {name: _guarded(check) for name, check in _ALL.items()}


def family_checks(expected_failures: Mapping[str, str] | None = None) -> list[Any]:
    """The checks as pytest parameters.

    Parameters
    ----------
    expected_failures : mapping of str to str
        The reasons of known failures, by name of the check. These checks must fail: if one passes, its test
        fails.

    Returns
    -------
    list
        For ``pytest.mark.parametrize``; each value is a function of a :class:`FamilyCase`.
    """
    return as_parameters(CHECKS, expected_failures)


def check_family(case: FamilyCase, expected_failures: Mapping[str, str] | None = None) -> dict[str, str]:
    """Run every check on a family, without pytest.

    Parameters
    ----------
    case : FamilyCase
        The family.
    expected_failures : mapping of str to str
        As for :func:`family_checks`.

    Returns
    -------
    dict
        The outcome of each check: "passed", "skipped: why" or "fails as expected: why".

    Raises
    ------
    AssertionError
        Checks that failed, or passed although expected to fail; all of them are listed.
    """
    return run_checks(CHECKS, case, expected_failures)


def _pickled(family: HashFamily) -> HashFamily:
    try:
        back: HashFamily = pickle.loads(pickle.dumps(family))
    except Exception as error:
        raise AssertionError(f"the family cannot be pickled: {error}") from error
    return back


def _made(case: FamilyCase, shape: tuple[int, int, int], seed: int) -> HashFamily:
    """The family of a shape (dim, K, L), with as many hashes as fit into a code."""
    dim, n_hashes, n_tables = shape
    k = laws.hashes_that_fit(case.make, n_hashes)
    family = case.make(dim=dim, n_hashes=k, n_tables=n_tables, seed=seed)
    assert (family.dim, family.n_hashes, family.n_tables) == (dim, k, n_tables), (
        f"make(dim={dim}, n_hashes={k}, n_tables={n_tables}, seed={seed}) returns {family}"
    )
    return family


def _shapes(case: FamilyCase, delicate: bool = False) -> Iterator[tuple[HashFamily, Float32]]:
    """Families of all shapes with rows; with ``delicate`` also rows next to a change of their codes."""
    for shape in SHAPES:
        family, x = _made(case, shape, 11), case.rows(75, shape[0])
        yield family, np.concatenate([x, _near_boundaries(case, family)]) if delicate else x


def _near_boundaries(case: FamilyCase, family: HashFamily) -> Float32:
    """Rows next to a change of their codes, where the last bit of a sum decides.

    Between two rows of different codes, the segment is halved until its ends are neighbouring numbers.
    """
    x = case.rows(41, family.dim, seed=4)
    low, high = x[1:21], x[21:41]
    half = np.float32(0.5)
    codes = hash_rows(family, low)
    for _ in range(40):
        middle = half * low + half * high
        same = (hash_rows(family, case.prepare(middle.copy())) == codes).all(axis=1)[:, None]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return case.prepare(np.concatenate([low, high]))


@functools.lru_cache(maxsize=64)
def _overrun(case: FamilyCase) -> str | None:
    """What a kernel writes beyond its memory, which would damage that of others in all other checks."""
    for shape in (*SHAPES, LONG, (laws.DIM, laws.N_HASHES, laws.N_TABLES)):
        family, x = _made(case, shape, 11), case.rows(9, shape[0])
        with _no_plugin_error():
            if not any(kernel_checks.kernels_of(family)):
                return None
        for rows in (x, checked_rows(family, sp.csr_array(x))):
            with _no_plugin_error():
                fault = kernel_checks.overrun(family, rows)
            if fault:
                return fault
    return None


def _require_kernel(case: FamilyCase) -> None:
    if all(kernel_struct(family, query) is None for family, _ in _shapes(case) for query in (False, True)):
        raise SkipTest("the family has no native kernel")


def _similarities(family: HashFamily, rows: Any) -> None:
    # Not every family has a similarity.
    with suppress(UnsupportedError):
        family.similarity_of(rows, rows)


@contextmanager
def _no_plugin_error() -> Iterator[None]:
    try:
        yield
    except PluginError as error:
        raise AssertionError(str(error)) from error


def _check_refused(family: HashFamily, rows: Float32, what: str) -> None:
    try:
        hash_rows(family, rows)
    except ArgumentError:
        return
    raise AssertionError(f"{what} is not refused")
