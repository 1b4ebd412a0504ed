"""A compiled extension from other sources than the checkout's is reported by name."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lshsample._native import sources
from lshsample.cli import show
from lshsample.cli.commands import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A copy of the sources of both extensions."""
    for folder in ("cext", "plugins/csrc"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_extensions_of_these_sources_are_fresh(checkout):
    assert sources.stale_extensions(ROOT) == sources.stale_extensions(checkout) == []


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("cext/src/rng.c", ["lshsample._core"]),
        ("cext/kernels/vector.h", ["lshsample._core"]),
        ("cext/build_ffi.py", ["lshsample._core"]),
        ("cext/include/lshsample/family.h", ["lshsample._core", "lshsample_families._kernels"]),
        ("plugins/csrc/mips.c", ["lshsample_families._kernels"]),
    ],
)
def test_a_change_to_a_source_makes_what_it_is_compiled_into_stale(checkout, changed, stale):
    with (checkout / changed).open("a") as file:
        file.write("\n")
    messages = sources.stale_extensions(checkout)
    assert [message.split()[0] for message in messages] == stale
    assert all(f"other sources than those in {checkout}; run: pip install" in m for m in messages)


def test_a_file_that_is_new_gone_or_renamed_counts(checkout):
    def is_stale():
        return sources.check_extension("lshsample._core", checkout) is not None

    (checkout / "cext/src/new.c").touch()
    assert is_stale()
    (checkout / "cext/src/new.c").unlink()
    assert not is_stale()
    (checkout / "cext/src/rng.c").rename(checkout / "cext/src/random.c")
    assert is_stale()


def test_an_extension_that_is_missing_is_reported(checkout, monkeypatch):
    monkeypatch.setitem(sys.modules, "lshsample._core", None)
    assert "lshsample._core is not built" in sources.check_extension("lshsample._core", checkout)


def test_an_installed_package_has_no_sources_and_no_complaint(tmp_path):
    assert sources.source_digest("lshsample._core", tmp_path) == ""
    assert sources.stale_extensions(tmp_path) == []


def test_build_scripts_load_the_digest_without_the_package():
    alone = runpy.run_path(str(ROOT / "lshsample" / "_native" / "sources.py"))
    for name in sources.EXTENSIONS:
        assert alone["source_digest"](name, ROOT) == sources.source_digest(name)


def test_tests_stop_at_once_with_the_command_to_run(tmp_path):
    future = "from __future__ import annotations\n"
    changed = "from lshsample._native import sources\nsources.source_digest = lambda *_: 'changed'\n"
    conftest = (ROOT / "tests/conftest.py").read_text()
    assert future in conftest
    (tmp_path / "conftest.py").write_text(conftest.replace(future, future + changed))
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        tmp_path,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR, run.stdout
    assert run.stderr.startswith("ERROR: lshsample._core (")
    assert "run: pip install --editable ." in run.stderr
    assert "test_nothing" not in run.stdout


def test_info_warns_of_a_stale_extension(monkeypatch):
    assert "warning" not in CliRunner().invoke(app, ["info"]).output
    monkeypatch.setattr(show, "stale_extensions", lambda: ["lshsample._core was built from other sources"])
    assert "warning: lshsample._core was built from other sources" in CliRunner().invoke(app, ["info"]).output
