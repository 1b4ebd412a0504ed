"""Shared by tests of probabilities: data, families, pipelines, estimators and their true values."""

from __future__ import annotations

import os
from functools import cache

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample import hashing
from lshsample.estimates import (
    attention,
    horvitz_thompson,
    kernel_density,
    partition_function,
    self_normalised,
    sigmoid_gradient,
    softmax_gradient,
)
from lshsample.registry import make_family
from lshsample.sampling import ActiveSet, parse_pipeline
from lshsample.tables import HashTables

#: Whether to run more draws and all families, in minutes instead of seconds.
LONG = os.environ.get("LSHSAMPLE_LONG") == "1"
DIM = 12


@attrs.frozen(eq=False)
class Data:
    """Items, two queries, a value of each item, forced ids and targets; logits are scaled inner products."""

    items: np.ndarray
    queries: np.ndarray
    values: np.ndarray
    scale: float

    @property
    def n_items(self):
        return len(self.items)

    @property
    def include(self):
        return sp.csr_array((np.ones(2), ([0, 1], [3, 50])), shape=(2, self.n_items))

    @property
    def targets(self):
        return sp.csr_array((np.ones(2), ([0, 1], [5, 60])), shape=(2, self.n_items))


@cache
def data(n_items, mild=False):
    """Non-negative rows like those of hidden layers, with a third of the entries zero.

    Mild values vary less: intervals need more draws for heavier tails.
    """
    rng = np.random.default_rng(0)
    items = np.maximum(rng.standard_normal((n_items, DIM)) + 0.4, 0).astype(np.float32)
    items[np.arange(n_items), rng.integers(0, DIM, n_items)] += 0.5
    queries = (np.maximum(rng.standard_normal((2, DIM)) + 0.6, 0) + 0.1).astype(np.float32)
    values = np.exp(rng.standard_normal(n_items) / (2 if mild else 1))
    return Data(items, queries, values, 1 / 6 if mild else 1 / 3)


@attrs.frozen
class Case:
    """A family with options, and numbers of hashes.

    With ``few`` hashes every item of ``data(90)`` has a probability that 2,000 seeds can measure; with
    ``many`` the tables find some items of ``data(400)``, and most are left to draws.
    """

    family: str
    few: int
    many: int
    options: dict = attrs.field(factory=dict)

    def make(self, n_hashes=None, n_tables=6, dim=DIM, **options):
        shape = {"dim": dim, "n_hashes": n_hashes or self.few, "n_tables": n_tables, "seed": 0}
        return make_family(self.family, **shape, **{**self.options, **options})


_GAUSSIAN = {"projection": "gaussian"}
_SIGNS = {"inner": {"family": "simhash", **_GAUSSIAN}}
_LINES = {"inner": {"family": "e2lsh", "width": 4.0, **_GAUSSIAN}}

#: Families with a collision probability, some with several options.
CASES = {
    "centered": Case("centered", 4, 7, _SIGNS),
    "cross-polytope": Case("cross-polytope", 1, 3, {"dimension": 8, **_GAUSSIAN}),
    "cross-polytope-hadamard": Case("cross-polytope", 1, 3, {"dimension": 8}),
    "dwta": Case("dwta", 2, 5, {"window": 2}),
    "e2lsh": Case("e2lsh", 2, 3, {"width": 4.0, **_GAUSSIAN}),
    "e2lsh-hadamard": Case("e2lsh", 2, 3, {"width": 4.0}),
    "icws": Case("icws", 1, 2),
    "l2-alsh": Case("l2-alsh", 4, 6, {"inner": {"family": "e2lsh", "width": 2.5, **_GAUSSIAN}}),
    "minhash": Case("minhash", 2, 7, {"bits": 4}),
    "minhash-doph": Case("minhash", 2, 7, {"bits": 4, "method": "doph"}),
    "multiprobe": Case("multiprobe", 5, 9, {"probes": 2, **_SIGNS}),
    "multiprobe-e2lsh": Case("multiprobe", 3, 4, {"probes": 2, **_LINES}),
    "norm-ranging": Case("norm-ranging", 4, 7, _SIGNS),
    "sign-alsh": Case("sign-alsh", 4, 6, _SIGNS),
    "simhash": Case("simhash", 4, 7, _GAUSSIAN),
    "simhash-hadamard": Case("simhash", 4, 7),
    "simple-lsh": Case("simple-lsh", 4, 6, _SIGNS),
    "simple-lsh-cross-polytope": Case(
        "simple-lsh", 1, 2, {"inner": {"family": "cross-polytope", **_GAUSSIAN}}
    ),
    "wta": Case("wta", 2, 5, {"window": 2}),
}
#: The law of a custom function is stated by its author; learned families have none.
WITHOUT = {"function", "itq", "learned-simhash", "product-quantization"}

#: Families of the default suite, one of each kind: probes, sets, wrappers, tables that share random numbers.
SHORT = ["simhash", "simhash-hadamard", "minhash", "multiprobe", "simple-lsh"]
NAMES = list(CASES) if LONG else SHORT


@cache
def built(name, n_items=400):
    """Tables with ``many`` hashes."""
    family = CASES[name].make(CASES[name].many)
    return HashTables(family, threads=1).build(data(n_items).items)


@cache
def prepared(name):
    """The family with ``few`` hashes, prepared for the rows of ``data(90)``."""
    return HashTables(CASES[name].make(), threads=1).build(data(90).items).family


