"""Runs of the tests: on extensions built from the sources of this checkout alone, and without the fuzzers."""

import pytest

from lshsample._native.sources import stale_extensions

#: `tools/fuzz.sh` runs the fuzzers, which need what it installs.
collect_ignore = ["fuzz"]


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once where the compiled code is not that of the sources: its tests would mean nothing."""
    messages = stale_extensions()
    if messages:
        raise pytest.UsageError("\n".join(messages))
