"""The package on the page docs/plugins.md can be built, installed and found, and passes its tests."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```\w+\n(?:# |/\* )(\S+\.\w+)(?: \*/)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(*command, cwd, path=""):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    # Not imported: that fails once something else has imported the old distutils.
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed; the plugin is built with it, without a download")
    folder = tmp_path_factory.mktemp("plugin")
    files = dict(BLOCK.findall(PAGE.read_text()))
    assert {"pyproject.toml", "setup.py", "csrc/bits.c", "tests/test_families.py"} < set(files)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    run("-m", "pip", "install", *options, "--target", str(folder / "installed"), str(folder), cwd=folder)
    # Run in another folder, so that the installed package is imported.
    (folder / "elsewhere").mkdir()
    return folder


def test_the_families_are_found_and_work_as_any_other(package):
    program = """
import numpy as np, lshsample as ls
from lshsample.registry import default_registry
assert {"simhash", "sampled-bits", "sampled-bits-native"} <= set(ls.families())
assert "bit-families" in default_registry().owner("sampled-bits")
rows = np.random.default_rng(0).standard_normal((500, 24), dtype=np.float32)
tables = [
    ls.HashTables(ls.make_family(name, dim=24, n_hashes=6, n_tables=9)).build(rows)
    for name in ("sampled-bits", "sampled-bits-native")
]
slow, fast = [t.query(rows[:50]) for t in tables]
assert (slow.ids == fast.ids).all() and (slow.counts == fast.counts).all()
layers = [ls.Input(8), ls.Dense(24), ls.Sampled(50, family="sampled-bits-native", n_hashes=3, n_active=20)]
network = ls.Network(layers)
y = np.eye(50, dtype=np.float32)[:30]
print(ls.Trainer(network, epochs=2, batch_size=10, threads=2).fit(rows[:30, :8], y).steps)
"""
    assert run("-c", program, cwd=package / "elsewhere", path=package / "installed").split() == ["6"]


def test_its_own_tests_pass(package):
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests"))
    out = run(*command, cwd=package / "elsewhere", path=package / "installed")
    assert " passed" in out
    assert "failed" not in out