def tables_of(name, seed, **options):
    """Tables with ``few`` hashes over ``data(90)``."""
    return HashTables(prepared(name).with_seed(seed), threads=1, **options).build(data(90).items)


@cache
def drawn_tables(name, seeds):
    """Tables over many draws of the functions."""
    return [tables_of(name, seed) for seed in range(seeds)]


def chances(name):
    """Probability (2, 90) that the query's bucket in one table has the item."""
    given, family = data(90), prepared(name)
    return np.array(
        [family.pair_code_probability(np.repeat(q[None], 90, axis=0), given.items) for q in given.queries]
    )


def remember_laws(monkeypatch):
    """Compute laws once for each pair of rows: they are slow in Python, and do not depend on the seed."""
    known, compute = {}, hashing.pair_probabilities

    def pair_probabilities(family, q, x, n_probes=1):
        if n_probes != 1:
            return compute(family, q, x, n_probes)
        kind = type(family), attrs.evolve(family.spec, seed=0)
        keys = [(kind, a.tobytes(), b.tobytes()) for a, b in zip(q, x, strict=True)]
        missing = [i for i, key in enumerate(keys) if key not in known]
        if missing:
            known.update(
                zip([keys[i] for i in missing], compute(family, q[missing], x[missing]), strict=True)
            )
        return np.array([known[key] for key in keys])

    monkeypatch.setattr(hashing, "pair_probabilities", pair_probabilities)


pipeline_of = cache(parse_pipeline)


def sample(text, tables, *, given=None, seed=0, step=0, law="marginal", copies=1):
    """An active set of both queries, or of ``copies`` copies of them."""
    given = given or data(90)
    queries = np.tile(given.queries, (copies, 1))
    include = sp.csr_array(sp.vstack([given.include] * copies)) if "Include" in text else None
    sampler = pipeline_of(text).bind(tables=tables, frequencies=given.values + 1)
    return sampler.sample(queries, include=include, seed=seed, step=step, law=law, threads=1)


def stacked(sets):
    """Several active sets stacked into one."""
    lengths = np.concatenate([np.diff(active.indptr) for active in sets])
    return attrs.evolve(
        sets[0],
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=np.concatenate([active.ids for active in sets]),
        counts=np.concatenate([active.counts for active in sets]),
        draws=None if sets[0].draws is None else np.concatenate([active.draws for active in sets]),
        log_inclusion=np.concatenate([active.log_inclusion for active in sets]),
    )


LINEAR = ["sum", "partition", "density", "sigmoid loss", "sigmoid gradient"]
#: Ratios and logarithms, whose bias is of order 1 / n.
RATIOS = ["mean", "attention", "softmax loss", "softmax gradient"]


def estimates(samples, given):
    """Estimates of all estimators, by name, from active sets of the queries or of copies of them."""
    rows = (samples if isinstance(samples, ActiveSet) else samples[0]).n_rows
    q, y = np.tile(given.queries, (rows // 2, 1)), sp.csr_array(sp.vstack([given.targets] * (rows // 2)))
    weights, table = given.items * np.float32(given.scale), columns(given)
    sigmoid, softmax = sigmoid_gradient(samples, q, weights, y), softmax_gradient(samples, q, weights, y)
    for each in (sigmoid, softmax):  # the chain rule
        np.testing.assert_allclose(each.logits @ weights, each.gradient.value, rtol=1e-5, atol=1e-4)
    return {
        "sum": horvitz_thompson(samples, table),
        "partition": partition_function(samples, q, given.items, scale=given.scale),
        "density": kernel_density(samples, q, given.items, bandwidth=2.0),
        "sigmoid loss": sigmoid.loss,
        "sigmoid gradient": sigmoid.gradient,
        "mean": self_normalised(samples, given.values),
        "attention": attention(samples, q, given.items, table, scale=given.scale),
        "softmax loss": softmax.loss,
        "softmax gradient": softmax.gradient,
    }


def columns(given):
    """Two values of each item."""
    return np.stack([given.values, 1 / (1 + given.values)], axis=1)


def truths(given):
    """The true value of each estimator, from all items."""
    logits = given.queries.astype(float) @ given.items.T.astype(float) * given.scale
    mass, rate = np.exp(logits), 1 / (1 + np.exp(-logits))
    z = mass.sum(axis=1)
    distance = ((given.queries[:, None].astype(float) - given.items) ** 2).sum(axis=2)
    hit = logits[[0, 1], [5, 60]]
    weights, table = given.items.astype(float) * given.scale, columns(given)
    return {
        "sum": np.tile(table.sum(axis=0), (2, 1)),
        "partition": z,
        "density": np.exp(-distance / 8).mean(axis=1),
        "sigmoid loss": np.logaddexp(0, logits).sum(axis=1) - hit,
        "sigmoid gradient": rate @ weights - weights[[5, 60]],
        "mean": np.full(2, given.values.mean()),
        "attention": mass @ table / z[:, None],
        "softmax loss": np.log(z) - hit,
        "softmax gradient": mass @ weights / z[:, None] - weights[[5, 60]],
    }


def covered(estimate, truth, level=0.95):
    """The fraction of intervals, over copies of the queries, that contain the true value."""
    low, high = estimate.interval(level)
    truth = np.tile(truth, (len(low) // 2,) + (1,) * (truth.ndim - 1))
    room = 1e-5 * np.abs(truth)  # rounding of float32 weights, another order of addition
    return float(np.mean((low - room <= truth) & (truth <= high + room)))
