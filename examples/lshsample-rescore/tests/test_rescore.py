"""Rescore under the conformance kit of stages, and against brute force."""

import numpy as np
import pytest
from lshsample_rescore import Rescore

from lshsample import HashTables, make_family, parse_pipeline
from lshsample.compare import Workload
from lshsample.metrics import sampler_recall
from lshsample.testing import StageCase, stage_checks


@pytest.mark.parametrize("check", stage_checks())
def test_conformance(check):
    check(StageCase(Rescore(6)))


def test_its_name_is_known():
    assert parse_pipeline("Retrieve() | Rescore(5)").stages[1] == Rescore(5)


def test_it_keeps_the_true_nearest_of_what_was_found():
    workload = Workload.synthetic(1000, 24, 30)
    family = make_family("simhash", dim=24, n_hashes=4, n_tables=20)
    sampler = parse_pipeline("Retrieve() | Rescore(10)").bind(tables=HashTables(family).build(workload.items))
    found = parse_pipeline("Retrieve()").bind(tables=sampler.tables).sample(workload.queries)
    active = sampler.sample(workload.queries)
    assert sampler_recall(active, workload.truth) == pytest.approx(sampler_recall(found, workload.truth))
    assert np.diff(active.indptr).max() == 10
