"""Calls of hash families: whatever a plugin does, validated codes or an error that names it."""

from pathlib import Path

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.hashing import hash_rows, kernel_struct, pair_probabilities, probe_rows, reseeded
from lshsample.plugin import FamilySpec, HashFamily, NativeKernel
from lshsample.registry import make_family


class Configurable(HashFamily):
    """Returns what its test sets."""

    similarity = "cosine"
    answer = staticmethod(lambda rows, n_tables: np.zeros((rows.shape[0], n_tables), np.uint32))
    kernel = None

    def hash(self, x):
        return self.answer(x, self.n_tables)

    def native(self):
        return self.kernel

    def collision_probability(self, similarity):
        return np.asarray(similarity)


def family_with(answer=None, kernel=None):
    family = Configurable(FamilySpec(dim=5, n_hashes=3, n_tables=2))
    if answer:
        family.answer = answer
    family.kernel = kernel
    return family


X = np.ones((4, 5), np.float32)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda x, n: [[0, 0]] * 4, "returned list, expected an array of dtype uint32"),
        (lambda x, n: np.zeros((4, n), np.int64), "dtype int64, expected an array of dtype uint32"),
        (lambda x, n: np.zeros((4, n + 1), np.uint32), r"shape \(4, 3\), expected \(4, 2\)"),
        (lambda x, n: np.zeros(4, np.uint32), r"shape \(4,\), expected \(4, 2\)"),
        (lambda x, n: np.full((4, n), 8, np.uint32), r"code 8, expected codes below 2\*\*3"),
        (lambda x, n: 1 // 0, "raised ZeroDivisionError"),
    ],
)
def test_bad_python_families_are_named(answer, problem):
    with pytest.raises(PluginError, match=problem) as error:
        hash_rows(family_with(answer), X)
    assert "Configurable.hash" in str(error.value)


def good_kernel(**changes):
    simhash = make_family("simhash", dim=5, n_hashes=3, n_tables=2)
    return attrs.evolve(simhash.native(), **changes)


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (object(), "returned object, expected a NativeKernel or None"),
        (good_kernel(abi_version=99), "version 99 of lshsample/family.h; this lshsample has version 1"),
        (good_kernel(hash=0), "NativeKernel.hash is 0"),
        (good_kernel(hash="f"), "NativeKernel.hash is 'f', expected an integer"),
        (good_kernel(hash=-1), "NativeKernel.hash is -1"),
        (good_kernel(scratch_bytes=-64), "NativeKernel.scratch_bytes is -64"),
        (good_kernel(state=1.5), "NativeKernel.state is 1.5"),
    ],
)
def test_bad_kernels_are_named(kernel, problem):
    with pytest.raises(PluginError, match=problem) as error:
        hash_rows(family_with(kernel=kernel), X)
    assert "Configurable.native" in str(error.value)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system has no list of mapped memory")
@pytest.mark.parametrize("name", ["hash", "probe"])
def test_addresses_outside_of_executable_memory_are_never_called(name):
    good = good_kernel()
    for address in (good.state, good.hash & 0xFFFF, 2**62):
        with pytest.raises(
            PluginError, match=rf"native: NativeKernel.{name} is 0x.*, which is not in executable memory"
        ):
            hash_rows(family_with(kernel=attrs.evolve(good, **{name: address})), X)


HASH_SIGNATURE = (
    "int32_t(void *, int64_t, int64_t, float *, int64_t, int64_t *, int32_t *, uint32_t *, void *)"
)


def test_codes_of_a_kernel_are_range_checked():
    ffi = core.ffi

    @ffi.callback(HASH_SIGNATURE)
    def too_large(state, n, dim, values, stride, indptr, indices, codes, scratch):
        codes[n * 2 - 1] = 8
        return 0

    kernel = NativeKernel(
        hash=int(ffi.cast("intptr_t", too_large)), state=0, abi_version=1, keepalive=too_large
    )
    with pytest.raises(PluginError, match=r"Configurable: the native kernel returned a code beyond 3 bits"):
        hash_rows(family_with(kernel=kernel), X, threads=1)


def test_a_failing_kernel_is_named():
    ffi = core.ffi

    @ffi.callback(HASH_SIGNATURE)
    def failing(*_):
        return 7

    kernel = NativeKernel(hash=int(ffi.cast("intptr_t", failing)), state=0, abi_version=1, keepalive=failing)
    with pytest.raises(PluginError, match=r"Configurable: the native kernel: a plugin's kernel failed"):
        hash_rows(family_with(kernel=kernel), X, threads=1)


