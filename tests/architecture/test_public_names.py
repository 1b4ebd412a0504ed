"""The names of ``import lshsample``: loaded when they are first used, and known to type checkers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lshsample

SOURCE = Path(lshsample.__file__)


def typed_imports():
    """{name: module} of what type checkers see, each exported by being imported under its own name."""
    tree = ast.parse(SOURCE.read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} as {alias.name}: else it is not exported"
            yield alias.name, node.module


def test_type_checkers_see_the_names_that_are_loaded():
    assert dict(typed_imports()) == lshsample._HOME_OF


@pytest.mark.parametrize("name", lshsample.__all__)
def test_every_name_is_there(name):
    assert name in dir(lshsample)
    assert getattr(lshsample, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lshsample' has no attribute 'nothing'"):
        _ = lshsample.nothing


def test_nothing_is_imported_before_it_is_used():
    code = (
        "import lshsample, sys; print(*sorted(name for name in sys.modules if name.startswith('lshsample.')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
