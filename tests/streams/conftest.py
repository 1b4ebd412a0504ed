"""Texts in several files, and the limits of blocks made small."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from lshsample.streams import files
from lshsample.text import TextRow

pytest.importorskip("sklearn", reason="pip install 'lshsample[text]'")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 2000)


@pytest.fixture(scope="session")
def texts() -> list[TextRow]:
    """400 texts; every seventh has no label."""
    draw, rows = random.Random(0), []
    for i in range(400):
        label = draw.randrange(10)
        words = [f"w{10 * label + draw.randrange(10)}" for _ in range(6)] + [f"x{draw.randrange(200)}"]
        rows.append(TextRow(" ".join(words), (f"l{label}", "all") if i % 7 else ()))
    return rows


@pytest.fixture(scope="session")
def folder(texts: list[TextRow], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts in four files of three formats, in this order by name."""
    place = tmp_path_factory.mktemp("texts")
    (place / "below").mkdir()
    lines = [json.dumps({"text": row.text, "labels": row.labels}) + "\n" for row in texts]
    (place / "a.jsonl").write_text("".join(lines[:150]))
    (place / "b.jsonl.gz").write_bytes(gzip.compress("".join(lines[150:250]).encode()))
    table = "".join(f"{row.text}\t{';'.join(row.labels)}\n" for row in texts[250:300])
    (place / "below" / "c.tsv").write_text("text\tlabels\n" + table)
    (place / "d.txt").write_text(
        "__label__l0 a line\n"
        + "".join(
            " ".join([*(f"__label__{one}" for one in row.labels), row.text]) + "\n" for row in texts[301:]
        )
    )
    (place / "notes.md").write_text("not read")
    return place
