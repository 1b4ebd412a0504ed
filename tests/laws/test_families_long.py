"""The laws of the built-in families with 200,000 codes per pair; takes minutes, needs LSHSAMPLE_LONG=1."""

import base64
import functools
import os
from unittest import SkipTest

import numpy as np
import pytest
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample.registry import make_family
from lshsample.testing import law_checks as laws

LONG = pytest.mark.skipif(
    os.environ.get("LSHSAMPLE_LONG") != "1", reason="long: set LSHSAMPLE_LONG=1 (see CONTRIBUTING.md)"
)

#: Largest norm in the cases of the wrappers for inner products.
BOUND = 4.0


def inside(name, **options):
    """Options of a wrapper around a family."""
    return {"inner": {"family": name, **options}}


#: A mean as the spec of a centered family stores it.
MEAN = base64.b64encode(np.linspace(-0.5, 0.5, laws.DIM).astype("<f4").tobytes()).decode()

#: Families and wrappers whose laws are exact for all kinds of pairs.
CASES = {
    "centered": ("centered", {"mean": MEAN}),
    "centered-exact": ("centered", {"mean": MEAN, "exact": True, **inside("simple-lsh", bound=2 * BOUND)}),
    "cross-polytope": ("cross-polytope", {}),
    "cross-polytope-64": ("cross-polytope", {"dimension": 64}),
    "cross-polytope-gaussian": ("cross-polytope", {"projection": "gaussian"}),
    "dwta": ("dwta", {}),
    "dwta-pairs": ("dwta", {"window": 2}),
    "e2lsh": ("e2lsh", {}),
    "e2lsh-gaussian": ("e2lsh", {"projection": "gaussian"}),
    "e2lsh-wide": ("e2lsh", {"width": 50.0, "bits": 8}),
    "icws": ("icws", {}),
    "l2-alsh": ("l2-alsh", {"bound": BOUND}),
    "minhash": ("minhash", {}),
    "minhash-doph": ("minhash", {"method": "doph"}),
    "minhash-one-bit": ("minhash", {"bits": 1}),
    "minhash-threshold": ("minhash", {"sets": "threshold", "threshold": 0.3}),
    "minhash-top": ("minhash", {"sets": "top", "set_size": 5}),
    "multiprobe": ("multiprobe", inside("simhash")),
    "multiprobe-e2lsh": ("multiprobe", inside("e2lsh")),
    "norm-ranging": ("norm-ranging", {"edges": (0.5, 1.0, 2.0, BOUND)}),
    "norm-ranging-e2lsh": ("norm-ranging", {"edges": (1.0, BOUND), **inside("e2lsh", width=1.0)}),
    "sign-alsh": ("sign-alsh", {"bound": BOUND}),
    "sign-alsh-cross-polytope": ("sign-alsh", {"bound": BOUND, **inside("cross-polytope")}),
    "simhash-gaussian": ("simhash", {"projection": "gaussian"}),
    "simhash-hadamard": ("simhash", {}),
    "simple-lsh": ("simple-lsh", {"bound": BOUND}),
    "simple-lsh-cross-polytope": ("simple-lsh", {"bound": BOUND, **inside("cross-polytope")}),
    "simple-lsh-e2lsh": ("simple-lsh", {"bound": BOUND, **inside("e2lsh", width=1.0)}),
    "wta": ("wta", {}),
    "wta-pairs": ("wta", {"window": 2}),
}
#: The law of a custom function is stated by its author; learned families have none.
WITHOUT = {"function", "itq", "learned-simhash", "product-quantization"}
CODES = 200_000


def test_every_family_with_a_law_has_a_case():
    assert {name for name, _ in CASES.values()} == set(builtin_families()) - WITHOUT


def in_domain(case):
    """A function that maps rows into the domain in which the law of a case holds."""
    if case in ("e2lsh", "e2lsh-gaussian", "e2lsh-wide", "multiprobe-e2lsh"):
        # Margins are float32: hashes of rows of 10^7 widths depend on rounding errors.
        return lambda rows: np.clip(rows, -1e3, 1e3)
    if CASES[case][0] not in ("l2-alsh", "norm-ranging", "sign-alsh", "simple-lsh") and "exact" not in case:
        return lambda rows: rows

    def bounded(rows):
        norms = np.maximum(np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True), 1e-300)
        return (rows * np.minimum(1, BOUND * (1 - 1e-6) / norms)).astype(np.float32)

    return bounded


@LONG
@pytest.mark.parametrize("kind", laws.PAIRS)
@pytest.mark.parametrize("case", CASES)
def test_law(case, kind, monkeypatch):
    """One hash and a whole code, from the same draws."""
    monkeypatch.setattr(laws, "N_SEEDS", CODES // laws.N_TABLES)
    drawn, observe = {}, laws.observed_rates

    def observed_once(make, x, q, seeds, n_hashes):
        key = x.tobytes(), q.tobytes(), seeds
        if key not in drawn:
            drawn[key] = observe(make, x, q, seeds, n_hashes)
        return drawn[key]

    monkeypatch.setattr(laws, "observed_rates", observed_once)
    name, options = CASES[case]
    try:
        for whole_code in (False, True):
            laws.check_law(functools.partial(make_family, name, **options), in_domain(case), kind, whole_code)
    except SkipTest as reason:
        pytest.skip(str(reason))
