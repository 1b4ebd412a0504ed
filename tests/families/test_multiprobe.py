"""Multi-probe as a property of a family: where its number holds, what it wraps and what it refuses."""

import numpy as np
import pytest
from lshsample_families import MultiProbe, SimHash, SimpleLSH

from lshsample import HashTables, Retrieve, Uniform
from lshsample.errors import ArgumentError
from lshsample.hashing import probe_rows
from lshsample.registry import family_from_dict, family_to_dict, make_family

SHAPE = {"dim": 12, "n_hashes": 6, "n_tables": 5}


def rows(n=300, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 12)).astype(np.float32)


def test_its_probes_hold_where_no_number_is_given():
    family = MultiProbe(make_family("simhash", **SHAPE), probes=3)
    x = rows()
    tables = HashTables(family).build(x)
    three = tables.query(x[:9], n_probes=3)
    assert (tables.query(x[:9]).ids == three.ids).all()
    assert len(tables.query(x[:9], n_probes=1).ids) < len(three.ids)

    def drawn(stage):
        return stage.bind(n_items=300, tables=tables).sample(x[:9]).ids

    assert (drawn(Retrieve() | Uniform(1)) == drawn(Retrieve(probes=3) | Uniform(1))).all()
    plain = HashTables(make_family("simhash", **SHAPE)).build(x)
    assert (plain.query(x[:9]).ids == plain.query(x[:9], n_probes=1).ids).all()
    assert str(Retrieve()) == "Retrieve()"


def test_wrappers_in_wrappers():
    family = MultiProbe(SimpleLSH(make_family("simhash", **SHAPE)), probes=4)
    assert family.similarity == "inner_product"
    data = family_to_dict(family)
    assert data["inner"]["inner"]["family"] == "simhash"
    assert family_from_dict(data) == family
    tables = HashTables(family).build(rows())
    assert tables.family.inner.spec.bound == tables.family.prepare(rows()).inner.spec.bound
    turned = SimpleLSH(MultiProbe(make_family("simhash", **SHAPE), probes=4)).prepare(rows())
    assert turned.default_probes == 4
    assert (probe_rows(turned, rows(5), 4) == probe_rows(tables.family, rows(5), 4)).all()
    grown = tables.rebuild(rows() * 2).family
    assert grown.inner.spec.bound > family.prepare(rows()).inner.spec.bound
    active = (Retrieve(tables) | Uniform(5)).bind(n_items=300).sample(rows(3), law="marginal")
    assert not active.is_biased


def test_what_does_not_fit():
    with pytest.raises(ArgumentError, match=r"inner must be .* \(got MultiProbe, whose probes are set"):
        MultiProbe(MultiProbe(make_family("simhash", **SHAPE)))
    with pytest.raises(ArgumentError, match=r"probes must be at most the number of codes, 64 \(got 65\)"):
        MultiProbe(make_family("simhash", **SHAPE), probes=65)
    with pytest.raises(ArgumentError, match=r"probes must be .* \(got 0\)"):
        MultiProbe(make_family("simhash", **SHAPE), probes=0)

    class CannotProbe(SimHash):
        can_probe = False

    for inner in (CannotProbe(SimHash.Spec(**SHAPE)), SimpleLSH(CannotProbe(SimHash.Spec(**SHAPE)))):
        with pytest.raises(ArgumentError, match=r"inner must be .* \(got \w+, which cannot probe\)"):
            MultiProbe(inner)
