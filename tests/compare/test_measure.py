"""Measurements of families: bounded by the baselines, refusals reported."""

import json
import time

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.compare import ComparisonSettings, Contender, Workload, compare, plan
from lshsample.compare.measure import timed
from lshsample.compare.report import best_by_label, best_table, front_table, fronts, plain, recall_table
from lshsample.errors import ArgumentError

SMALL = ComparisonSettings(budgets=(20, 60, 5000), bits=(3, 6), n_tables=12, threads=1, rounds=1)


def test_the_baselines_bound_every_family():
    workload = Workload.synthetic(600, 24, 20)
    contenders = [
        Contender.parse(name) for name in ("simhash", "dwta:window=4", "simhash:projection=gaussian")
    ]
    figures, refused = compare(contenders, workload, SMALL)
    assert refused == {}
    by_label = best_by_label(figures, 60)
    assert list(by_label) == ["exact", "uniform", *(contender.label for contender in contenders)]
    assert by_label["exact"].middle.recall == 1
    assert 0.02 < by_label["uniform"].middle.recall < 0.25
    for contender in contenders:
        mine = by_label[contender.label]
        assert by_label["uniform"].middle.recall + 0.2 < mine.middle.recall <= 1
        assert 0 < mine.hash_seconds.first_quartile <= mine.hash_seconds.median
        assert 0 < mine.build_seconds.median <= mine.build_seconds.third_quartile
        assert mine.index_bytes > 12 * 4 * 600
        assert all(point.candidates <= point.budget for point in mine.points)
        assert all(point.recall <= mine.retrieved_recall for point in mine.points)
        assert mine.middle.candidates <= mine.retrieved <= 600
    assert [point.budget for point in figures[0].points] == [20, 60]  # no budgets above n_items
    assert json.loads(json.dumps(plain(figures)))[2]["spec"]["family"] == "simhash"
    assert recall_table(figures, 10).row_count == 5
    assert best_table(figures, 10).row_count == 5
    assert front_table(figures, 10).row_count == len(fronts(figures)) > 0


def test_estimates_get_worse_with_fewer_draws():
    workload = Workload.synthetic(600, 24, 20)
    few, many = (
        next(
            one
            for one in compare([], workload, ComparisonSettings(budgets=(n,), rounds=1))[0]
            if one.label == "uniform"
        )
        for n in (20, 300)
    )
    assert 0 < many.estimator_error < 0.5 * few.estimator_error


def test_a_family_that_refuses_the_rows_is_reported_with_its_reason():
    wide = sp.random_array((60, 70_000), density=1e-3, format="csr", dtype=np.float32, rng=1)
    figures, refused = compare(
        [Contender.parse("simhash")],
        Workload.of_rows("wide", wide, n_queries=5),
        ComparisonSettings(budgets=(20,), rounds=1),
    )
    assert {one.label for one in figures} == {"exact", "uniform"}
    assert "dim must be at most 65536 for" in refused["simhash"]


@pytest.mark.parametrize("text", ["simhahs", "simhash:projection", "", "e2lsh:width=2,width=3"])
def test_unknown_contenders_are_refused(text):
    with pytest.raises(ArgumentError, match="family must be "):
        Contender.parse(text)


@pytest.mark.parametrize("text", ["e2lsh:widht=2", "simhash:projektion=gaussian"])
def test_misspelt_options_are_refused_before_anything_is_measured(text):
    with pytest.raises(ArgumentError, match=text.split(":")[1].split("=")[0]):
        Contender.parse(text)


def test_values_of_options_that_no_rows_would_fit_are_refused():
    with pytest.raises(ArgumentError, match="width must be "):
        compare([Contender.parse("e2lsh:width=-2")], Workload.synthetic(300, 8, 5), SMALL)


def test_every_number_of_hashes_tables_and_probes():
    workload = Workload.synthetic(600, 24, 20)
    settings = ComparisonSettings(budgets=60, n_hashes=(2, 4), n_tables=(3, 9), probes=(1, 4), rounds=1)
    contenders = [Contender.parse("simhash"), Contender.parse("minhash")]
    figures, refused = compare(contenders, workload, settings)
    assert refused == {}
    runs = {(one.label, one.n_hashes, one.n_tables, one.n_probes): one for one in figures if one.spec}
    shapes = {(k, tables) for k in (2, 4) for tables in (3, 9)}
    assert set(runs) == {("simhash", *shape, p) for shape in shapes for p in (1, 4)} | {
        ("minhash", *shape, 1)
        for shape in shapes  # which cannot probe
    }
    for shape in shapes:
        one, four = (runs["simhash", *shape, p] for p in (1, 4))
        assert one.index_bytes == four.index_bytes
        assert one.retrieved < four.retrieved
        assert one.retrieved_recall <= four.retrieved_recall


