"""Building the package without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "CC"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["build_wheel", "build_editable"])
@pytest.mark.parametrize("compiler", [{}, {"CC": "no-such-compiler -pipe"}], ids=["none", "CC"])
def test_without_a_compiler_there_is_one_sentence_of_advice(kind, compiler, tmp_path):
    code = f"from setuptools import build_meta; build_meta.{kind}({str(tmp_path)!r})"
    run = python(code, PATH=str(tmp_path), **compiler)
    assert run.returncode == 1
    advice = run.stderr.splitlines()[-1]
    name = compiler.get("CC", "")
    assert advice.startswith("lshsample is compiled when it is installed, and the C compiler '" + name)
    assert "install gcc or clang" in advice
    assert "Traceback" not in run.stderr
    assert len((run.stdout + run.stderr).splitlines()) < 6
    assert not list(tmp_path.glob("*.whl"))
