"""The site has every page, in one place, with links that lead to pages of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site():
    """The script that builds it, as a module."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "tools" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_contents_of_one_other(site, tmp_path):
    site.stage(tmp_path / "staged")
    found = {
        path.relative_to(tmp_path / "staged").with_suffix("").as_posix()
        for path in tmp_path.rglob("*")
        if path.suffix in {".md", ".ipynb"}
    }
    listed = [
        name
        for path in tmp_path.rglob("*.md")
        for tree in re.findall(r"```{toctree}\n:hidden:\n\n(.*?)```", path.read_text(), re.DOTALL)
        for name in re.findall("^/(.+)$", tree, re.MULTILINE)
    ]
    assert found >= set(site.pages().values()) | {
        "tutorials",
        "how-to-guides",
        "explanations",
        "reference",
        "project",
    }
    assert sorted(listed) == sorted((found | {"api/index"}) - {"index"})
    for path in tmp_path.rglob("*.md"):
        for target in re.findall(r"\]\(((?!https?:|#|mailto:)[^)#]+)", path.read_text()):
            file, folder = target.removeprefix(f"{site.SCHEME}:"), path.parent
            if file != target:
                folder = tmp_path / "staged" / "extra" / path.parent.relative_to(tmp_path / "staged")
            assert (folder / file).exists(), f"{path.name}: {target}"


def test_a_page_that_sphinx_would_write_over_is_refused(site, monkeypatch, tmp_path):
    monkeypatch.setattr(site, "pages", lambda: {ROOT / "docs" / "search.md": "search"})
    with pytest.raises(SystemExit, match="'search'"):
        site.stage(tmp_path / "staged")


def test_links_are_as_in_the_repository_until_they_leave_the_site(site, monkeypatch):
    named = site.pages()
    page = ROOT / "docs" / "families" / "dwta.md"
    text = (
        "[a](../data.md#labels) [b](../../examples/lshsample-superbit) [c](../explain.svg) [d](https://x.org)"
    )
    assert site.with_links_of_the_site(page, text, named) == (
        "[a](../data.md#labels) [b](../examples/lshsample-superbit.md) [c](../explain.svg) [d](https://x.org)"
    )
    assert site.with_links_of_the_site(page, "[a](../scale.json)", named) == "[a](as-it-is:../scale.json)"
    with pytest.raises(SystemExit, match="the site has no"):
        site.with_links_of_the_site(page, "[e](../../pyproject.toml)", named)


def test_files_that_are_no_pages_are_copied_as_they_are(site, monkeypatch, tmp_path):
    root = tmp_path / "root"
    root.joinpath("docs", "families").mkdir(parents=True)
    root.joinpath("docs", "README.md").write_text("# A\n\n## B\n\n[c](families/c.md)\n")
    root.joinpath("docs", "families", "c.md").write_text(
        "# C\n\n[run](../run.html#top), [figures](../run.json)\n"
    )
    root.joinpath("docs", "run.html").write_text("<p>as it is")
    root.joinpath("docs", "run.json").write_text("{}")
    monkeypatch.setattr(site, "ROOT", root)
    monkeypatch.setattr(site, "INDEX", root / "docs" / "README.md")
    monkeypatch.setattr(site, "OUTSIDE", {})
    monkeypatch.setattr(site, "write_api", lambda folder: None)
    site.stage(tmp_path / "staged")
    assert (tmp_path / "staged" / "extra" / "run.html").read_text() == "<p>as it is"
    assert (
        "[run](as-it-is:../run.html#top), [figures](as-it-is:../run.json)"
        in (tmp_path / "staged" / "families" / "c.md").read_text()
    )
