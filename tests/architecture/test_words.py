"""Files speak of what is there: not of how, where or for whom it was made, and of nothing left to do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("benchmarks", "cext", "docs", "examples", "lshsample", "plugins", "tests", "tools")
SUFFIXES = {
    ".c",
    ".h",
    ".in",
    ".ipynb",
    ".json",
    ".md",
    ".py",
    ".sh",
    ".svg",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
FILES = sorted(
    path
    for path in [*ROOT.glob("*"), *(path for part in PARTS for path in (ROOT / part).rglob("*"))]
    if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__)
)
#: What must not be written, and an example of it.
BANNED = {
    "a path of one machine": (r"(?<![\w.:<])/(?:work|root|home)/\w|/tmp/\w/", "see /home/me/data"),
    "a number of a tracker": (r"(?i)\b(?:issue|ticket|PR|pull request)s? #?\d", "as ticket #12 says"),
    "a part of the work": (r"(?i)\b(?:in|of|by|from) (?:this|an earlier|a later|the last|another) session\b",
                           "measured in an earlier session"),
    "who wrote it": (r"(?i)\b(?:chatgpt|copilot|co-authored-by)\b", "Co-authored-by: me"),
    "what is left to do": (r"\b(?:TODO|FIXME|XXX)\b", "# TODO: later"),
}  # fmt: skip


@pytest.mark.parametrize("what", BANNED)
def test_no_file_has(what: str) -> None:
    pattern, example = BANNED[what]
    assert re.search(pattern, example), "or the test finds nothing"
    found = []
    for path in FILES:
        text = path.read_text(errors="replace")
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]}")
    assert not found, f"{what}:\n" + "\n".join(found)


def test_files_are_found() -> None:
    assert len(FILES) > 300
