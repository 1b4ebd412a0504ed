"""What the packaging must name, since nothing finds it by itself."""

import tomllib
from pathlib import Path

import lshsample

ROOT = Path(lshsample.__file__).resolve().parent.parent


def test_every_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("lshsample/**/__init__.py")}
    assert found <= named
