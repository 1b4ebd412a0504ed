"""What is installed, and what a source distribution holds."""

import re
import runpy
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools
import setuptools.command.editable_wheel

ROOT = Path(__file__).resolve().parents[2]
# Where another test has loaded Python's own distutils, before setuptools could put its copy in that place.
pytestmark = pytest.mark.filterwarnings("ignore:The distutils package is deprecated:DeprecationWarning")


def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return given


@pytest.fixture
def setup(monkeypatch) -> dict[str, Any]:
    """What setup.py says."""
    return said(monkeypatch)


def test_every_package_is_installed(setup: dict[str, Any]) -> None:
    packages = set(setup["packages"])
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


@pytest.mark.parametrize(("free_threaded", "wanted"), [(0, {"py_limited_api": "cp311"}), (1, {})])
def test_wheels_of_free_threaded_interpreters_are_for_their_own_version(
    free_threaded: int, wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, own = sysconfig.get_config_var, {"Py_GIL_DISABLED": free_threaded}
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: own.get(name, kept(name)))
    assert said(monkeypatch)["options"] == {"bdist_wheel": wanted}


def test_an_editable_install_is_a_file_of_paths(setup: dict[str, Any]) -> None:
    """Type checkers and editors read paths, and do not run import hooks."""
    command = setup["cmdclass"]["editable_wheel"](setuptools.Distribution())
    assert hasattr(setuptools.command.editable_wheel.editable_wheel, "_select_strategy"), (
        "which is overridden"
    )
    written = {}
    wheel = SimpleNamespace(writestr=written.__setitem__)
    with command._select_strategy("lshsample", "tag", "build") as strategy:
        strategy(wheel, [], {})
    assert written == {"__editable__.lshsample.pth": f"{ROOT}\n{ROOT / 'plugins'}\n"}


def test_windows_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(SystemExit, match=r"^lshsample needs Linux or macOS: on Windows, .*\.$"):
        said(monkeypatch)


def test_the_recipe_for_conda_needs_what_the_package_needs() -> None:
    recipe = (ROOT / "tools" / "conda" / "recipe.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = re.search(r"^  run:\n((?:    - .+\n)+)", recipe, re.MULTILINE)
    host = re.search(r"^  host:\n((?:    - .+\n)+)", recipe, re.MULTILINE)
    assert run is not None
    assert host is not None

    def listed(text: str) -> set[str]:
        return {line.removeprefix("    - ").replace(" ", "") for line in text.splitlines()}

    assert listed(run[1]) == {
        *project["project"]["dependencies"],
        f"python{project['project']['requires-python']}",
    }
    assert listed(host[1]) == {*project["build-system"]["requires"], "python", "pip"}
