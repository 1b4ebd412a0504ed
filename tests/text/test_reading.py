"""Readers of texts: every format, what is detected, refusals with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lshsample.errors import ArgumentError, DataFormatError
from lshsample.text import FORMATS, TextRow, detect_text_format, read_texts, read_vocabulary

ROWS = [TextRow("a grey cat", ("cats", "grey things")), TextRow("nothing", ())]
CONTENT = {
    "jsonl": '{"text": "a grey cat", "labels": ["cats", "grey things"]}\n\n{"text": "nothing", "more": 1}\n',
    "tsv": "id\ttext\tlabels\n1\ta grey cat\tcats; grey things\n2\tnothing\t\n",
    "csv": 'labels,text\n"cats;grey things",a grey cat\n,nothing\n',
    "fasttext": "__label__cats __label__grey  a grey cat\nnothing\n",
    "annif": "a grey cat\t<http://x/cats> <http://x/grey>\nnothing\t\n",
}
LABELS = {"fasttext": ("cats", "grey"), "annif": ("http://x/cats", "http://x/grey")}


def write(folder: Path, form: str, *, packed: bool = False) -> Path:
    suffix = form if form in ("jsonl", "tsv", "csv") else "txt"
    path = folder / f"texts.{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(CONTENT[form].encode()) if packed else CONTENT[form].encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", CONTENT)
def test_every_format_is_recognised_and_read(form: str, packed: bool, tmp_path: Path) -> None:
    path = write(tmp_path, form, packed=packed)
    assert detect_text_format(path) == form
    wanted = [TextRow("a grey cat", LABELS.get(form, ROWS[0].labels)), ROWS[1]]
    assert list(read_texts(path)) == list(read_texts(path, form=form)) == wanted


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, content in {
        "b.txt": "second", "b.key": "dogs\n\ncats\n", "a.txt": "first", "a.tsv": "<http://x/1>\tone\n",
        "c.txt": "third",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    assert detect_text_format(tmp_path) == "folder"
    found = [("first", ("http://x/1",)), ("second", ("dogs", "cats")), ("third", ())]
    assert list(read_texts(tmp_path)) == [TextRow(*one) for one in found]
    assert set(FORMATS) == {*CONTENT, "folder"}


def test_other_keys_and_separators(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("title,tags\nx,a|b\n")
    assert list(read_texts(path, text="title", labels="tags", separator="|")) == [TextRow("x", ("a", "b"))]


@pytest.mark.parametrize(
    ("form", "content", "line", "said"),
    [
        ("jsonl", '{"text": "a"}\n{"text": 3}\n', 2, "the key 'text' must be a text, not 3"),
        ("jsonl", '{"text": "a", "labels": "b"}\n', 1, "the key 'labels' must be a list of names, not 'b'"),
        ("jsonl", "{}x\n", 1, "not a JSON object"),
        ("jsonl", "[1]\n", 1, "a JSON object is expected"),
        ("tsv", "title\tlabels\n", 1, "there is no column 'text': the columns are 'title', 'labels'"),
        ("tsv", "text\tlabels\na\tb\nc\n", 3, "1 columns, the first line has 2"),
        ("annif", "a\t<x>\n\xff\n", 2, "the line is not UTF-8"),
    ],
)
def test_bad_lines_are_named(form: str, content: str, line: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataFormatError) as error:
        list(read_texts(path, form=form))
    assert str(error.value).startswith(f"{path}:{line}:")
    assert said in str(error.value)


def test_rows_of_features_are_no_texts(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("2 3 4\n0,1 0:1 2:0.5\n3 1:1\n")
    assert detect_text_format(path) is None
    with pytest.raises(ArgumentError, match=r"^form must be one of jsonl, .*not recognised"):
        read_texts(path)
    with pytest.raises(ArgumentError, match=r"^form must be one of .*did you mean 'jsonl'"):
        read_texts(path, form="json")


def test_a_vocabulary_has_names_and_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.tsv"
    path.write_text("<http://x/2>\tdogs\tnotation\n<http://x/1>\tcats\n")
    names = read_vocabulary(path)
    assert (names.names, names.uris) == (("dogs", "cats"), ("http://x/2", "http://x/1"))
    assert names.id_of("http://x/1") == names.id_of("cats") == 1
    for content, said in (
        ("<a>\tx\n<b>\tx\n", "the name 'x' is that of line 1 too"),
        ("x\ty\n", "<identifier>"),
    ):
        path.write_text(content)
        with pytest.raises(DataFormatError, match=said):
            read_vocabulary(path)
