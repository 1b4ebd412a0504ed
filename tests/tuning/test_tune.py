"""Tuning meets its goals, and its predictions agree with observation."""

import shlex

import numpy as np
import pytest
import scipy.sparse as sp

import lshsample
from lshsample import laws, make_family, parse_pipeline
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.sampling.stages.exact_top import exact_top
from lshsample.tuning import Goal, Measures, tune
from lshsample.tuning.predict import PairSample

DIM = 24


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((80, DIM))
    rows = centres[rng.integers(0, 80, 6120)] + 0.4 * rng.standard_normal((6120, DIM))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows[:6000], rows[6000:]


@pytest.mark.parametrize(
    "goal",
    [
        Goal(recall=0.9, k=10),
        Goal(recall=0.7, k=5, memory_bytes=3_000_000),
        Goal(recall=0.8, k=10, relative_error=0.2),
    ],
    ids=["recall", "memory", "error"],
)
def test_predictions_agree_with_observation(goal, clustered):
    tuned = tune(*clustered, goal, family="simhash:projection=gaussian", threads=2)
    predicted, observed = tuned.predicted, tuned.observed
    assert predicted.recall >= goal.recall
    assert observed.recall == pytest.approx(predicted.recall, abs=0.08)
    assert observed.size == pytest.approx(predicted.size, rel=0.4)
    assert observed.memory_bytes == predicted.memory_bytes <= (goal.memory_bytes or 2**62)
    if goal.relative_error:
        assert predicted.relative_error <= goal.relative_error
        assert observed.relative_error == pytest.approx(predicted.relative_error, rel=0.4)
    assert predicted.missed(goal) == ()
    assert "predicted" in str(tuned)


def test_a_size_adds_a_cap_and_keeps_the_recall(clustered):
    goal = Goal(recall=0.6, k=5, size=120)
    tuned = tune(*clustered, goal, family="simhash:projection=sparse", threads=2)
    assert str(tuned.pipeline).endswith("Cap(120)")
    assert np.diff(tuned.pipeline.bind(tables=tuned.tables).sample(clustered[1]).indptr).max() <= 120
    assert tuned.predicted.missed(goal) == ()
    assert tuned.observed.recall == pytest.approx(tuned.predicted.recall, abs=0.12)
    assert tuned.observed.size == pytest.approx(tuned.predicted.size, rel=0.4)
    assert np.isnan([tuned.observed.relative_error, tuned.predicted.relative_error]).all()  # no exact law


def test_a_recall_out_of_reach_with_a_cap_is_refused_with_the_best(clustered):
    with pytest.raises(ArgumentError, match=r"with a cap of 20 ids recall is at most 0\.\d+"):
        tune(*clustered, Goal(recall=0.9, size=20), family="simhash:projection=sparse")


def test_bounds_that_cannot_be_met_are_refused_with_what_can(clustered):
    with pytest.raises(ArgumentError, match=r"at least .* bytes"):
        tune(*clustered, Goal(recall=0.9, memory_bytes=10), family="simhash:projection=sparse")
    with pytest.raises(ArgumentError, match=r"at least .* seconds"):
        tune(*clustered, Goal(recall=0.9, seconds=1e-9), family="simhash:projection=sparse")
    with pytest.raises(ArgumentError, match="max_tables"):
        tune(*clustered, Goal(recall=0.99), max_tables=2, family="simhash:projection=sparse")


def test_what_is_missed_is_named():
    measures = Measures(recall=0.8, size=10.0, relative_error=0.3, memory_bytes=100, seconds=1e-5)
    assert measures.missed(Goal(recall=0.8)) == ()
    goal = Goal(recall=0.9, size=9, relative_error=0.1, memory_bytes=99, seconds=1e-6)
    assert measures.missed(goal) == ("recall", "size", "relative_error", "memory_bytes", "seconds")


@pytest.mark.parametrize(
    "bad",
    [
        {"recall": 1.0},
        {"recall": 0},
        {"k": 0},
        {"size": 0},
        {"relative_error": -1},
        {"relative_error": "x"},
        {"memory_bytes": 1.5},
        {"memory_bytes": -5},
        {"seconds": float("nan")},
        {"seconds": 0},
    ],
)
def test_goals_are_checked(bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        Goal(**bad)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"goal": 3}, r"goal must be .* \(got int"),
        ({"seed": -1}, "seed"),
        ({"max_tables": "a"}, "max_tables"),
        ({"family": "simhash:n_hashes=3"}, "n_hashes"),
        ({"family": "simhash:dim=3"}, "dim"),
        ({"family": make_family("simhash", dim=3)}, r"family must be .* \(got dim 3\)"),
        ({"goal": Goal(k=7000)}, "k = 7000"),
        ({"queries": np.ones((3, DIM))}, r"queries must be .* \(got 3 rows"),
        ({"queries": np.ones((9, 5))}, r"queries must be .* \(got 5 columns"),
        ({"data": 5}, r"data must be .* \(got shape \(\)"),
        ({"data": np.ones(DIM)}, r"data must be .* \(got shape"),
    ],
)
def test_bad_arguments_are_refused_by_name(bad, match, clustered):
    given = {"data": clustered[0], "queries": clustered[1], **bad}
    with pytest.raises(ArgumentError, match=match):
        tune(given.pop("data"), given.pop("queries"), given.pop("goal", None), **given)


