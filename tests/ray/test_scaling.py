"""The model of a step on many workers, and its figures in the documentation."""

import json
import math
from pathlib import Path

import attrs
import numpy as np
import pytest

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Input, Sharded, Sparse
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


def test_layers_below_in_parts_are_shared_and_sent():
    model = attrs.evolve(
        MODEL, below=10e-3, shared=8e-3, given=1e-9, taken=3e-9, hidden=[64, 32], features=500, batch_size=400
    )
    given = {"labels": 100_000, "n_active": 1000}
    for workers in (1, 2, 8):
        alone = model.step(**given, workers=workers, bandwidth=1e9, latency=1e-3)
        found = model.step(**given, workers=workers, bandwidth=1e9, latency=1e-3, parts=4)
        layers = [Input(500), Dense(64), Dense(32), Sharded(100_000, n_active=1000, parts=4)]
        cost = step_cost(layers, workers=workers, batch_size=400)
        n, weights = min(workers, 4), 500 * 64 + 64 + 64 * 32 + 32
        below = 4 * (400 // n * 500 + 2 * weights + 2 * (400 // n) * 32)
        assert (cost.below, cost.below_weights, cost.below_workers) == (below, weights, n)
        assert cost.traffic == workers * (cost.exchanged - below) + n * below
        assert found.below == pytest.approx(2e-3 + n * weights * 1e-9)
        assert found.work - alone.work == pytest.approx(8e-3 / n + weights * 3e-9)
        assert found.messages - alone.messages == pytest.approx(workers * 2e-4 + n * below * 1e-9)
        assert found.traffic - alone.traffic == pytest.approx(8 * n * below / 1e9 + 4e-3)
        shared = model.step(**given, workers=workers, processors=1, parts=4)
        assert shared.work == pytest.approx(8 * 4e-4 + 1000 * 5e-6 + 8e-3 + n * weights * 3e-9)


def test_sparse_features_send_the_rows_of_weights_that_occur():
    given = {"features": 10_000, "values_per_row": 10.0, "batch_size": 100, "shared": 1e-3}
    cost = attrs.evolve(MODEL, **given).cost(2, 10_000, parts=2)
    rows = 10_000 * (1 - math.exp(-50 * 10 / 10_000))
    assert cost.below_weights == pytest.approx(128 * rows + 128, rel=1e-3)


def test_more_labels_need_more_memory_and_tables_and_no_more_traffic():
    few, many = (MODEL.step(workers=64, labels=n) for n in (10**9, 10**10))
    assert many.tables == pytest.approx(10 * few.tables)
    assert many.memory == pytest.approx(10 * few.memory, rel=0.02)
    assert many.traffic == few.traffic


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sparse", {(1, 1), (2, 1), (4, 1)}),
        ("dense", {(n, parts) for n in (1, 2, 4) for parts in (1, 4)}),
    ],
)
def test_the_figures_of_the_page_are_within_a_quarter_of_the_measured_runs(name, wanted):
    figures = json.loads(FIGURES.read_text())[name]
    model = StepModel(**figures["model"])
    assert {(check["workers"], check["parts"]) for check in figures["checks"]} == wanted
    for check in figures["checks"]:
        found = model.step(
            workers=check["workers"], labels=figures["labels"], n_active=figures["active"],
            rebuild_steps=float("inf"), bandwidth=float("inf"), latency=0.0, parts=check["parts"],
        )  # fmt: skip
        assert found.seconds == pytest.approx(check["predicted"], rel=0.01)
        assert found.seconds == pytest.approx(check["measured"], rel=0.25)


def test_bad_costs_are_refused():
    with pytest.raises(ArgumentError, match="label must be"):
        attrs.evolve(MODEL, label=-1.0)
    with pytest.raises(ArgumentError, match="workers must be a power of two"):
        MODEL.step(workers=3, labels=1000)
    with pytest.raises(ArgumentError, match="parts must be 1 for a model without the cost 'shared'"):
        MODEL.step(workers=2, labels=1000, parts=2)
    with pytest.raises(ArgumentError, match=r"shared must be at most 0\.002"):
        attrs.evolve(MODEL, shared=0.1)
    for widths in ((), (0,), "128"):
        with pytest.raises(ArgumentError, match="hidden must be"):
            attrs.evolve(MODEL, hidden=widths)
    assert attrs.evolve(MODEL, hidden=np.array([64, 32])).hidden == (64, 32)
    for change in (
        {"processors": 0},
        {"rebuild_steps": 0},
        {"bandwidth": 0},
        {"latency": -1.0},
        {"blocks": 0},
        {"labels": 0},
    ):
        (name,) = change
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            MODEL.step(**{"workers": 2, "labels": 1000} | change)


def test_bad_steps_are_refused():
    layers = [Sparse(9), Dense(4), Sharded(50, n_active=9, parts=2)]
    for change in (
        {"values_per_row": -1},
        {"values_per_row": math.inf},
        {"labels_per_row": -1},
        {"labels_per_row": math.nan},
        {"batch_size": 0},
    ):
        (name,) = change
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            step_cost(layers, workers=2, **change)
    with pytest.raises(ArgumentError, match=r"layers\[-1\] must be a Sharded or a Sampled layer"):
        step_cost([Sparse(9), Dense(50, "softmax")], workers=2)
    with pytest.raises(ArgumentError, match="layers must be an input and at least one other layer"):
        step_cost([], workers=2)
    with pytest.raises(ArgumentError, match="bandwidth must be a number above 0"):
        step_cost(layers, workers=2).dense_seconds(0)


def test_without_layers_between_there_are_no_parts():
    """As in training: the trainer's process takes the rows through the input layer."""
    parted, whole = (
        step_cost([Sparse(9), Sharded(50, n_active=9, parts=parts)], workers=2) for parts in (2, 1)
    )
    assert parted == whole
