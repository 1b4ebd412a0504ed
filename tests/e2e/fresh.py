"""A new environment in which packages are built, installed and used."""

import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

LSHSAMPLE = "from lshsample.cli import main; main()"


class Environment:
    """A virtual environment that sees the packages of this one, and into which others are installed.

    The packages are copied first, so that a build leaves no files in their source tree.
    """

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
        lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(paths))
        target = subprocess.run(
            [self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        Path(target.stdout.strip(), "beside.pth").write_text(lines)

    def run(self, *words: object, cwd: Path | None = None) -> str:
        """Run the environment's Python; returns its output, or raises AssertionError with it."""
        done = subprocess.run(
            [self.python, *map(str, words)],
            cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "COLUMNS": "250"},
        )  # fmt: skip
        assert done.returncode == 0, f"{words}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def lshsample(self, *words: object) -> str:
        """Run the command line."""
        return self.run("-c", LSHSAMPLE, *words)

    def install(self, package: Path) -> None:
        """Build and install a package, offline, with this lshsample."""
        pytest.importorskip("pip", reason="pip installs the package")
        words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", str(package)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, *words],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{package}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"

    def pytest(self, package: Path, *words: object) -> str:
        """Run a package's tests, with its settings."""
        plain = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", package]
        return self.run("-m", "pytest", *plain, *words, cwd=package)
