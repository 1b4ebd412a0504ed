"""MIDX: its law against a softmax over the quantized items, its draws, and tables over moving vectors."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import (
    MIDX,
    Callback,
    Dense,
    HashTables,
    MaintainedSampler,
    Network,
    Retrieve,
    Sampled,
    Sparse,
    Trainer,
    Uniform,
    make_family,
    parse_pipeline,
)
from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.testing import STAGE_CHECKS, StageCase

N, DIM, BITS = 60, 8, 2
FAMILY = f"product-quantization:bits={BITS}"


@pytest.fixture(scope="module")
def items():
    return np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def tables(items):
    return HashTables(make_family(FAMILY, dim=DIM, seed=3)).build(items)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)


def softmax_of_quantized(family, items, queries):
    """Probability of each item in one draw, item by item."""
    codes = family.hash(items)[:, 0]
    book = family.codebooks[0].astype(np.float64)
    half = DIM // 2
    quantized = np.hstack([book[codes & 3, :half], book[codes >> 2, half:]])
    weights = np.exp(queries.astype(np.float64) @ quantized.T)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("check", sorted(set(STAGE_CHECKS) - {"stated_law"}))
def test_the_kit_of_stages(check):
    """Its check of means over draws of the functions would need more of them: weights are heavy-tailed, as an
    item may be likely by one codebook and hardly possible by another.
    """
    STAGE_CHECKS[check](StageCase(MIDX(9), family="product-quantization:bits=1"))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "MIDX(9) | MIDX(20)",
        "Uniform(9) | MIDX(9)",
        "Include() | MIDX(9) | Frequency(5)",
        "Retrieve() | Cap(2) | MIDX(12)",
        "MIDX(20) | Cap(12) | Uniform(9)",
    ],
)
def test_weighted_sums_are_unbiased(text, pool, items, queries, tables):
    sampler = parse_pipeline(text).bind(tables=tables, frequencies=np.arange(1.0, N + 1))
    values, n = np.random.default_rng(3).random(N), 500
    include = sp.csr_array((np.ones(4), (range(4), range(4))), shape=(4, N)) if "Include" in text else None
    sums = np.zeros((n, 1 if pool else 4))
    for step in range(n):
        active = sampler.sample(0.5 * queries, include=include, step=step, pool=pool)
        np.add.at(sums[step], active.row_of_ids(), active.weights * values[active.ids])
    error = sums.std(axis=0) / np.sqrt(n)
    assert (np.abs(sums.mean(axis=0) - values.sum()) <= 4.5 * error).all()


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("n", [1, 7])
def test_the_law_is_a_softmax_over_quantized_items(pool, n, items, queries, tables):
    single = softmax_of_quantized(tables.family, items, queries)
    single = single.mean(axis=0, keepdims=True) if pool else single
    expected = 1 - (1 - single) ** n
    sampler, draws = MIDX(n).bind(tables=tables), 1000
    seen = np.zeros_like(expected)
    for step in range(draws if pool else draws // 10):
        active = sampler.sample(queries if pool else np.tile(queries, (10, 1)), step=step, pool=pool)
        rows = active.row_of_ids() % len(single)
        np.testing.assert_allclose(np.exp(active.log_inclusion), expected[rows, active.ids], rtol=1e-4)
        np.add.at(seen, (rows, active.ids), 1)
    # 4.5 standard deviations over at most 240 pairs, and 3 more for counts of a few.
    assert (np.abs(seen - draws * expected) <= 4.5 * np.sqrt(draws * expected * (1 - expected)) + 3).all()


def test_logits_of_any_size(items, tables):
    """Weights of a query far away: the other cells have a probability of 0, which is stated."""
    active = MIDX(5).bind(tables=tables).sample(1000 * items[:2])
    with pytest.raises(BiasedSampleError, match=r"MIDX\(5\)"):
        _ = active.log_inclusion
    mixed = (MIDX(5) | Uniform(5)).bind(tables=tables).sample(1000 * items[:2])
    assert np.isfinite(mixed.log_inclusion).all()


def test_items_that_are_not_in_the_tables_are_impossible(items, queries):
    tables = HashTables(make_family(FAMILY, dim=DIM)).build(items)
    sampler = MIDX(200).bind(tables=tables, n_items=N)
    assert np.isin([3, 4], sampler.sample(queries).ids).all()
    tables.delete([3, 4])
    active = sampler.sample(queries)
    assert not np.isin(active.ids, [3, 4]).any()
    assert active.is_biased
    np.testing.assert_array_equal(sampler.sample(queries[:0]).indptr, [0])


def test_other_tables_are_refused(items, queries, tables):
    plain = HashTables(make_family("simhash", dim=DIM)).build(items)
    with pytest.raises(ArgumentError, match=r"MIDX\(3\): tables must be of a family with codebooks, such as"):
        MIDX(3).bind(tables=plain)
    several = HashTables(make_family(FAMILY, dim=DIM, n_tables=2)).build(items)
    with pytest.raises(ArgumentError, match=r"one table, with codes of at most 20 bits \(got n_tables=2"):
        MIDX(3).bind(tables=several)
    with pytest.raises(ArgumentError, match="a family with codebooks"):
        MaintainedSampler(DIM, N, pipeline="MIDX(3)")
    with pytest.raises(ArgumentError, match="tables must be given"):
        MIDX(3).bind(n_items=N)
    both = Retrieve(plain) | MIDX(3, tables)
    assert both.sample(queries).n_rows == 4
    assert parse_pipeline("Include() | MIDX(3)").stages[1] == MIDX(3)


def test_codebooks_follow_vectors_that_move(items, queries):
    vectors = items.copy()
    sampler = MaintainedSampler(DIM, N, family=FAMILY, pipeline="MIDX(4)", rehash=5)
    sampler.refresh(vectors, 0)
    assert (sampler.tables.family.n_tables, sampler.tables.family.n_hashes) == (1, 2)
    first = sampler.tables.family
    vectors += np.random.default_rng(5).standard_normal(vectors.shape, dtype=np.float32)
    sampler.refresh(vectors, 5)
    assert sampler.tables.family.seed != first.seed
    active = sampler.sample(queries)
    expected = 1 - (1 - softmax_of_quantized(sampler.tables.family, vectors, queries)) ** 4
    np.testing.assert_allclose(
        np.exp(active.log_inclusion), expected[active.row_of_ids(), active.ids], rtol=1e-4
    )


class StopAfter(Callback):
    """Ends a run after the second build of its tables."""

    def on_step(self, step, report, milliseconds):
        return step == 9


@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_a_network_trains_and_continues_with_the_same_bits(active_set, tmp_path):
    rng = np.random.default_rng(0)
    x = sp.random_array((120, 30), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = sp.csr_array((x @ rng.standard_normal((30, 50))) > 1.0)

    def trainer(epochs=3, **options):
        last = Sampled(
            50, sampler="midx", n_active=10, family=FAMILY, active_set=active_set, importance="on", rehash=7
        )
        network = Network([Sparse(30), Dense(8), last], seed=2)
        return Trainer(network, batch_size=20, epochs=epochs, lr=0.05, threads=1, **options)

    whole = trainer()
    losses = [record.loss for record in whole.fit(x, y).epochs]
    assert losses[-1] < losses[0]
    trainer(checkpoint=tmp_path / "run", callbacks=[StopAfter()]).fit(x, y)
    resumed = Trainer.resume(tmp_path / "run", threads=2)
    resumed.fit(x, y)
    assert resumed.state.step == whole.state.step
    for mine, theirs in zip(resumed.network.parameters, whole.network.parameters, strict=True):
        np.testing.assert_array_equal(mine.weights, theirs.weights)
