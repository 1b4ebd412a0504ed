"""Tuning keeps its goals, and what it foretells is what is observed."""

import numpy as np
import pytest

from lshsample.errors import ArgumentError
from lshsample.tuning import Goal, tune

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
def test_foretold_is_observed(goal, clustered):
    tuned = tune(*clustered, goal, projection="gaussian", threads=2)
    predicted, observed = tuned.predicted, tuned.observed
    assert predicted.recall >= goal.recall
    assert observed.recall == pytest.approx(predicted.recall, abs=0.08)
    assert observed.size == pytest.approx(predicted.size, rel=0.4)
    assert observed.memory_bytes == predicted.memory_bytes <= (goal.memory_bytes or 2**62)
    if goal.relative_error:
        assert predicted.relative_error <= goal.relative_error
    assert "predicted" in str(tuned)


def test_a_size_adds_a_cap(clustered):
    tuned = tune(*clustered, Goal(recall=0.5, k=5, size=200), threads=2)
    assert str(tuned.pipeline).endswith("Cap(200)")
    assert tuned.observed.size <= 200


def test_bounds_that_cannot_be_kept_are_told(clustered):
    with pytest.raises(ArgumentError, match=r"at least .* bytes"):
        tune(*clustered, Goal(recall=0.9, memory_bytes=10))
    with pytest.raises(ArgumentError, match="queries"):
        tune(clustered[0], clustered[1][:3])