def test_sparse_rows_are_tuned_too():
    rows = sp.random_array((900, 300), density=0.05, rng=np.random.default_rng(0), format="csr")
    rows.data[:] = 1
    goal = Goal(recall=0.5, k=3)
    tuned = tune(rows[:800], rows[700:], goal, family="minhash", max_tables=64, threads=1)
    assert tuned.predicted.missed(goal) == ()
    assert tuned.observed.recall == pytest.approx(tuned.predicted.recall, abs=0.15)


def test_costs_of_equal_codes_are_finite(clustered):
    """Dense rows are all the same set: each bucket has all items, and the fit of the costs must not fail."""
    tuned = tune(clustered[0][:800], clustered[1][:40], family="minhash", max_tables=8, threads=1)
    assert tuned.observed.size == 800
    assert tuned.predicted.seconds < 20 * tuned.observed.seconds


@pytest.mark.parametrize("projection", ["gaussian", "hadamard"])
@pytest.mark.parametrize(("family", "k"), [("simhash", 8), ("cross-polytope", 2)])
def test_the_predicted_error_includes_the_covariance_of_near_items(family, k, projection, clustered):
    """Over draws of the functions: assuming independence would underestimate the error of the count."""
    rows, queries = clustered[0], clustered[1][:30]
    near = exact_top(queries, rows, 10)
    tables = make_family(family, dim=DIM, n_hashes=k, n_tables=6, projection=projection)
    prediction = PairSample(queries, near, rows, near).predict(tables, 1)
    chance = prediction.near.ravel()
    numbers = []
    for seed in range(30):
        codes = tables.with_seed(seed).hash(rows)
        own = tables.with_seed(seed).hash_query(queries)
        found = codes[near] == own[:, None, :]
        if projection == "gaussian":
            weights = found.any(axis=2) / laws.union_inclusion(chance, 6).reshape(near.shape)
        else:  # tables that share random numbers: one at a time
            weights = found.mean(axis=2) / chance.reshape(near.shape)
        numbers.append(weights.mean(axis=1))
    observed = np.sqrt(np.mean((np.array(numbers) - 1) ** 2))
    alone = np.sqrt(np.mean(1 / laws.union_inclusion(prediction.near, 6) - 1) / 10)
    assert prediction.relative_error(6) == pytest.approx(observed, rel=0.3)
    assert alone < 0.7 * observed


def test_an_error_cannot_be_tuned_without_weights(clustered):
    with pytest.raises(UnsupportedError, match="relative_error cannot be a target"):
        tune(*clustered, Goal(relative_error=0.1), family="simhash:projection=sparse")
    measures = Measures(recall=1.0, size=1.0, relative_error=np.nan, memory_bytes=1, seconds=1.0)
    assert measures.missed(Goal(relative_error=0.1)) == ("relative_error",)


@pytest.mark.parametrize(
    ("family", "match"),
    [
        ("multiprobe", "tune the wrapped family"),
        ("multiprobe:inner=cross-polytope", "tune the wrapped family"),
        ("itq", "learned for one number"),
        ("learned-simhash", "no collision probability"),
    ],
)
def test_families_that_cannot_be_tuned_say_why(family, match, clustered):
    with pytest.raises(UnsupportedError, match=match):
        tune(*clustered, family=family)


def test_the_lines_to_paste_make_the_same_choice(clustered):
    items, queries = clustered[0][:2000], clustered[1][:20]
    for family in ("simhash:projection=gaussian", "simple-lsh:inner=simhash:projection=gaussian"):
        tuned = tune(items, queries, Goal(recall=0.4, size=500), family=family, threads=1, max_tables=9)
        made = {}
        names = {name: getattr(lshsample, name) for name in ("HashTables", "make_family", "parse_pipeline")}
        exec(tuned.python, {**names, "data": items}, made)
        assert made["sampler"].pipeline == tuned.pipeline
        assert made["sampler"].tables.family == tuned.family
        _, text, _, n_hashes, _, n_tables, _, pipeline = shlex.split(tuned.command_options)
        given = make_family(text, dim=items.shape[1], n_hashes=int(n_hashes), n_tables=int(n_tables))
        assert given.with_seed(tuned.family.seed) == tuned.family
        assert parse_pipeline(pipeline) == tuned.pipeline
    assert tuned.python in str(tuned)
    assert "MiB" in str(tuned)
    assert "e+0" not in str(tuned)
    assert len(tuned.rows()) == 5
