"""Estimates: intervals, logarithms, quotients."""

import numpy as np
import pytest
from scipy import stats

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.estimates import Estimate


def estimate(**changes):
    given = {"value": np.array([5.0, -2.0]), "standard_error": np.array([1.0, 0.5])}
    return Estimate(**{**given, "degrees": np.array(7.0), "method": "replicates", **changes})


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_are_those_of_student(level):
    low, high = estimate().interval(level)
    expected = stats.t.interval(level, 7, loc=[5, -2], scale=[1, 0.5])
    np.testing.assert_allclose((low, high), expected)


@pytest.mark.parametrize("level", [0, 1, -0.1, 95])
def test_the_level_is_a_probability(level):
    with pytest.raises(ArgumentError, match="level"):
        estimate().interval(level)


def test_without_a_standard_error_there_is_no_interval():
    with pytest.raises(UnsupportedError, match="replicates"):
        estimate(standard_error=None).interval()
    with pytest.raises(UnsupportedError, match="biased sample has no confidence interval: Top"):
        estimate(biased_by="Top(5)").interval()


def test_the_logarithm_is_corrected_for_its_bias():
    log = estimate(value=np.array([4.0, 8.0])).log()
    relative = np.array([0.25, 0.0625])
    np.testing.assert_allclose(log.value, np.log([4, 8]) + relative**2 / 2)
    np.testing.assert_allclose(log.standard_error, relative)
    assert estimate(value=np.array([4.0]), standard_error=None).log().value.item() == np.log(4)
    infinite = estimate(value=np.array([4.0]), standard_error=np.array([np.inf])).log()
    assert infinite.value.item() == np.log(4)


def test_a_quotient_has_the_error_of_the_quotient():
    half = estimate() / -2
    assert half.value.tolist() == [-2.5, 1]
    assert half.standard_error.tolist() == [0.5, 0.25]
    assert (estimate(standard_error=None) / 2).standard_error is None


def test_the_first_component():
    wide = estimate(value=np.ones((3, 1)), standard_error=np.zeros((3, 1)), degrees=np.full((3, 1), 4.0))
    column = wide.column()
    assert (column.value.shape, column.standard_error.shape, column.degrees.shape) == ((3,), (3,), (3,))
    assert estimate(value=np.ones((3, 1)), standard_error=None).column().standard_error is None
