"""Tables for a trained layer keep the share of its P@1 that is asked for."""

import numpy as np
import pytest

from lshsample import HashTables, make_family, parse_pipeline
from lshsample._native import layers
from lshsample.errors import ArgumentError
from lshsample.tuning import tune_layer

N_LABELS, DIM, N_ROWS = 3000, 24, 1000
GAUSSIAN = "simhash:projection=gaussian"


@pytest.fixture(scope="module")
def layer():
    """Weights, inputs that predict their label in about 9 of 10 rows, and labels."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((N_LABELS, DIM), dtype=np.float32)
    ids = rng.integers(0, N_LABELS, N_ROWS)
    hidden = weights[ids] + np.float32(0.4) * rng.standard_normal((N_ROWS, DIM), dtype=np.float32)
    return weights, hidden, ids[:, None].tolist()


@pytest.mark.parametrize(
    "families", ["simhash:projection=gaussian", ["simhash", "cross-polytope:dimension=8"]]
)
def test_the_share_is_kept_with_fewer_scores(layer, families):
    weights, hidden, labels = layer
    tuned = tune_layer(weights, hidden, labels, p1_share=0.95, families=families, max_tables=40, threads=2)
    predicted, observed = tuned.predicted, tuned.observed
    assert predicted.p_at_1 >= 0.95 * predicted.exact_p_at_1 > 0.5
    assert observed.p_at_1 == pytest.approx(predicted.p_at_1, abs=0.1)
    assert observed.size == pytest.approx(predicted.size, rel=0.4)
    assert observed.size < N_LABELS / 4
    assert observed.memory_bytes == predicted.memory_bytes
    found = tuned.sampler.sample(hidden)
    best = layers.csr_top_k(hidden, weights, None, found.indptr, found.ids, 1)[0][:, 0]
    right = np.mean(best == np.array(labels)[:, 0])
    assert right == pytest.approx((observed.p_at_1 + predicted.p_at_1) / 2, abs=0.04)
    sampler = eval(
        tuned.python.removeprefix("sampler = "),
        {
            "HashTables": HashTables,
            "make_family": make_family,
            "parse_pipeline": parse_pipeline,
            "weights": weights,
        },
    )
    np.testing.assert_array_equal(sampler.sample(hidden[:5]).ids, tuned.sampler.sample(hidden[:5]).ids)
    assert "exact" in str(tuned)


def test_biases_decide_between_retrieved_labels(layer):
    weights, hidden, labels = layer
    bias = np.zeros(N_LABELS, np.float32)
    bias[:1500] = 1000.0  # others are not predicted
    options = {"p1_share": 0.9, "families": GAUSSIAN, "max_tables": 16, "threads": 2}
    with_bias = tune_layer(weights, hidden, labels, bias=bias, **options)
    without = tune_layer(weights, hidden, labels, **options)
    assert 0.3 < with_bias.observed.exact_p_at_1 < 0.6 < 0.8 < without.observed.exact_p_at_1


def test_a_learned_family_is_taken_as_it_is(layer):
    weights, hidden, labels = layer
    y = np.zeros((300, N_LABELS), np.float32)
    y[np.arange(300), np.array(labels)[:300, 0]] = 1
    family = make_family("learned-simhash", dim=DIM, n_hashes=6, n_tables=20)
    fitted = family.fit(hidden[:300], y, weights, epochs=1)
    tuned = tune_layer(weights, hidden[300:], labels[300:], p1_share=0.8, families=[fitted], threads=1)
    assert tuned.family is fitted
    assert tuned.observed.p_at_1 > 0.5 * tuned.observed.exact_p_at_1


def test_what_cannot_be_kept_is_refused_with_what_can(layer):
    long = make_family("simhash", dim=DIM, n_hashes=20, n_tables=1)
    with pytest.raises(ArgumentError, match=r"p1_share must be at most 0\.\d+, which 64 tables"):
        tune_layer(*layer, families=long)
    with pytest.raises(ArgumentError, match=r"memory_bytes must be \d+ or more with these fam.*\(got 10\)"):
        tune_layer(*layer, families=GAUSSIAN, max_tables=2, memory_bytes=10)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"p1_share": 0}, "p1_share must be a finite number"),
        ({"max_tables": 0}, "max_tables"),
        ({"seed": -1}, "seed"),
        ({"memory_bytes": 0}, "memory_bytes"),
        ({"families": []}, "families must be at least one"),
        ({"families": 3}, "families must be a family or a sequence"),
        ({"families": make_family("simhash", dim=3)}, "families must be families of dim 24"),
        ({"weights": np.ones((0, DIM), np.float32)}, r"weights must be .* \(got shape \(0, 24\)"),
        ({"hidden": np.ones((19, DIM), np.float32)}, r"hidden must be .* \(got 19 rows"),
        ({"hidden": np.ones((30, 5), np.float32)}, "hidden must be .* 24 columns"),
        ({"labels": [[1]]}, "labels must be"),
        ({"labels": [[]] * N_ROWS}, "labels must be labels of which"),
        ({"bias": np.ones(3)}, "bias must be"),
    ],
)
def test_bad_arguments_are_refused_by_name(bad, match, layer):
    given = dict(zip(("weights", "hidden", "labels"), layer, strict=True)) | bad
    with pytest.raises(ArgumentError, match=match):
        tune_layer(given.pop("weights"), given.pop("hidden"), given.pop("labels"), **given)