def test_more_probes_than_codes():
    workload = Workload.synthetic(300, 24, 5)
    settings = ComparisonSettings(budgets=60, n_hashes=(2, 4), n_tables=3, probes=(8, 9), rounds=1)
    figures, refused = compare([Contender.parse("simhash")], workload, settings)
    assert [(one.n_hashes, one.n_probes) for one in figures if one.spec] == [(4, 8), (4, 9)]
    assert (
        "probes must be at most 4, the number of codes of 2 bits (got 8)" in refused["simhash, K = 2, L = 3"]
    )


def test_a_shape_that_does_not_fit_does_not_hide_the_others():
    settings = ComparisonSettings(budgets=60, n_hashes=(2, 20), n_tables=3, rounds=1)
    figures, refused = compare([Contender.parse("dwta")], Workload.synthetic(300, 24, 5), settings)
    assert [one.n_hashes for one in figures if one.spec] == [2]
    assert "n_hashes must be an integer from 1 to 16 (got 20)" in refused["dwta, K = 20, L = 3"]


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [("cosine", "simhash", "e2lsh:width=1"), ("l2", "e2lsh:width=30", "simhash")],
)
def test_families_are_judged_by_their_metric(metric, better, worse):
    """Directions with very different lengths: by angles the near items differ from those by distance."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 12))
    rows = centres[rng.integers(0, 4, 1050)] * np.exp(rng.standard_normal((1050, 1)))
    rows += 0.1 * np.linalg.norm(rows, axis=1, keepdims=True) * rng.standard_normal(rows.shape)
    workload = Workload.of("", rows[:1000], rows[1000:], metric=metric)
    settings = ComparisonSettings(budgets=50, bits=8, n_tables=20, rounds=1)
    figures, _ = compare([Contender.parse(better), Contender.parse(worse)], workload, settings)
    recalls = {one.label: one.middle.recall for one in figures}
    assert recalls[better] > recalls[worse] + 0.1
    assert recalls["exact"] == 1
    assert all(one.estimator_error is None for one in figures)


def test_each_family_by_its_own_similarity():
    rng = np.random.default_rng(0)
    rows = sp.csr_array((rng.random((330, 40)) < 0.2) * rng.random((330, 40)))
    workload = Workload.of("", rows[:300], rows[300:], metric="own")
    settings = ComparisonSettings(budgets=60, bits=4, n_tables=20, rounds=1)
    contenders = [Contender.parse(name) for name in ("minhash", "icws", "simhash", "itq")]
    figures, refused = compare(contenders, workload, settings)
    recalls = {one.label: one.middle.recall for one in figures}
    assert "exact" not in recalls, "it would search by one metric"
    assert recalls["uniform"] == pytest.approx(60 / 300)
    assert all(recalls[name] > 0.3 for name in ("minhash", "icws", "simhash"))
    assert "UnsupportedError" in refused["itq"]
    for name, metric in (("minhash", "jaccard"), ("simhash", "cosine")):
        same = Workload.of("", rows[:300], rows[300:], metric=metric)
        alone, _ = compare([Contender.parse(name)], same, settings)
        assert alone[-1].middle.recall == recalls[name]


def test_the_time_is_estimated_before():
    workload = Workload.synthetic(600, 24, 20)
    contenders = [Contender.parse("simhash"), Contender.parse("dwta")]
    planned = plan(contenders, workload, SMALL)
    assert len(planned.shapes) == len(planned.seconds) == 4  # two lengths of codes each
    assert all(0 < seconds < 60 for seconds in planned.seconds)
    seen = []
    compare(contenders, workload, SMALL, lambda text, done: seen.append((text, done)), planned=planned)
    assert [text for text, _ in seen][:2] == ["exact and uniform", "simhash, K = 3, L = 12"]
    assert [done for _, done in seen] == sorted(done for _, done in seen)


@pytest.mark.parametrize(
    ("name", "value"),
    [("budgets", ()), ("budgets", 0), ("bits", (4, -1)), ("n_tables", 1.5), ("probes", "4"), ("rounds", 0)],
)
def test_wrong_settings(name, value):
    with pytest.raises(ArgumentError, match=f"{name} must be "):
        ComparisonSettings(**{name: value})


def test_short_calls_are_timed_many_at_a_time():
    counted = []
    timing, result = timed(lambda: counted.append(0) or len(counted), 3, parts=2)
    assert result == len(counted) > 1000
    assert timing.rounds == 3
    assert 0 < timing.least <= timing.first_quartile <= timing.median <= timing.third_quartile < 1e-3
    slow = []
    timing, _ = timed(lambda: slow.append(time.sleep(0.02)), 3)
    assert len(slow) == 3
    assert timing.least >= 0.02
