"""The model of a step on many workers, and its figures in the documentation."""

import json
from pathlib import Path

import attrs
import pytest

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Sharded, Sparse
from lshsample.ray import StepModel, step_cost

FIGURES = Path(__file__).parents[2] / "docs" / "scaling.json"
MODEL = StepModel(below=2e-3, block=4e-4, active=5e-6, label=1e-6, message=2e-4, byte=1e-9)


def test_the_parts_of_a_step_are_added():
    given = {"workers": 4, "labels": 100_000, "n_active": 1000, "blocks": 16, "rebuild_steps": 100}
    found = MODEL.step(**given, bandwidth=1e9, latency=1e-3)
    cost = step_cost([Sparse(1), Dense(128), Sharded(100_000, n_active=1000, blocks=16)], workers=4)
    assert found.work == pytest.approx((16 * 4e-4 + 1000 * 5e-6) / 4)
    assert found.tables == pytest.approx(100_000 * 1e-6 / 100 / 4)
    assert found.messages == pytest.approx(4 * (2e-4 + 1e-9 * cost.exchanged))
    assert found.traffic == pytest.approx(cost.seconds(1e9, 1e-3))
    assert found.memory == cost.memory
    assert found.seconds == pytest.approx(sum(attrs.astuple(found)[:5]))
    assert MODEL.step(**given, processors=2).work == pytest.approx(2 * found.work)


def test_more_labels_need_more_memory_and_tables_and_no_more_traffic():
    few, many = (MODEL.step(workers=64, labels=n) for n in (10**9, 10**10))
    assert many.tables == pytest.approx(10 * few.tables)
    assert many.memory == pytest.approx(10 * few.memory, rel=0.02)
    assert many.traffic == few.traffic


def test_the_figures_of_the_page_are_within_a_quarter_of_the_measured_runs():
    figures = json.loads(FIGURES.read_text())
    model = StepModel(**figures["model"])
    assert [check["workers"] for check in figures["checks"]] == [1, 2, 4]
    for check in figures["checks"]:
        found = model.step(
            workers=check["workers"], labels=figures["labels"], n_active=figures["active"],
            rebuild_steps=float("inf"), bandwidth=float("inf"), latency=0.0,
        )  # fmt: skip
        assert found.seconds == pytest.approx(check["predicted"], rel=0.01)
        assert found.seconds == pytest.approx(check["measured"], rel=0.25)


def test_bad_costs_are_refused():
    with pytest.raises(ArgumentError, match="label must be"):
        attrs.evolve(MODEL, label=-1.0)
    with pytest.raises(ArgumentError, match="workers must be a power of two"):
        MODEL.step(workers=3, labels=1000)
