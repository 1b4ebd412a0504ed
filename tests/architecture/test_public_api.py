"""Public names, with their arguments, are those of public_names.txt; versions and the changelog agree.

After a change on purpose: ``python tests/architecture/test_public_api.py`` writes the file again.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import lshsample

ROOT = Path(__file__).resolve().parents[2]
LISTED = Path(__file__).with_name("public_names.txt")


def tool(name):
    """A script of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(thing):
    """The names of the arguments of a function or a class, without types and values."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return ""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except ValueError:  # a class without a constructor of its own, as of exceptions
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    words, keywords = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not keywords:
            words.append("*")
        keywords = keywords or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        words.append(stars.get(one.kind, "") + one.name + ("=" if one.default is not one.empty else ""))
    return f"({', '.join(words)})"


def public_names():
    """A line for each public name; and for each method of a class, where the class is at home."""
    lines, seen = set(), set()
    for module in tool("build_site").public_modules():
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            thing = getattr(loaded, name)
            lines.add(f"{module}.{name}{arguments(thing)}")
            if inspect.isclass(thing) and thing.__module__.startswith("lshsample") and thing not in seen:
                seen.add(thing)
                methods = ((key, value) for key, value in vars(thing).items() if inspect.isfunction(value))
                lines |= {
                    f"{module}.{name}.{key}{arguments(value)}"
                    for key, value in methods
                    if not key.startswith("_")
                }
    return sorted(lines)


def test_public_names_are_those_of_the_list():
    assert public_names() == LISTED.read_text().splitlines(), (
        "the public names changed; if on purpose: python tests/architecture/test_public_api.py"
    )


def test_the_versions_agree_and_a_release_needs_its_tag_and_its_changes():
    faults = tool("check_release").faults
    assert faults() == []
    (tag, *_) = faults("v0.0.0")
    assert tag == f"the tag must be v{lshsample.__version__} (got v0.0.0)"


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert all(
        re.fullmatch(r"Unreleased|\[?\d+\.\d+\.\d+\]?( [-–])? \d{4}-\d\d-\d\d", line) for line in headings
    )


if __name__ == "__main__":
    LISTED.write_text("".join(f"{line}\n" for line in public_names()))