def test_scratch_is_aligned_and_blocks_cover_the_rows():
    ffi, calls = core.ffi, []

    @ffi.callback(HASH_SIGNATURE)
    def noting(state, n, dim, values, stride, indptr, indices, codes, scratch):
        calls.append((int(ffi.cast("intptr_t", scratch)) % 64, n, values[0], stride))
        for i in range(n * 2):
            codes[i] = int(values[i // 2 * stride]) % 8
        return 0

    kernel = NativeKernel(
        hash=int(ffi.cast("intptr_t", noting)), state=0, abi_version=1, scratch_bytes=100, keepalive=noting
    )
    x = np.arange(130 * 5, dtype=np.float32).reshape(130, 5)
    codes = hash_rows(family_with(kernel=kernel), x, threads=1)
    assert calls == [(0, 64, 0.0, 5), (0, 64, 320.0, 5), (0, 2, 640.0, 5)]
    assert (codes == (x[:, :1].astype(np.uint32) % 8)).all()


@pytest.mark.parametrize(
    ("rows", "argument"),
    [
        (np.full((2, 5), np.nan), "x"),
        (np.ones((2, 6)), "x"),
        (np.ones(5), "x"),
        (np.array([["a"] * 5]), "x"),
        (sp.csr_array(np.full((2, 5), np.inf)), "x"),
        (sp.csr_array(np.ones((2, 6))), "x"),
    ],
)
def test_bad_rows_are_refused_before_the_family_sees_them(rows, argument):
    def never(x, n):
        raise AssertionError("called")

    with pytest.raises(ArgumentError, match=f"^{argument} must be "):
        hash_rows(family_with(never), rows)
    with pytest.raises(ArgumentError, match=r"^queries must be "):
        hash_rows(family_with(never), rows, query=True)
    # The family's own methods refuse them too, whoever calls.
    with pytest.raises(ArgumentError, match=f"^{argument} must be "):
        family_with(never).hash(rows)
    family = make_family("multiprobe", dim=5, n_hashes=3, n_tables=2)
    for call in (family.hash_query, lambda q: family.probe(q, 2)):
        with pytest.raises(ArgumentError, match=r"^queries must be "):
            call(rows)


@pytest.mark.parametrize("name", ["dwta", "icws", "minhash", "simhash", "wta"])
def test_a_familys_methods_accept_what_hash_rows_accepts(name):
    x = np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32)
    family = make_family(name, dim=16, n_hashes=2, n_tables=3)
    for rows in (x.astype(np.float64), x.tolist(), sp.coo_array(x), sp.csc_matrix(x.astype(np.float64))):
        assert (family.hash(rows) == hash_rows(family, x)).all()


@pytest.mark.parametrize("row", [0, 63, 64, 200])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_kernels_never_see_values_that_are_not_finite(row, bad):
    family = make_family("simhash", dim=5, n_hashes=3, n_tables=2)
    x = np.full((201, 5), 3e38, np.float32)
    hash_rows(family, x)
    x[row, 3] = bad
    with pytest.raises(ArgumentError, match=rf"^x must be finite .* \(got .* at \({row}, 3\)\)"):
        hash_rows(family, x, threads=1)
    with pytest.raises(ArgumentError, match=r"^queries must be finite .* \(got .*\)"):
        hash_rows(family, sp.csr_array(x), query=True)


def test_an_error_about_refused_rows_names_the_family():
    def refusing(x, n):
        raise ArgumentError("x", "rows of norm 2", "unit rows")

    with pytest.raises(
        ArgumentError, match=r"Configurable\.hash: x must be unit rows \(got rows of norm 2\)$"
    ):
        hash_rows(family_with(refusing), X)


def test_probing_needs_a_family_that_can():
    with pytest.raises(UnsupportedError, match=r"Configurable cannot probe"):
        probe_rows(family_with(), X, 2)
    assert probe_rows(family_with(), X, 1).shape == (4, 2, 1)


@pytest.mark.parametrize("n_probes", [0, -1, 2.0, True, 9, 10**6])
def test_bad_numbers_of_probes(n_probes):
    with pytest.raises(ArgumentError, match="n_probes"):
        probe_rows(make_family("simhash", dim=5, n_hashes=3, n_tables=2), X, n_probes)


def test_every_bucket_can_be_probed():
    codes = probe_rows(make_family("simhash", dim=5, n_hashes=3, n_tables=2), X, 8)
    assert (np.sort(codes, axis=2) == np.arange(8)).all()


def test_kernel_struct_keeps_the_plugin_alive():
    family = make_family("simhash", dim=5, n_hashes=3, n_tables=2)
    struct = kernel_struct(family)
    expected = hash_rows(family, X)
    del family
    codes = np.empty((4, 2), np.uint32)
    status = core.lib.lsh_hash_dense(
        struct.pointer, core.dense_view(X), 0, 1, core.pointer("uint32_t *", codes)
    )
    assert status == core.lib.LSH_OK
    assert (codes == expected).all()


def test_the_core_checks_sizes_itself():
    struct = kernel_struct(make_family("simhash", dim=5, n_hashes=3, n_tables=2))
    codes = np.empty((4, 2), np.uint32)
    out, view, lib = core.pointer("uint32_t *", codes), core.dense_view(X), core.lib
    assert lib.lsh_hash_dense(core.ffi.NULL, view, 0, 1, out) == lib.LSH_INVALID
    assert lib.lsh_hash_dense(struct.pointer, view, 0, 0, out) == lib.LSH_INVALID
    assert lib.lsh_hash_dense(struct.pointer, view, 0, 1, core.ffi.NULL) == lib.LSH_INVALID
    assert lib.lsh_hash_dense(struct.pointer, core.dense_view(X[:, :4]), 0, 1, out) == lib.LSH_INVALID
    struct.pointer.abi_version = 2
    assert lib.lsh_hash_dense(struct.pointer, view, 0, 1, out) == lib.LSH_BAD_ABI
    struct.pointer.abi_version, struct.pointer.code_bits = 1, 33
    assert lib.lsh_hash_dense(struct.pointer, view, 0, 1, out) == lib.LSH_INVALID


LAWS = [
    (lambda n: 1 // 0, "raised ZeroDivisionError"),
    (lambda n: np.ones(n + 1), r"returned float64 \(5,\), expected an array of floats of shape \(4,\)"),
    (lambda n: np.ones(n, np.int64), "returned int64"),
    (lambda n: [1.0] * n, "returned list"),
    (lambda n: np.full(n, np.nan), "returned values from nan to nan, expected probabilities from 0 to 1"),
    (lambda n: np.full(n, 1.5), "returned values from 1.5 to 1.5"),
    (lambda n: np.full(n, -0.5), "returned values from -0.5 to -0.5"),
]


@pytest.mark.parametrize(("answer", "problem"), LAWS)
def test_bad_laws_are_named(answer, problem):
    bad = {
        "pair_code_probability": lambda self, q, x: answer(len(x)),
        "probe_probability": lambda self, q, x, n_probes: answer(len(x)),
    }
    family = type("Improbable", (Configurable,), bad)(FamilySpec(dim=5, n_hashes=3, n_tables=2))
    with pytest.raises(PluginError, match=rf"Improbable.pair_code_probability:? {problem}"):
        pair_probabilities(family, X, X)
    with pytest.raises(PluginError, match=r"Improbable.probe_probability:? (raised|returned)"):
        pair_probabilities(family, X[:1], X, 3)


def test_laws_of_float32_and_none_at_all():
    family = make_family("simhash", dim=5, n_hashes=3, n_tables=2)
    assert (pair_probabilities(family, X, X) == family.pair_code_probability(X, X)).all()
    assert pair_probabilities(family, X[:1], X, 3).shape == (4, 2)
    single = {"pair_code_probability": lambda self, q, x: np.ones(len(x), np.float32)}
    family = type("Single", (Configurable,), single)(FamilySpec(dim=5, n_hashes=3, n_tables=2))
    assert pair_probabilities(family, X, X).dtype == np.float64
    with pytest.raises(UnsupportedError, match="the probability that probes find a row is not known"):
        pair_probabilities(family, X[:1], X, 3)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda family, seed: 1 // 0, "raised ZeroDivisionError"),
        (lambda family, seed: None, "returned None, expected the same class"),
        (lambda family, seed: family, "and seed 7"),
    ],
)
def test_bad_seeds_are_named(made, problem):
    family = type("Unseeded", (Configurable,), {"with_seed": made})(FamilySpec(dim=5, n_tables=2))
    with pytest.raises(PluginError, match=f"Unseeded.with_seed:? .*{problem}"):
        reseeded(family, 7)
    assert reseeded(make_family("simhash", dim=5), 7).seed == 7


@pytest.mark.parametrize("bits", [0, -3, 2.5, "2", None])
def test_bad_numbers_of_bits_are_named(bits):
    class Wide(Configurable):
        bits_per_hash = bits

    with pytest.raises(PluginError, match=r"Wide\.bits_per_hash is .*, expected a positive integer"):
        Wide(FamilySpec(dim=5, n_hashes=3, n_tables=2))


def test_what_is_no_spec_is_refused():
    with pytest.raises(ArgumentError, match=r"spec must be a FamilySpec \(got \{'dim': 5\}\)"):
        Configurable({"dim": 5})
