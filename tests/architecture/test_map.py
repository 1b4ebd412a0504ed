"""Pages that describe the tree name what is there, and the picture of the floors is that of the imports."""

import importlib.util
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def drawing():
    """The script that draws the picture, as a module."""
    path = ROOT / "tools" / "draw_architecture.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table_names(page, heading):
    """What the first column of the first table below a heading names."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def folders():
    """The folders of the repository, by what it tracks."""
    try:
        run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a repository")
    return {path.split("/")[0] + "/" for path in run.stdout.splitlines() if "/" in path}


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=["CONTRIBUTING.md", "architecture.md"])
def test_every_folder_of_the_repository_is_described(page):
    named = table_names(page, "Folders")
    assert sorted(named) == sorted(name for name in folders() if not name.startswith("."))


def test_every_part_of_the_package_is_described_once(drawing):
    named = table_names(ARCHITECTURE, "Floors")
    package = ROOT / "lshsample"
    parts = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/*.py")
    }
    assert sorted(named) == sorted(parts - {"__init__", "lshsample"})
    floor_of = {name: number for number, names in enumerate(drawing.floors()) for name in names}
    assert set(named) <= set(floor_of)


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=["CONTRIBUTING.md", "architecture.md"])
def test_no_page_names_a_file_that_is_gone(page):
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page):
        assert (ROOT / path).exists(), f"{path} is not there"


def test_the_picture_is_that_of_the_imports(drawing):
    current = drawing.FILE.read_text() == drawing.drawing()
    assert current, "docs/architecture.svg is out of date; run python tools/draw_architecture.py"


def test_an_import_that_follows_from_others_is_not_drawn(drawing):
    edges = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert drawing.reduction(edges) == {("a", "b"), ("b", "c"), ("a", "d")}


def test_the_script_sees_every_kind_of_import(drawing, tmp_path, monkeypatch):
    (tmp_path / "lshsample").mkdir()
    (tmp_path / "lshsample" / "top.py").write_text(
        "import lshsample.one\n"
        "from lshsample import two\n"
        "if TYPE_CHECKING:\n    from lshsample.three import Three\n"
        "def late():\n    import_module('lshsample.four')\n"
    )
    monkeypatch.setattr(drawing, "ROOT", tmp_path)
    seen = drawing.imports({"top", "one", "two", "three", "four", "five"})
    assert {b for a, b in seen if a == "top"} == {"one", "two", "three", "four"}


def test_boxes_of_a_floor_do_not_overlap(drawing):
    rows = drawing.floors()
    edges = drawing.reduction(drawing.imports({name for names in rows for name in names}))
    routed, steps, widths = drawing._routed(rows, edges)
    places = drawing._positions(routed, steps, widths)
    for names in rows:
        boxes = sorted(
            (places[name][0] - widths[name] / 2, places[name][0] + widths[name] / 2) for name in names
        )
        assert all(a[1] < b[0] for a, b in pairwise(boxes))
    heights = {name: y for name, (_, y) in places.items()}
    assert all(heights[a] <= heights[b] for a, b in steps), "arrows go down"
