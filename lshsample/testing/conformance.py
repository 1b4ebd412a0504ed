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
import json
import pickle
import tomllib
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
from lshsample.hashing import checked_rows, hash_rows, kernel_struct, probe_rows
from lshsample.testing import law_checks as laws
from lshsample.testing.outcomes import as_parameters, run_checks

__all__ = ["CHECKS", "FamilyCase", "check_family", "family_checks"]

Float32 = npt.NDArray[np.float32]
#: Shapes (dim, K, L) of the exact checks: even and odd sizes, and the smallest.
SHAPES = ((64, 4, 16), (37, 3, 21), (130, 2, 5), (16, 1, 1))


@attrs.frozen(eq=False)
class FamilyCase:
    """The family under test.

    Attributes
    ----------
    make : callable
        ``make(dim=, n_hashes=, n_tables=, seed=)`` returns a family. It is called with at least 16 columns
        and up to 4 hashes, or as many as fit into a code of 32 bits.
    prepare : callable
        Maps dense rows into the family's domain (unit norms, sets of zeros and ones); the identity by
        default.
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


def check_determinism(case: FamilyCase) -> None:
    """The spec alone determines the codes: another family of the spec, and a second call, agree."""
    for (one, x), (two, _) in zip(_shapes(case), _shapes(case), strict=True):
        codes = [hash_rows(family, x) for family in (one, two, one)]
        assert (codes[0] == codes[1]).all(), (
            "two families of one spec give different codes: is something unseeded?"
        )
        assert (codes[0] == codes[2]).all(), "the same family gives other codes the second time"
        assert one == two, "two families of one spec are not equal"


def check_codes(case: FamilyCase) -> None:
    """Shape, dtype and range of the codes, of the Python methods and of the kernels."""
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
    """A row's codes do not depend on how it is stored; explicit zeros count as zeros; float64 is accepted."""
    for family, x in _shapes(case):
        csr = core.csr_rows(sp.csr_array(x), "x")
        explicit: Any = csr.copy()
        if explicit.nnz:
            explicit.data[:: max(1, explicit.nnz // 7)] = 0
        for method in ("hash", "hash_query"):
            reference = getattr(family, method)
            assert (reference(x) == reference(csr)).all(), f"{method}: dense and CSR rows get different codes"
            assert (reference(explicit.toarray()) == reference(explicit)).all(), (
                f"{method}: a stored zero changes the codes"
            )
        assert (hash_rows(family, x) == hash_rows(family, csr)).all(), "kernel: dense and CSR rows differ"
        for query in (False, True):
            codes = hash_rows(family, x, query=query)
            for double in (x.astype(np.float64), sp.csr_array(x.astype(np.float64))):
                assert (hash_rows(family, double, query=query) == codes).all(), "float64 rows differ"
        assert (hash_rows(family, explicit.toarray()) == hash_rows(family, explicit)).all(), (
            "kernel: a stored zero changes the codes"
        )


def check_native_equals_reference(case: FamilyCase) -> None:
    """The kernels give the reference's codes, bit for bit, on each instruction set of this machine."""
    if all(kernel_struct(family, query) is None for family, _ in _shapes(case) for query in (False, True)):
        raise SkipTest("the family has no native kernel")
    for family, x in _shapes(case):
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
        whole = hash_rows(family, x, threads=1)
        for threads in (2, 4):
            assert (hash_rows(family, x, threads=threads) == whole).all(), (
                f"{threads} threads give other codes"
            )
        for size in (1, 7, 33):
            pieces = [hash_rows(family, x[i : i + size]) for i in range(0, 100, size)]
            assert (np.concatenate(pieces) == whole[: len(np.concatenate(pieces))]).all(), (
                f"blocks of {size} rows differ"
            )
        padded = np.zeros((len(x), family.dim + 3), np.float32)
        padded[:, 1:-2] = x
        assert (hash_rows(family, padded[:, 1:-2]) == whole).all(), "strided, unaligned rows get other codes"
        assert (hash_rows(family, sp.csr_array(x)[100:200]) == whole[100:200]).all(), (
            "a slice of CSR rows differs"
        )


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
        data = specs.to_dict(family.spec)
        for back in (data, json.loads(json.dumps(data)), tomllib.loads(specs.to_toml(family.spec))):
            again = type(family)(specs.from_dict(type(family.spec), back))
            assert again == family, f"{back} makes {again}"
            assert hash(again) == hash(family), "equal families have different hash values"
        hash_rows(family, x[:2])  # draws functions that are drawn lazily, before the family is pickled
        pickled = _pickled(family)
        assert pickled == family, "pickling changes the family"
        assert (hash_rows(pickled, x) == hash_rows(family, x)).all(), "a pickled family has other functions"


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
            same = (hash_rows(family, x[1:]) == hash_rows(other, x[1:])).mean()
            assert same < 0.99, f"another seed leaves {same:.1%} of the codes unchanged"


def check_probing(case: FamilyCase) -> None:
    """Probes: the row's own code first, no code twice, kernel and reference agree."""
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
        for name in core.available_isas():
            with core.forced_isa(name):
                same = probe_rows(family, x[:9], n_probes) == reference
            assert same.all(), f"the {name} kernel probes other buckets than the reference"


def check_law_values(case: FamilyCase) -> None:
    """The law keeps the shape of arrays and gives probabilities: 1 for equal rows, never NaN."""
    family = case.make(dim=48, n_hashes=laws.hashes_that_fit(case.make, 2), n_tables=1, seed=0)
    x = case.rows(12, 48)[1:]
    y = x[::-1].copy()
    values = _law_claimed(family.similarity_of, y, x)
    given = np.stack([values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)])
    norms = (
        np.broadcast_to(np.linalg.norm(x.astype(np.float64), axis=1), given.shape),
    ) * family.law_of_norms
    _law_claimed(family.collision_probability, given, *norms)
    for law, of_pairs in (
        (family.collision_probability, family.pair_probability),
        *([(family.code_probability, family.pair_code_probability)] if family.independent_hashes else []),
    ):
        p = law(given, *norms)
        assert p.shape == given.shape, f"{law.__name__} of shape {given.shape} has shape {p.shape}"
        assert ((p >= 0) & (p <= 1)).all(), f"{law.__name__} gives {p}: not probabilities"
        assert np.allclose(of_pairs(y, x), p[0], atol=1e-5), (
            f"{of_pairs.__name__} is not {law.__name__} of the similarities"
        )
    if type(family).hash_query is HashFamily.hash_query:
        own = family.collision_probability(family.similarity_of(x, x))
        assert np.allclose(own, 1, atol=1e-3), f"a row agrees with itself with probability {own.min()}"
        assert (hash_rows(family, x) == hash_rows(family, x.copy(), query=True)).all(), "a row misses itself"


def check_probe_law(case: FamilyCase) -> None:
    """The law of probes given the query: observed rates are in its 99.9 % interval, for all pairs."""
    for kind in laws.PAIRS:
        laws.check_probe_law(case.make, case.prepare, kind)


def _law_check(kind: str, what: str, check: Callable[..., None]) -> Callable[[FamilyCase], None]:
    def run(case: FamilyCase) -> None:
        check(case.make, case.prepare, kind)

    pairs = f"{kind.replace('_', '-')} pairs"
    run.__doc__ = f"The law of {what} on {pairs}: observed rates are in its 99.9 % interval."
    return run


_one_hash = functools.partial(laws.check_law, whole_code=False)
_whole_code = functools.partial(laws.check_law, whole_code=True)
#: Every check by name.
CHECKS: dict[str, Callable[[FamilyCase], None]] = {
    "determinism": check_determinism,
    "codes": check_codes,
    "rows_unchanged": check_rows_unchanged,
    "dense_equals_csr": check_dense_equals_csr,
    "native_equals_reference": check_native_equals_reference,
    "blocks_and_threads": check_blocks_and_threads,
    "edge_rows": check_edge_rows,
    "spec_round_trip": check_spec_round_trip,
    "seeds": check_seeds,
    "probing": check_probing,
    "law_values": check_law_values,
    "law_probes": check_probe_law,
    **{f"law_one_hash[{kind}]": _law_check(kind, "one hash", _one_hash) for kind in laws.PAIRS},
    **{f"law_code[{kind}]": _law_check(kind, "a whole code", _whole_code) for kind in laws.PAIRS},
}


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


def _shapes(case: FamilyCase) -> Iterator[tuple[HashFamily, Float32]]:
    for dim, n_hashes, n_tables in SHAPES:
        k = laws.hashes_that_fit(case.make, n_hashes)
        yield case.make(dim=dim, n_hashes=k, n_tables=n_tables, seed=11), case.rows(75, dim)


def _similarities(family: HashFamily, rows: Any) -> None:
    # Not every family has a similarity.
    with suppress(UnsupportedError):
        family.similarity_of(rows, rows)


def _law_claimed(law: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return law(*arguments)
    except UnsupportedError as error:
        raise SkipTest(str(error)) from None


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
