"""The documentation as a site: ``python tools/build_site.py build/site``.

Needs ``pip install 'lshsample[docs]'``, and no network. The site has the pages of docs/ and those beside
the sources (CONTRIBUTING.md, the examples and others), with links between them as in the repository, and a
page for each public name, from its docstring. Notebooks are shown with the output that is stored in them.
The sections are those of docs/README.md: each has the pages that its table links to, in that order. Pages
that are HTML already, and files of figures, are copied as they are, to the same place. Any warning is a
failure. ``python tools/build_site.py OUT linkcheck`` asks for the pages of others that are
linked to.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import GenericAlias

import lshsample

__all__ = ["build", "pages", "sections", "stage", "with_links_of_the_site"]

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "README.md"
#: Pages beside the sources, with their names on the site.
OUTSIDE = {
    "CHANGELOG.md": "changelog",
    "CODE_OF_CONDUCT.md": "code-of-conduct",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "examples/README.md": "examples",
}
#: Pages that Sphinx writes itself, over one of the same name.
RESERVED = {"genindex", "search"}
#: Files below docs/ that are copied as they are, for links to open them.
AS_IT_IS = {".html", ".json"}
#: What the address of such a file begins with in what Sphinx reads; `docs/site/conf.py` takes it away.
SCHEME = "as-it-is"
#: The section that the generated pages of public names are in.
REFERENCE = "Reference"
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#]+)((?:#[^)]*)?)(?=\))")


def pages() -> dict[Path, str]:
    """The name on the site of each page: a path without its extension."""
    docs = ROOT / "docs"
    files = sorted([*docs.rglob("*.md"), *docs.rglob("*.ipynb")])
    named = {path: path.relative_to(docs).with_suffix("").as_posix() for path in files}
    named[INDEX] = "index"
    named |= {ROOT / path: name for path, name in OUTSIDE.items()}
    return named | {
        path: f"examples/{path.parent.name}" for path in sorted(ROOT.glob("examples/*/README.md"))
    }


def targets(page: Path, text: str) -> list[Path]:
    """The files that a page links to, in order; a folder stands for the README.md in it."""
    found = [(page.parent / link[1]).resolve() for link in _LINK.finditer(text)]
    return [path / "README.md" if path.is_dir() else path for path in found]


def with_links_of_the_site(page: Path, text: str, named: dict[Path, str]) -> str:
    """The text of a page, with its links to other pages as they are on the site.

    Raises
    ------
    SystemExit
        If a link leads to a file of the repository that the site does not have.
    """
    up = "../" * named[page].count("/")

    def on_site(link: re.Match[str]) -> str:
        (target,) = targets(page, f"]({link[0]})")
        if target in named:
            return f"{up}{named[target]}{target.suffix}{link[2]}"
        if target.suffix in AS_IT_IS and target.is_relative_to(ROOT / "docs"):
            return f"{SCHEME}:{up}{target.relative_to(ROOT / 'docs').as_posix()}{link[2]}"
        if target.is_relative_to(ROOT / "docs"):
            return f"{up}{target.relative_to(ROOT / 'docs').as_posix()}"
        raise SystemExit(f"{page}: the site has no {link[1]}, to which a link leads")

    return _LINK.sub(on_site, text)


def sections() -> dict[str, str]:
    """The text of each section of the start page that leads to pages, by its heading."""
    parts = re.split(r"^## (.+)\n", INDEX.read_text(), flags=re.MULTILINE)[1:]
    return {
        heading: text for heading, text in zip(parts[::2], parts[1::2], strict=True) if _LINK.search(text)
    }


def toctree(names: list[str]) -> str:
    """The contents of a page, in the site's navigation alone."""
    return "\n".join(["", "```{toctree}", ":hidden:", "", *(f"/{name}" for name in names), "```", ""])


