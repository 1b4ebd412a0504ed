"""Isotonic calibration: order, correction, few cases."""

from __future__ import annotations

import numpy as np
import pytest

from lshsample.errors import ArgumentError
from lshsample.xc import Isotonic


def chances(log_odds):
    return 1 / (1 + np.exp(-log_odds))


def test_a_wrong_scale_is_corrected_and_the_order_is_kept():
    rng = np.random.default_rng(0)
    given = rng.normal(0, 3, 20_000)
    hits = rng.random(20_000) < chances(0.5 * given - 1)
    fitted = Isotonic.fit(given, hits)
    new = np.sort(rng.normal(0, 3, 5000))
    found = fitted(new)
    assert (np.diff(found) > 0).all()
    assert np.abs(chances(found) - chances(0.5 * new - 1)).mean() < 0.015
    outside = fitted(np.array([-1000.0, 999.0, 1000.0]))
    assert outside[0] < -900
    assert outside[2] - outside[1] == pytest.approx(1)


def test_scores_without_order_become_one_probability():
    fitted = Isotonic.fit(np.arange(4000.0), np.arange(4000) % 4 == 0)
    assert len(fitted.given) <= 10
    assert Isotonic.fit(-np.arange(4000.0), np.arange(4000) < 1000).true[-1] > 0
    falling = Isotonic.fit(np.arange(4000.0), np.arange(4000) < 1000)
    assert falling.true == pytest.approx([np.log(1000.5 / 3000.5)])


def test_few_cases_change_nothing():
    fitted = Isotonic.fit(np.linspace(-1, 1, 700), np.ones(700))
    assert fitted == Isotonic()
    np.testing.assert_array_equal(fitted([1.5, -2.0]), [1.5, -2.0])


def test_knots_that_do_not_rise_are_refused():
    with pytest.raises(ArgumentError, match=r"^given must be as many rising numbers"):
        Isotonic(given=(0.0, 1.0), true=(1.0, 1.0))
