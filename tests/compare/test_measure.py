"""Measurements of families: bounded by the baselines, refusals reported."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.compare import ComparisonSettings, Contender, Workload, compare
from lshsample.compare.report import best_by_label, comparison_table, plain, retrieval_table
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
        assert mine.hash_seconds > 0
        assert mine.build_seconds > 0
        assert mine.memory_bytes > 12 * 4 * 600
        assert all(point.candidates <= point.budget for point in mine.points)
        assert all(point.recall <= mine.retrieved_recall for point in mine.points)
        assert mine.middle.candidates <= mine.retrieved <= 600
    assert [point.budget for point in figures[0].points] == [20, 60]  # no budgets above n_items
    assert json.loads(json.dumps(plain(figures)))[2]["spec"]["family"] == "simhash"
    assert comparison_table(figures).row_count == 5
    assert retrieval_table(figures).row_count == 3


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
