"""One environment for all tests of this folder."""

import importlib.util
import os
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fresh", Path(__file__).with_name("fresh.py"))
fresh = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fresh)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    pytest.importorskip("pip", reason="pip installs the packages")
    base = tmp_path_factory.getbasetemp()
    # Processes that run the tests share what mypy has found of the packages that all of them use.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return fresh.Environment(tmp_path_factory.mktemp("environment"), shared / "mypy_cache")


@pytest.fixture(scope="session")
def printed():
    return fresh.printed_commands
