"""What is installed, and what a source distribution holds."""

import runpy
import subprocess
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def packages(monkeypatch) -> set[str]:
    """The packages that setup.py names."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return set(given["packages"])


def test_every_package_is_installed(packages: set[str]) -> None:
    found = {
        ".".join(path.parent.relative_to(root).parts)
        for root, name in ((ROOT, "lshsample"), (ROOT / "plugins", "lshsample_families"))
        for path in root.glob(f"{name}/**/*.py")
    }
    assert packages == found | {"lshsample.include"}


def test_a_source_distribution_holds_every_folder() -> None:
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    taken = {line.split()[1] for line in lines if line.startswith("graft ")} | {"lshsample"}
    try:
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a repository")
    folders = {path.split("/")[0] for path in tracked.stdout.splitlines() if "/" in path}
    assert {folder for folder in folders if not folder.startswith(".")} == taken
