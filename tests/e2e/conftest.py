"""One environment for all tests of this folder."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fresh", Path(__file__).with_name("fresh.py"))
fresh = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fresh)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    pytest.importorskip("pip", reason="pip installs the packages")
    return fresh.Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="session")
def printed():
    return fresh.printed_commands
