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
    modules = dict.fromkeys(lshsample._MODULES, "lshsample")
    assert dict(typed_imports()) == lshsample._HOME_OF | modules


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


def test_modules_are_there_after_import_lshsample():
    lines = ["import lshsample"]
    lines += [f"assert lshsample.{name}.__name__ == 'lshsample.{name}'" for name in lshsample._MODULES]
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)


@pytest.mark.parametrize("module", [lshsample, lshsample.plugin], ids=lambda module: module.__name__)
def test_dir_shows_what_is_public_alone(module):
    shown = {name for name in dir(module) if not name.startswith("__")}
    modules = lshsample._MODULES if module is lshsample else ()
    assert shown == {*module.__all__, *modules} - {"__version__"}
    assert all(hasattr(module, name) for name in dir(module))


def test_plugins_find_what_they_need():
    families = {"hookimpl", "HashFamily", "FamilySpec", "WrapperFamily", "NativeKernel", "family_option"}
    stages = {"SamplerStage", "ActiveSet", "Batch", "Inclusion", "Pairs", "Expected", "Population"}
    others = {"ArgumentError", "integer", "number", "one_of", "get_include", "isa"}
    assert families | stages | others <= set(dir(lshsample.plugin))
