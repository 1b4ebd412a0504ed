"""Every wrapper over every family: it works, or says why not."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample import HashTables
from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows
from lshsample.registry import family_from_json, family_to_json, make_family

WRAPPERS = ("centered", "l2-alsh", "multiprobe", "norm-ranging", "sign-alsh", "simple-lsh")
#: What may stand inside each; everything else must be refused, with a reason.
FITS = {
    "centered": {"simhash", "cross-polytope", "e2lsh", *WRAPPERS},
    "l2-alsh": {"e2lsh"},
    "multiprobe": {
        "simhash",
        "learned-simhash",
        "cross-polytope",
        "dwta",
        "e2lsh",
        "wta",
        "product-quantization",
        *WRAPPERS,
    }
    - {"multiprobe"},
    "norm-ranging": {"simhash", "cross-polytope", "e2lsh", "multiprobe"},
    "sign-alsh": {"simhash", "cross-polytope", "multiprobe"},
    "simple-lsh": {"simhash", "cross-polytope", "e2lsh", "multiprobe"},
}
DIM = 20
PAIRS = list(itertools.product(WRAPPERS, sorted(set(builtin_families()) - {"function"})))


def rows():
    return np.random.default_rng(0).standard_normal((120, DIM)).astype(np.float32)


def test_every_wrapper_is_here():
    wrapping = {name for name, cls in builtin_families().items() if hasattr(cls.Spec, "inner")}
    assert wrapping == set(WRAPPERS)


@pytest.mark.parametrize(("wrapper", "inner"), PAIRS)
def test_it_fits_or_is_refused_with_the_reason(wrapper, inner):
    options = {"dim": DIM, "n_hashes": 2, "n_tables": 5, "seed": 3, "inner": {"family": inner}}
    if inner not in FITS[wrapper]:
        with pytest.raises(ArgumentError, match=r"^inner must be a family (of|that) .* \(got \w+, .*\)$"):
            make_family(wrapper, **options)
        return
    x = rows()
    tables = HashTables(make_family(wrapper, **options), threads=1).build(x)
    family = tables.family
    reference, csr = family.hash(x), core.csr_rows(sp.csr_array(x), "x")
    for given in (x, x.astype(np.float64), csr):
        assert (hash_rows(family, given, threads=2) == reference).all()
    assert (hash_rows(family, csr, query=True) == family.hash_query(x)).all()
    assert family_from_json(family_to_json(family)) == family
    if inner not in ("learned-simhash", "product-quantization"):  # which have no law
        p = family.pair_probability(x[:9], x[9:18])
        assert ((p >= 0) & (p <= 1)).all()
    found = tables.query(x[:4])
    assert len(found.ids)
