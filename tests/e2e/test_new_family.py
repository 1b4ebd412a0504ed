"""A package written by ``lshsample new-family`` builds, passes its tests unchanged, and works."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError
from lshsample.scaffold import KINDS, write_package

_spec = importlib.util.spec_from_file_location("fresh", Path(__file__).with_name("fresh.py"))
fresh = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fresh)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return fresh.Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Each of 40 labels has its own four features."""
    labels = np.random.default_rng(0).integers(0, 40, 300)
    columns = (labels[:, None] * 4 + np.arange(4)).ravel()
    x = sp.csr_array((np.ones(1200), (np.repeat(np.arange(300), 4), columns)), shape=(300, 160))
    y = sp.csr_array((np.ones(300), (np.arange(300), labels)), shape=(300, 40))
    path = tmp_path_factory.mktemp("data") / "train.txt"
    write_xc(path, Dataset.of(x, y))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_of_each_kind(environment, data, tmp_path, kind):
    if kind == "numba":
        pytest.importorskip("numba", reason="the kernel of this kind is compiled by numba: pip install numba")
    name = f"brand-new-{kind}"
    environment.lshsample("new-family", name, "--kind", kind, "--dest", tmp_path)
    environment.install(tmp_path / name)
    output = environment.pytest(tmp_path / name, "tests")
    assert "passed" in output
    assert "failed" not in output
    # The whole kit is run: only checks of kernels and probes are skipped, for families without them.
    assert f"{2 if kind != 'python' else 3} skipped" in output, output
    assert name in environment.lshsample("families")
    options = [
        "--family",
        name,
        "--epochs",
        2,
        "--n-active",
        20,
        "--hidden",
        16,
        "--json",
        tmp_path / "r.json",
    ]
    environment.lshsample("train", data, *options)
    assert json.loads((tmp_path / "r.json").read_text())["steps"] > 0


@pytest.mark.parametrize(
    "name", ["", "My-Family", "3d", "a--b", "a_b", "-a", "a" * 41, "simhash", "class", "../x"]
)
def test_invalid_names_are_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match="NAME must be "):
        write_package(name, "python", tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_nothing_is_overwritten(tmp_path):
    write_package("some-signs", "cffi", tmp_path / "package")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ArgumentError, match="a folder that does not exist or is empty"):
        write_package("other-signs", "python", tmp_path / "package")
    with pytest.raises(ArgumentError, match=r"kind must be one of python, numba, c, cffi \(got 'rust'\)"):
        write_package("other-signs", "rust", tmp_path / "other")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not any("@" in path.name or b"@" in text.replace(b"@attrs", b"").replace(b"@hookimpl", b"")
                   .replace(b"@pytest", b"").replace(b"@cached_property", b"")
                   for path, text in before.items())  # fmt: skip


def test_an_invalid_name_on_the_command_line():
    command = [sys.executable, "-c", fresh.LSHSAMPLE, "new-family", "simhash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "NAME must be a new name, unlike those of the families" in done.stderr
