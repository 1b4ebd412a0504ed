"""The packages of examples/ build, install, pass their tests and can be used."""

import importlib.util
import shutil
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fresh", Path(__file__).with_name("fresh.py"))
fresh = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fresh)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: Each package, with the command that lists what it brings, and its name there.
PACKAGES = {
    "lshsample-bit-sampling": ("families", "bit-sampling"),
    "lshsample-superbit": ("families", "superbit"),
    "lshsample-rescore": ("stages", "Rescore(k)"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return fresh.Environment(tmp_path_factory.mktemp("environment"))


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(PACKAGES)
    assert all(f"[{name}]({name})" in (EXAMPLES / "README.md").read_text() for name in PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_an_example(environment, tmp_path, name):
    # A copy, so that building leaves no files in the tree.
    package = tmp_path / name
    leave = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(EXAMPLES / name, package, ignore=leave)
    environment.install(package)
    output = environment.pytest(package, "tests")
    assert "passed" in output
    assert "failed" not in output
    command, brought = PACKAGES[name]
    assert brought in environment.lshsample(command)
