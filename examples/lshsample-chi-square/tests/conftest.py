"""The tests run on the package as it is in this folder, or not at all."""

from pathlib import Path

import pytest

from lshsample.testing import stale_package


def pytest_configure(config):
    stale = stale_package("lshsample_chi_square", Path(__file__).resolve().parents[1])
    if stale:
        raise pytest.UsageError(stale)
