"""Whether the tree is that of a release: ``python tools/check_release.py v0.1.0``.

The version of the tag is that of the package, of pyproject.toml, of CITATION.cff and of the recipe for conda,
and the changelog's first section is about it, with a date. Without an argument the versions alone are
compared.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

__all__ = ["faults"]

ROOT = Path(__file__).resolve().parents[1]


def faults(tag: str | None = None) -> list[str]:
    """What keeps the tree from being a release."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found = []
    for name, pattern in (
        ("lshsample/__init__.py", r'^__version__ = "(.+)"$'),
        ("CITATION.cff", r"^version: (.+)$"),
        ("tools/conda/recipe.yaml", r'^  version: "(.+)"$'),
    ):
        match = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
        if match is None or match[1] != version:
            found.append(f"{name} must have the version {version} (has {match[1] if match else 'none'})")
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"the tag must be v{version} (got {tag})")
        headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        if not re.fullmatch(rf"\[?{re.escape(version)}\]?( [-–])? \d{{4}}-\d\d-\d\d", headings[0]):
            found.append(
                f"CHANGELOG.md must begin with '## {version} - DATE' (begins with '## {headings[0]}')"
            )
    return found


if __name__ == "__main__":
    messages = faults(*sys.argv[1:2])
    sys.exit("\n".join(messages) or None)
