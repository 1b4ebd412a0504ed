"""Samples: what draws them, their arguments, and estimates from samples with few or no ids."""

import inspect
import re

import numpy as np
import pytest
from law_cases import CASES, DIM, SHORT, covered, data

from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.estimates import (
    DrawOptions,
    Samples,
    attention,
    draw_samples,
    horvitz_thompson,
    kernel_density,
    partition_function,
    sigmoid_gradient,
    softmax_gradient,
    sum_by_tables,
)
from lshsample.registry import make_family
from lshsample.sampling import Retrieve, Sampler, parse_pipeline
from lshsample.tables import HashTables

N = 90


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    return np.maximum(rng.standard_normal((N, DIM)) + 0.4, 0).astype(np.float32)


@pytest.fixture(scope="module")
def queries(items):
    return items[:2] * 2


def tables_of(items, seed=0, **options):
    options = {"n_hashes": 3, "n_tables": 6, "projection": "gaussian"} | options
    return HashTables(make_family("simhash", dim=DIM, seed=seed, **options), threads=1).build(items)


@pytest.fixture(scope="module")
def sampler(items):
    return parse_pipeline("Retrieve() | Uniform(20)").bind(tables=tables_of(items))


def test_options_of_draws_are_the_arguments_of_draw_samples_and_of_a_sampler():
    """All of them are documented in one place."""
    signatures = [inspect.signature(function).parameters for function in (draw_samples, Sampler.sample)]
    keywords = {
        name
        for parameters in signatures
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert set(DrawOptions.__annotations__) == keywords
    described = set(re.findall(r"\w+", DrawOptions.__doc__))
    assert keywords <= described


@pytest.mark.parametrize(
    "function", [attention, kernel_density, partition_function, sigmoid_gradient, softmax_gradient]
)
def test_every_estimator_over_a_sampler_takes_the_options_of_draws(function):
    *_, last = inspect.signature(function).parameters.values()
    assert last.kind is inspect.Parameter.VAR_KEYWORD
    assert last.annotation == "Unpack[DrawOptions]"


def test_options_are_passed_to_the_draws(sampler, items, queries):
    one = partition_function(sampler, queries, items, seed=3, step=1)
    several = partition_function(sampler, queries, items, replicates=4, seed=3, step=1, threads=1)
    assert one.value.tolist() != partition_function(sampler, queries, items, seed=4, step=1).value.tolist()
    each = [partition_function(sampler, queries, items, seed=3, step=1 + k).value for k in range(4)]
    np.testing.assert_allclose(several.value, np.mean(each, axis=0), rtol=1e-12)
    with pytest.raises(TypeError, match="replicate"):
        partition_function(sampler, queries, items, replicate=4)


def test_one_sampler_draws_at_successive_steps(sampler, queries):
    samples = draw_samples(sampler, queries, replicates=3, seed=5, step=7)
    assert len(samples.sets) == 3
    for k, active in enumerate(samples.sets):
        expected = sampler.sample(queries, seed=5, step=7 + k)
        np.testing.assert_array_equal(active.ids, expected.ids)
        np.testing.assert_allclose(samples.weights[k], np.exp(-expected.log_inclusion.astype(float)))
        assert active.law == "conditional"


def test_several_samplers_draw_over_the_hash_functions(items, queries):
    samplers = [parse_pipeline("Retrieve()").bind(tables=tables_of(items, seed)) for seed in range(3)]
    samples = draw_samples(samplers, queries)
    assert [active.law for active in samples.sets] == ["marginal"] * 3
    estimate = horvitz_thompson(samples.sets, np.ones(N))
    assert estimate.method == "replicates"
    assert estimate.degrees == 2


def test_active_sets_are_used_unchanged(sampler, queries):
    active = sampler.sample(queries)
    assert draw_samples(active).sets == (active,)
    assert draw_samples([active, active]).sets == (active, active)


@pytest.mark.parametrize("replicates", [0, -1, True, 1.5, "2"])
def test_replicates_are_checked(sampler, queries, replicates):
    with pytest.raises(ArgumentError, match="replicates"):
        draw_samples(sampler, queries, replicates=replicates)


def test_repeated_draws_of_one_sampler_are_not_independent_under_the_marginal_law(items, queries):
    sampler = parse_pipeline("Retrieve()").bind(tables=tables_of(items))
    assert len(draw_samples(sampler, queries, law="marginal").sets) == 1
    with pytest.raises(ArgumentError, match="share the same hash functions"):
        draw_samples(sampler, queries, law="marginal", replicates=2)


def test_an_iterator_of_samples_is_read_once(sampler, queries):
    active = sampler.sample(queries)
    assert draw_samples(iter([active, active])).sets == (active, active)


@pytest.mark.parametrize(
    "options", [{"replicates": 9}, {"seed": 3}, {"step": 1}, {"law": "marginal"}, {"pool": True}]
)
def test_options_without_an_effect_on_drawn_sets_are_refused(options, sampler, queries):
    with pytest.raises(ArgumentError, match=f"{next(iter(options))} must be left out with active sets"):
        draw_samples(sampler.sample(queries), queries, **options)
    with pytest.raises(ArgumentError, match="replicates must be 1 with several samplers"):
        draw_samples([sampler, sampler], queries, replicates=2)


def test_a_stage_with_its_own_tables_is_a_sampler(items, queries):
    stage, pipeline = Retrieve(tables_of(items)), parse_pipeline("Uniform(9)")
    samples = draw_samples(stage | pipeline, queries)
    np.testing.assert_array_equal(samples.sets[0].ids, (stage | pipeline).sample(queries).ids)
    assert not draw_samples(stage, queries, law="marginal").sets[0].is_biased


@pytest.mark.parametrize("bad", [[], [3], 3.5, None, "lsh", "tables", "candidates"])
def test_something_else_than_samplers_is_refused(bad, items, queries):
    tables = tables_of(items)
    bad = {"tables": tables, "candidates": tables.query(queries)}.get(bad, bad) if type(bad) is str else bad
    with pytest.raises(ArgumentError, match=r"sampler must be a Sampler, such as .*bind\(tables=tables\)"):
        draw_samples(bad, queries)


def test_sets_of_other_queries_or_items_are_refused(sampler, queries):
    with pytest.raises(ArgumentError, match="samples"):
        Samples.of([sampler.sample(queries), sampler.sample(queries[:1])])
    with pytest.raises(ArgumentError, match="samples"):
        Samples.of([])
    with pytest.raises(ArgumentError, match="samples"):
        Samples.of([3])


@pytest.mark.parametrize(
    "values", [np.ones(N - 1), np.ones((N + 1, 2)), lambda active: np.ones(len(active.ids) + 1), 3.0]
)
def test_values_have_a_row_for_each_item_or_id(sampler, queries, values):
    with pytest.raises(ArgumentError, match="values"):
        horvitz_thompson(sampler.sample(queries), values)


def test_values_by_item_and_by_function_agree(sampler, queries):
    active, values = sampler.sample(queries), np.random.default_rng(0).random((N, 3))
    by_item = horvitz_thompson(active, values)
    by_function = horvitz_thompson(active, lambda found: values[found.ids])
    np.testing.assert_array_equal(by_item.value, by_function.value)
    assert by_item.value.shape == (2, 3)
    assert horvitz_thompson(active, values[:, 0]).value.shape == (2,)


def test_a_set_without_inclusion_probabilities_is_accepted_only_on_request(items, queries):
    top = parse_pipeline("Retrieve() | Top(5)").bind(tables=tables_of(items))
    with pytest.raises(BiasedSampleError, match="Top"):
        partition_function(top, queries, items)
    part = partition_function(top, queries, items, allow_biased=True)
    active = top.sample(queries)
    exact = np.exp(np.einsum("ij,ij->i", queries[active.row_of_ids()], items[active.ids], dtype=float))
    np.testing.assert_allclose(part.value, np.bincount(active.row_of_ids(), weights=exact), rtol=1e-6)
    assert part.biased_by.startswith("Top(5)")


@pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
def test_draws_of_certain_ids_alone_give_no_interval():
    """All but a few items are certain: a sample without any of the few has no information on them.

    A standard error of 0 would give intervals that contain the true value for two of three samples.
    """
    given = data(90)
    family = make_family("simhash", dim=DIM, n_hashes=1, n_tables=6, seed=0)
    tables = HashTables(family, threads=1).build(given.items)
    certain = np.diff(tables.query(given.queries, n_probes=1).indptr)
    assert certain.min() < 90
    queries = np.tile(given.queries[[certain.argmin()]], (1000, 1))
    active = parse_pipeline("Retrieve() | Uniform(20)").bind(tables=tables).sample(queries, threads=1)
    estimate = horvitz_thompson(active, given.values)
    uninformed = np.bincount(active.row_of_ids(), weights=active.log_inclusion < 0, minlength=1000) == 0
    assert 0 < uninformed.mean() < 1
    assert (estimate.standard_error == np.inf).tolist() == uninformed.tolist()
    assert covered(estimate, np.full(2, given.values.sum())) >= 0.93
    softmax = softmax_gradient(active, queries, given.items, given.targets[[0] * 1000])
    assert np.isfinite(softmax.loss.value).all()
    # The sum over all items is exact.
    full = parse_pipeline("Full() | Uniform(20)").bind(n_items=90).sample(n_queries=1)
    if full.draws is not None:
        assert horvitz_thompson(full, given.values).standard_error.tolist() == [0]


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("law", ["conditional", "marginal"])
def test_estimates_have_the_same_bits_for_any_number_of_threads(name, law):
    """Values and standard errors, from samples and from single tables."""
    given = data(90)
    q = np.tile(given.queries, (20, 1))
    texts = [
        "Retrieve() | Uniform(20)",
        "Retrieve(budget=12) | Uniform(9)",
        "Retrieve() | Cap(8) | Uniform(20)",
    ]
    texts += ["Retrieve()", "Retrieve(budget=12)", "Retrieve() | Cap(12)"] if law == "marginal" else []
    first = {}
    for threads in (1, 2, 3, 8):
        tables = HashTables(CASES[name].make(), threads=threads).build(given.items)
        runs = {"tables": sum_by_tables(tables, q, given.values, threads=threads)}
        for text in texts:
            sampler = parse_pipeline(text).bind(tables=tables)
            runs[text] = partition_function(sampler, q, given.items, scale=0.3, law=law, threads=threads)
        for key, run in runs.items():
            value, error = first.setdefault(key, (run.value, run.standard_error))
            np.testing.assert_array_equal(run.value, value)
            np.testing.assert_array_equal(run.standard_error, error)


def test_a_sample_without_ids_has_the_sum_zero():
    """For values with columns too."""
    given = data(90)
    tables = HashTables(
        make_family("simhash", dim=DIM, n_hashes=20, n_tables=2, projection="gaussian"), threads=1
    )
    far = -given.queries
    active = parse_pipeline("Retrieve()").bind(tables=tables.build(given.items)).sample(far, law="marginal")
    assert not len(active.ids)
    assert horvitz_thompson(active, np.ones((90, 3))).value.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert horvitz_thompson(active, lambda found: np.ones((len(found.ids), 2))).value.shape == (2, 2)
    assert partition_function(active, far, given.items).value.tolist() == [0, 0]
    by_tables = sum_by_tables(tables, far, np.ones((90, 3)))
    assert by_tables.value.tolist() == [[0, 0, 0], [0, 0, 0]]