def stage(folder: Path) -> None:
    """Write what Sphinx reads: the pages with links and contents of the site, and lists of public names.

    Raises
    ------
    SystemExit
        If a page is in no section, or has a name that Sphinx uses.
    """
    named = pages()
    if reserved := RESERVED & set(named.values()):
        raise SystemExit(f"Sphinx writes pages of its own with the names of {sorted(reserved)}")
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.md", "*.html", "*.json", "site"))
    contents: dict[str, list[str]] = {name: [] for name in named.values()}
    placed = {"index"}
    for heading, text in sections().items():
        name = heading.lower().replace(" ", "-")
        own = [named[path] for path in dict.fromkeys(targets(INDEX, text)) if path in named]
        own = [page for page in own if page not in placed]
        placed.update(own)
        listed = [*own, "api/index"] if heading == REFERENCE else own
        body = with_links_of_the_site(INDEX, text, named)
        folder.joinpath(f"{name}.md").write_text(f"# {heading}\n\n{body}{toctree(listed)}")
        contents["index"].append(name)
    for name in sorted(set(named.values()) - placed):
        above = name.rpartition("/")[0]  # families/simhash is below families
        if above not in contents:
            raise SystemExit(f"docs/README.md links to {name} in no section")
        contents[above].append(name)
    for path, name in named.items():
        if path.suffix == ".ipynb":
            continue  # copied with the pictures
        text = with_links_of_the_site(path, path.read_text(), named)
        file = folder / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + toctree(contents[name]) if contents[name] else text)
    for path in (path for path in (ROOT / "docs").rglob("*") if path.suffix in AS_IT_IS):
        file = folder / "extra" / path.relative_to(ROOT / "docs")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, file)
    write_api(folder / "api")


def public_modules() -> list[str]:
    """The modules for users: those in which most names are at home first, then those that show them again."""
    beside = {"convolution", "ray", "serve", "sklearn", "streams", "text", "torch", "xc"}
    own = sorted({*lshsample._MODULES, *beside} - {"plugin"})
    return [*(f"lshsample.{name}" for name in own), "lshsample.plugin", "lshsample"]


def write_api(folder: Path) -> None:
    """A page for each public module, with a table of its names, from which their pages are made."""
    folder.mkdir()
    home: dict[int, str] = {}
    for module in public_modules():
        loaded = importlib.import_module(module)
        names = [name for name in loaded.__all__ if not name.startswith("__")]
        types = [name for name in names if isinstance(getattr(loaded, name), GenericAlias)]
        names = [name for name in names if name not in types]
        new = [name for name in names if id(getattr(loaded, name)) not in home]
        home |= {id(getattr(loaded, name)): f"{module}.{name}" for name in new}
        again = [home[id(getattr(loaded, name))] for name in names if name not in new]
        lines = [
            f"``{module}``",
            "=" * (len(module) + 4),
            "",
            f".. automodule:: {module}",
            "   :no-members:",
            "",
        ]
        if new:
            lines += [f".. currentmodule:: {module}", "", ".. autosummary::", "   :toctree: generated", ""]
            lines += [*(f"   {name}" for name in new), ""]
        for name in types:
            lines += [f".. py:data:: {module}.{name}", "", f"   ``{getattr(loaded, name)}``", ""]
        if again:
            lines += ["Here too: " + ", ".join(f":py:obj:`{name}`" for name in again) + ".", ""]
        folder.joinpath(f"{module}.rst").write_text("\n".join(lines))
    lines = ["Public names", "============", "", "From the docstrings of the modules.", ""]
    lines += [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in sorted(public_modules())), ""]
    folder.joinpath("index.rst").write_text("\n".join(lines))


def build(out: Path, builder: str = "html") -> int:
    """Build the site below ``out``; returns Sphinx's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        stage(source)
        command = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-q"]
        command += ["-c", str(ROOT / "docs" / "site"), "-d", f"{folder}/doctrees"]
        command += ["-D", f"html_extra_path={source / 'extra'}", str(source), str(out)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(build(*map(Path, sys.argv[1:2]), *sys.argv[2:3]))
