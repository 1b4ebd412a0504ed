"""What the tests of the kernels share."""

import numpy as np
import pytest

from lshsample._native import core


@pytest.fixture(params=core.available_isas())
def isa(request):
    """Every instruction set that this machine has, one after another."""
    with core.forced_isa(request.param):
        yield request.param


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20240517)
