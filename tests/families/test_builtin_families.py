"""The built-in families under the conformance kit."""

import functools

import numpy as np
import pytest
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample.registry import make_family
from lshsample.testing import FamilyCase, family_checks

FEW_ENTRIES = (
    "a sparse direction meets a handful of a row's large entries, or none: its margin is not nearly normal"
)
FAILURES_OF_SPARSE = {
    f"law_{what}[{kind}]": FEW_ENTRIES
    for what in ("one_hash", "code")
    for kind in ("very_sparse", "heavy_tailed")
}
#: Every built-in family and projection, with the failures that its page states.
CASES = {
    "centered": ("centered", {}, {}),
    "dwta": ("dwta", {}, {}),
    "dwta-pairs": ("dwta", {"window": 2}, {}),
    "cross-polytope": ("cross-polytope", {}, {}),
    "cross-polytope-gaussian": ("cross-polytope", {"projection": "gaussian", "dimension": 2}, {}),
    "e2lsh-gaussian": ("e2lsh", {"projection": "gaussian"}, {}),
    "e2lsh-hadamard": ("e2lsh", {"bits": 8}, {}),
    "e2lsh-sparse": ("e2lsh", {"projection": "sparse"}, FAILURES_OF_SPARSE),
    "icws": ("icws", {}, {}),
    "itq": ("itq", {}, {"seeds": "another seed forgets what was learned, until the next build learns again"}),
    "l2-alsh": ("l2-alsh", {"bound": 4.0}, {}),
    "learned-simhash": ("learned-simhash", {}, {}),
    "minhash": ("minhash", {}, {}),
    "minhash-doph": ("minhash", {"method": "doph"}, {}),
    "minhash-threshold": ("minhash", {"method": "doph", "sets": "threshold", "threshold": 0.3}, {}),
    "minhash-top": ("minhash", {"sets": "top", "set_size": 5, "bits": 1}, {}),
    "multiprobe": ("multiprobe", {"probes": 2, "inner": {"family": "simhash", "projection": "gaussian"}}, {}),
    "norm-ranging": ("norm-ranging", {"edges": (0.5, 1.0, 2.0, 4.0)}, {}),
    "product-quantization": (
        "product-quantization",
        {"bits": 3},
        {"seeds": "another seed forgets what was learned, until the next build learns again"},
    ),
    "sign-alsh": ("sign-alsh", {"bound": 4.0}, {}),
    "simple-lsh": ("simple-lsh", {"bound": 4.0}, {}),
    "simhash-gaussian": ("simhash", {"projection": "gaussian"}, {}),
    "simhash-hadamard": ("simhash", {"projection": "hadamard"}, {}),
    "simhash-sparse": ("simhash", {"projection": "sparse"}, FAILURES_OF_SPARSE),
    "wta": ("wta", {}, {}),
    "wta-pairs": ("wta", {"window": 2}, {}),
}


#: Norms are at most this in the cases of the wrappers for inner products.
BOUND = 4.0


def bounded(rows):
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows * np.minimum(1, BOUND / np.maximum(norms, 1e-300) * (1 - 1e-6))).astype(np.float32)


#: How a case's rows are brought into its domain.
PREPARE = {name: bounded for name in CASES if "alsh" in name or "simple" in name or "norm-ranging" in name}


def maker(name, options):
    """Makes a case's families; those that learn from rows have codes only once they were fitted."""
    if name not in ("centered", "itq", "product-quantization"):
        return functools.partial(make_family, name, **options)
    return functools.cache(
        lambda **shape: make_family(name, **options, **shape).fit(
            np.random.default_rng(0).standard_normal((90, shape["dim"])).astype(np.float32)
        )
    )


def test_every_installed_family_has_a_case():
    # `function` is made with a function only; test_function.py tests it.
    assert {name for name, _, _ in CASES.values()} == set(builtin_families()) - {"function"}


def pytest_generate_tests(metafunc):
    if "check" in metafunc.fixturenames:
        metafunc.parametrize(
            ("case", "check"),
            [
                pytest.param(case, *param.values, id=f"{label}-{param.id}", marks=param.marks)
                for label, (name, options, failures) in CASES.items()
                for case in [FamilyCase(maker(name, options), PREPARE.get(label, lambda rows: rows))]
                for param in family_checks(failures)
            ],
        )


def test_conformance(case, check):
    check(case)


@pytest.mark.parametrize("name", ["cross-polytope", "dwta", "e2lsh", "icws", "minhash", "simhash", "wta"])
def test_no_similarity_has_no_probability(name):
    """NaN in, NaN out, among numbers that stay as they are."""
    family = make_family(name, dim=16, n_hashes=2, n_tables=2)
    law = family.collision_probability([0.5, np.nan, 1.0])
    assert np.isnan(law).tolist() == [False, True, False]
    assert law[2] == family.collision_probability(1.0)
