"""Laws stated by stages, combined over whole pipelines: both laws, built-in and custom stages."""

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, laws, make_family
from lshsample.errors import BiasedSampleError, PluginError
from lshsample.sampling import AtLeast, Cap, ExactTop, Include, Retrieve, SamplerStage, Top, Uniform

N, DIM = 400, 12


@attrs.frozen
class Coins(SamplerStage):
    """Adds ``n`` random ids to each row, drawn with replacement."""

    n: int = 9

    def apply(self, active, batch):
        return active.join(batch.generator().integers(0, batch.n_items, (active.n_rows, self.n)))

    def inclusion(self, so_far, pairs):
        return so_far.mix(laws.frequency_inclusion(1 / pairs.batch.n_items, self.n))


@attrs.frozen
class Thin(SamplerStage):
    """Keeps each id with probability ``rate``."""

    rate: float = 0.5

    def apply(self, active, batch):
        return active.keep(batch.generator().random(len(active.ids)) < self.rate)

    def inclusion(self, so_far, pairs):
        return so_far.multiply(self.rate)


@attrs.frozen
class Half(SamplerStage):
    """Keeps the first half of each row in a random order; its law needs the input set."""

    def apply(self, active, batch):
        keys = batch.generator().random(len(active.ids))
        order = np.lexsort((keys, active.row_of_ids()))
        rank = np.empty(len(keys))
        rank[order] = np.arange(len(keys)) - active.indptr[active.row_of_ids()[order]]
        return active.keep(rank < (np.diff(active.indptr)[active.row_of_ids()] + 1) // 2)

    def inclusion(self, so_far, pairs):
        size = np.diff(pairs.before().indptr)[pairs.rows]
        return so_far.multiply((size + 1) // 2 / size).hold(f"{self}: what it keeps depends on the set")


@attrs.frozen
class Silent(SamplerStage):
    """States no law."""

    def apply(self, active, batch):
        return active


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((N, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def tables(rows):
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=6, projection="gaussian")
    return HashTables(family, threads=1).build(rows)


def pi(active):
    return np.exp(active.log_inclusion.astype(np.float64))


def test_python_stages_of_one_pipeline_draw_different_numbers():
    active = (Coins() | Coins()).bind(n_items=10**6).sample(n_queries=50)
    assert np.diff(active.indptr).min() > 9
    seen = []

    @attrs.frozen
    class Looking(SamplerStage):
        def apply(self, active, batch):
            seen.append((batch.place, batch.generator().random(3), batch.generator(1).random(3)))
            return active

    (Looking() | Uniform(3) | Looking()).bind(n_items=9).sample(n_queries=1, seed=4, step=5)
    assert [place for place, _, _ in seen] == [0, 1]
    # The first Python stage draws from the counter (0, 0, 0, 0), whatever built-in stages are before it.
    first = np.random.Generator(np.random.Philox(key=[4, 5], counter=[0, 0, 0, 0])).random(3)
    np.testing.assert_array_equal(seen[0][1], first)
    draws = np.array([numbers for _, one, two in seen for numbers in (one, two)])
    assert len(np.unique(draws)) == draws.size


def test_a_stated_law_needs_no_later_draw(tables, rows):
    p = laws.frequency_inclusion(1 / N, 9)
    active = (Retrieve() | Coins()).bind(tables=tables).sample(rows[:4])
    found = active.counts > 0
    np.testing.assert_allclose(pi(active), np.where(found, 1, p), rtol=1e-6)
    assert 0 < found.sum() < len(found)
    # Top states no law: after it, probabilities are conditional on its output.
    top = (Retrieve() | Top(20) | Coins()).bind(tables=tables).sample(rows[:4])
    assert set(pi(top).round(5)) == {1.0, round(float(p), 5)}
    mixed = (Uniform(40) | Coins()).bind(n_items=N).sample(n_queries=4)
    np.testing.assert_allclose(pi(mixed), laws.mixture_inclusion(40 / N, p), rtol=1e-6)
    after = (Uniform(40) | Coins() | Thin(0.25) | Uniform(8)).bind(n_items=N).sample(n_queries=4)
    expected = laws.mixture_inclusion(0.25 * laws.mixture_inclusion(40 / N, p), 8 / N)
    np.testing.assert_allclose(pi(after), expected, rtol=1e-6)
    assert after.draws is None


def test_forced_ids_are_certain_wherever_they_are_included(tables, rows):
    include = sp.csr_array((np.ones(2), ([0, 1], [7, 8])), shape=(2, N))
    for pipeline in (Include() | Uniform(9) | Coins(), Coins() | Uniform(9) | Include()):
        active = pipeline.bind(n_items=N).sample(include=include)
        assert pi(active)[active.ids == 7].max() == 1
        assert pi(active)[active.ids > 8].max() < 1


def test_a_stage_without_a_law_is_conditional_on_its_outcome(tables, rows):
    for stage in (Silent(), ExactTop(3)):
        active = (Coins() | stage | Uniform(10)).bind(n_items=N, vectors=rows).sample(rows[:3])
        assert set(pi(active).round(6)) == {1.0, 10 / N}
        with pytest.raises(BiasedSampleError, match=type(stage).__name__):
            _ = (Coins() | stage).bind(n_items=N, vectors=rows).sample(rows[:3]).log_inclusion
    biased = (Retrieve() | Thin()).bind(tables=tables).sample(rows[:3])
    with pytest.raises(BiasedSampleError, match="leaves items with inclusion probability 0"):
        _ = biased.log_inclusion


def test_stated_laws_combine_over_whole_pipelines_marginally(tables, rows):
    family, queries = tables.family, rows[:3]
    active = (
        (Retrieve() | Coins() | Thin(0.5) | Uniform(20)).bind(tables=tables).sample(queries, law="marginal")
    )
    q = family.pair_code_probability(queries[active.row_of_ids()], rows[active.ids])
    chance = laws.mixture_inclusion(laws.union_inclusion(q, 6), laws.frequency_inclusion(1 / N, 9))
    np.testing.assert_allclose(pi(active), laws.mixture_inclusion(0.5 * chance, 20 / N), rtol=1e-6)
    # After a stage between a retrieval and a threshold, the counts are no longer binomial.
    with pytest.raises(BiasedSampleError, match=r"^AtLeast\(2\)"):
        _ = (
            (Retrieve() | Thin() | AtLeast(2))
            .bind(tables=tables)
            .sample(queries, law="marginal")
            .log_inclusion
        )


def test_caps_on_both_sides_of_a_python_stage_multiply(tables, rows):
    queries = rows[:3]
    pipeline = Retrieve() | Cap(30) | Thin(0.8) | Cap(10)
    active = pipeline.bind(tables=tables).sample(queries, law="marginal", seed=3)
    parts = [len((Retrieve()).bind(tables=tables).sample(queries[r : r + 1]).ids) for r in range(3)]
    thinned = (Retrieve() | Cap(30) | Thin(0.8)).bind(tables=tables).sample(queries, seed=3)
    sizes = np.diff(thinned.indptr)
    q = tables.family.pair_code_probability(queries[active.row_of_ids()], rows[active.ids])
    kept = (30 / np.array(parts) * 0.8 * 10 / sizes)[active.row_of_ids()]
    np.testing.assert_allclose(pi(active), laws.union_inclusion(q, 6) * kept, rtol=1e-5)


def test_a_law_may_depend_on_the_set_before_its_stage(tables, rows):
    queries = rows[:3]
    active = (Retrieve() | Half()).bind(tables=tables).sample(queries, law="marginal")
    size = np.diff(Retrieve(tables).sample(queries).indptr)[active.row_of_ids()]
    q = tables.family.pair_code_probability(queries[active.row_of_ids()], rows[active.ids])
    expected = laws.union_inclusion(q, 6) * ((size + 1) // 2 / size)
    np.testing.assert_allclose(pi(active), expected, rtol=1e-5)
    # Its set depends on the hash functions, so nothing can be mixed in: conditional weights are used.
    mixed = (Retrieve() | Half() | Uniform(20)).bind(tables=tables).sample(queries, law="marginal")
    assert set(pi(mixed).round(6)) == {1.0, 20 / N}


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda so_far, pairs: None, "returned NoneType, expected an Inclusion"),
        (lambda so_far, pairs: 1 / 0, "raised ZeroDivisionError"),
        (lambda so_far, pairs: attrs.evolve(so_far, probability=np.ones(3)), r"of shape \(3,\), expected"),
        (
            lambda so_far, pairs: attrs.evolve(so_far, probability=so_far.probability - 2),
            "expected numbers >= 0",
        ),
        (lambda so_far, pairs: so_far.mix(1.5), "probabilities from 0 to 1"),
    ],
)
def test_errors_contain_the_stage_with_an_invalid_law(law, message):
    @attrs.frozen
    class Broken(Silent):
        def inclusion(self, so_far, pairs):
            return law(so_far, pairs)

    sampler = (Uniform(5) | Broken()).bind(n_items=N)
    for which in ("conditional", "marginal"):
        with pytest.raises(PluginError, match=message) as error:
            sampler.sample(n_queries=2, law=which)
        assert "Broken" in str(error.value)
