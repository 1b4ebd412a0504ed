"""The base class of wrappers: every claim is the inner family's until a subclass changes it."""

import pickle

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, Retrieve, Uniform
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.hashing import hash_rows, probe_rows
from lshsample.plugin import FamilySpec, HashFamily, WrapperFamily, family_option, number
from lshsample.registry import make_family
from lshsample.testing import FamilyCase, check_family

DIM = 12
SHAPE = {"dim": DIM, "n_hashes": 4, "n_tables": 6, "seed": 3}


@attrs.frozen(kw_only=True)
class PlainSpec(FamilySpec):
    """A family inside, and nothing else."""

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field


class Plain(WrapperFamily):
    """Changes nothing."""

    Spec = PlainSpec


@attrs.frozen(kw_only=True)
class CentredSpec(FamilySpec):
    """A centre of the rows."""

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    centre: float = attrs.field(default=0.25, validator=number(-1e6, 1e6))


class Centred(WrapperFamily):
    """Rows relative to a centre."""

    Spec = CentredSpec

    def transform(self, x):
        dense = x if isinstance(x, np.ndarray) else x.toarray()
        return (dense - np.float32(self.spec.centre)).astype(np.float32)


def rows(n=300, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


INNER = {
    "simhash": "simhash",
    "independent": "simhash:projection=gaussian",
    "approximate": "simhash:projection=sparse",
    "distances": "e2lsh:width=2.0,bits=3",
    "probing": "multiprobe:probes=3",
    "norms": "sign-alsh:bound=9.0",
    "ranks": "dwta",
    "sets": "minhash:method=doph",
    "learned": "learned-simhash",
}
CLAIMS = ("similarity", "independent_hashes", "independent_tables", "exact_law", "law_of_norms")
CLAIMS += ("default_probes", "bits_per_hash", "code_bits", "can_probe", "calls_named_functions")


def test_every_attribute_that_a_family_declares_is_checked_here():
    declared = {n for n, value in vars(HashFamily).items() if isinstance(value, (bool, int)) and n[0] != "_"}
    assert declared | {"similarity"} <= {*CLAIMS, "code_bits", "default_tables"}, (
        "a default is that of a class, which has no inner family"
    )


@pytest.mark.parametrize("text", INNER.values(), ids=INNER)
def test_every_claim_is_the_inner_familys(text):
    inner, x, q = make_family(text, **SHAPE), rows(), rows(20, seed=1)
    family = Plain(inner)
    assert family.inner == inner
    for name in CLAIMS:
        assert getattr(family, name) == getattr(inner, name), name
    assert (hash_rows(family, x) == hash_rows(inner, x)).all()
    assert (family.hash(x) == inner.hash(x)).all()
    assert (hash_rows(family, q, query=True) == hash_rows(inner, q, query=True)).all()
    for method in ("native", "native_query"):
        ours, theirs = getattr(family, method)(), getattr(inner, method)()
        assert (ours is None) == (theirs is None)
        assert ours is None or ours.hash == theirs.hash
    if inner.can_probe:
        assert (probe_rows(family, q, 3) == probe_rows(inner, q, 3)).all()
        assert (family.probe(q, 3) == inner.probe(q, 3)).all()
    if inner.similarity != "learned":
        s, norms = inner.similarity_of(q, x[:20]), np.linalg.norm(x[:20], axis=1)
        assert (family.similarity_of(q, x[:20]) == s).all()
        given = (s, norms) if inner.law_of_norms else (s,)
        for law in ("collision_probability", "code_probability"):
            assert (getattr(family, law)(*given) == getattr(inner, law)(*given)).all()
        for law in ("pair_probability", "pair_code_probability"):
            assert (getattr(family, law)(q, x[:20]) == getattr(inner, law)(q, x[:20])).all()
    assert family.with_seed(8).inner == inner.with_seed(8)
    assert family.prepare(x) is family or family.prepare(x).inner == inner.prepare(x)


def test_laws_of_probes_and_what_the_inner_family_refuses():
    x = rows()
    inner = make_family("simhash:projection=gaussian", **SHAPE)
    expected = inner.probe_probability(x[:1], x, 3)
    assert (Plain(inner).probe_probability(x[:1], x, 3) == expected).all()
    with pytest.raises(UnsupportedError, match="MinHash cannot probe"):
        Plain(make_family("minhash", **SHAPE)).probe(x, 2)
    learned = make_family("learned-simhash", **SHAPE)
    fitted = learned.fit(x, sp.eye_array(len(x), format="csr"), x, epochs=1)
    with pytest.raises(UnsupportedError, match="not drawn by a seed"):
        Plain(fitted).with_seed(9)
    with pytest.raises(UnsupportedError, match="not drawn by a seed"):
        make_family("multiprobe", **SHAPE, inner=fitted).with_seed(9)
    with pytest.raises(UnsupportedError, match="have no collision probability"):
        Plain(fitted).collision_probability(0.5)


def test_a_wrapper_follows_what_its_family_learns():
    x = rows()
    family = Plain(make_family("itq", **SHAPE)).prepare(x)
    assert family.inner.is_fitted
    assert family.prepare(x) is family
    assert not family.with_seed(9).inner.is_fitted
    tables = HashTables(Plain(make_family("itq", **SHAPE)), threads=1).build(x)
    assert (tables.query(x[:1]).ids == 0).any()


def test_transformed_rows_are_hashed_and_have_their_law():
    x, q = rows(3000), rows(20, seed=1)
    family = Centred(make_family("simhash:projection=gaussian", **SHAPE), centre=0.5)
    inner = family.inner
    assert (family.hash(x) == inner.hash(x - np.float32(0.5))).all(), "more rows than one block"
    assert (family.hash_query(q) == inner.hash(q - np.float32(0.5))).all()
    assert (family.probe(q, 4) == inner.probe(q - np.float32(0.5), 4)).all()
    assert family.native() is None, "the inner family's kernel would hash the rows as they are given"
    assert family.native_query() is None
    centred = (q - np.float32(0.5), x[:20] - np.float32(0.5))
    assert (family.similarity_of(q, x[:20]) == inner.similarity_of(*centred)).all()
    assert (family.pair_code_probability(q, x[:20]) == inner.pair_code_probability(*centred)).all()
    tables = HashTables(family, threads=1).build(x)
    active = (Retrieve(tables) | Uniform(5)).bind(n_items=3000).sample(q, seed=1)
    assert len(active.ids)


@pytest.mark.parametrize("method", ["hash", "hash_query", "probe"])
def test_a_wrapper_that_hashes_otherwise_has_no_kernel_by_mistake(method):
    overriding = type(
        "Other", (Plain,), {method: lambda self, q, *given: getattr(self.inner, method)(q, *given)}
    )
    family = overriding(make_family("simhash", **SHAPE))
    assert (family.native() is None) == (method == "hash")
    assert (family.native_query() is None) == (method != "hash")


def test_claims_can_be_changed_by_class_and_by_instance():
    class Careful(Plain):
        exact_law = False

        def __init__(self, spec, **options):
            super().__init__(spec, **options)
            self.default_probes = 2

    family = Careful(make_family("simhash:projection=gaussian", **SHAPE))
    assert (family.exact_law, family.default_probes, family.independent_tables) == (False, 2, True)
    assert Plain.similarity == "that of the inner family"


def test_the_conformance_kit_passes_over_a_transformed_family():
    case = FamilyCase(lambda **shape: Centred(CentredSpec(**shape, centre=0.125)))
    outcomes = check_family(case)
    assert outcomes["law_one_hash[rotated]"] == "passed"


def test_specs_travel_and_bad_ones_are_refused():
    family = Centred(make_family("e2lsh:width=2.0", **SHAPE))
    assert pickle.loads(pickle.dumps(family)) == family
    assert family.spec.inner.dim == DIM
    with pytest.raises(
        ArgumentError, match=r"options must be left out: the spec has the options \(got centre\)"
    ):
        Centred(family.spec, centre=1.0)
    with pytest.raises(ArgumentError, match=r"spec must be a CentredSpec \(got .*\)"):
        Centred(PlainSpec(dim=3))
    with pytest.raises(ArgumentError, match=r"spec must be a CentredSpec \(got 'simhash'\)"):
        Centred("simhash")
