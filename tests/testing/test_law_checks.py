"""How often a correct law is rejected, computed exactly for independent trials."""

import numpy as np
import pytest
from scipy import stats

from lshsample.testing.law_checks import half_widths


@pytest.mark.parametrize("level", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("p", [0.0, 1e-4, 0.003, 0.02, 0.2, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("n_seeds", [400])
def test_a_right_rate_is_outside_of_its_interval_as_often_as_the_level_says(n_seeds, p, level):
    """One trial a seed, each number of successes with its binomial probability."""
    counts = np.arange(n_seeds + 1)
    observed = (np.arange(n_seeds)[:, None] < counts).astype(float)
    allowed = np.concatenate(
        [half_widths(observed[:, [k]], np.array([p]), 1, level) for k in counts], dtype=np.float64
    )
    outside = np.abs(counts / n_seeds - p) > allowed
    assert stats.binom.pmf(counts[outside], n_seeds, p).sum() <= 3 * level


def test_a_wrong_rate_is_found():
    rng = np.random.default_rng(0)
    observed = rng.binomial(128, 0.71, (1200, 8)) / 128
    off = np.abs(observed.mean(axis=0) - 0.72)
    assert (off > half_widths(observed, np.full(8, 0.72), 128, 1e-6)).all()
