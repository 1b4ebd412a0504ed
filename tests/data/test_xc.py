"""Readers of text, compared with a slow reference on valid, invalid and mutated files."""

import gzip
import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample.data import Dataset, load, read_libsvm, read_xc, source, stream_xc, write_xc
from lshsample.errors import ArgumentError, DataFormatError

FAST = settings(deadline=None, max_examples=80)


class Bad(Exception):
    """Raised by the reference parser."""


def nearest_float32(text: str) -> np.float32:
    """The float32 nearest to a decimal, ties to even, by exact fractions."""
    # A fraction with an exponent of many digits takes longer than any test: far beyond float32 it is known.
    whole, fraction, exponent = re.fullmatch(r"[+-]?([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?", text).groups()
    digits = (whole + fraction).lstrip("0")
    magnitude = int(exponent or 0) + len(digits) - len(fraction)  # the number is below 10 to this power
    if digits and magnitude > 60:
        raise Bad(text)
    exact = Fraction(text) if digits and magnitude > -60 else Fraction(0)
    if abs(exact) >= Fraction(2) ** 128 - Fraction(2) ** 103:  # from here on, rounding gives infinity
        raise Bad(text)
    largest = float(np.finfo(np.float32).max)
    guess = np.float32(min(max(float(exact), -largest), largest))
    steps = [guess, *(np.nextafter(guess, np.float32(way * largest)) for way in (-1, 1))]
    best = min(steps, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.int32)) & 1))
    return np.copysign(best, np.float32(-1 if text.startswith("-") else 1))


def reference_row(line: bytes, n_features: int, n_labels: int, feature_base: int = 0, label_base: int = 0):
    """One line as (labels, ids, values), or Bad."""
    line = line.removesuffix(b"\r")
    tokens = [token for token in re.split(rb"[ \t]+", line) if token]
    labels: set[int] = set()
    if tokens and line[:1] not in b" \t" and b":" not in tokens[0]:
        for part in tokens.pop(0).split(b","):
            if not re.fullmatch(rb"[0-9]+", part) or not label_base <= int(part) < label_base + n_labels:
                raise Bad(part)
            labels.add(int(part) - label_base)
    features = {}
    for token in tokens:
        match = re.fullmatch(rb"([0-9]+):([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)", token)
        if not match or not feature_base <= int(match[1]) < feature_base + n_features:
            raise Bad(token)
        if int(match[1]) - feature_base in features or len(match[2]) > 1000:
            raise Bad(token)
        features[int(match[1]) - feature_base] = nearest_float32(match[2].decode())
    return sorted(labels), sorted(features), [features[i] for i in sorted(features)]


def reference_xc(text: bytes, trust_rows: bool = False):
    """A whole file as (rows, n_features, n_labels), or Bad."""
    head, _, body = text.partition(b"\n")
    match = re.fullmatch(rb"[ \t]*([0-9]+)[ \t]+([0-9]+)[ \t]+([0-9]+)[ \t]*\r?", head)
    if not match or max(int(match[2]), int(match[3])) > 2**31 - 1:
        raise Bad(head)
    n_rows, n_features, n_labels = (int(number) for number in match.groups())
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    while lines and lines[-1].strip(b"\r") == b"" and (trust_rows or len(lines) > n_rows):
        lines.pop()
    if not trust_rows and len(lines) != n_rows:
        raise Bad("rows")
    return [reference_row(line, n_features, n_labels) for line in lines], n_features, n_labels


def assert_equal_rows(data: Dataset, rows, n_features: int, n_labels: int) -> None:
    """A dataset equals the reference, bit for bit."""
    assert data.x.shape == (len(rows), n_features)
    assert data.y.shape == (len(rows), n_labels)
    rows = [
        (labels, [i for i, v in zip(ids, values, strict=True) if v], [v for v in values if v])
        for labels, ids, values in rows
    ]
    for side in (data.x, data.y):
        assert (side.indptr.dtype, side.indices.dtype, side.data.dtype) == (np.int32, np.int32, np.float32)
    assert data.x.indptr.tolist() == np.cumsum([0] + [len(ids) for _, ids, _ in rows]).tolist()
    assert data.x.indices.tolist() == [i for _, ids, _ in rows for i in ids]
    wanted = np.array([v for _, _, values in rows for v in values], np.float32)
    assert data.x.data.view(np.int32).tolist() == wanted.view(np.int32).tolist()
    assert data.y.indptr.tolist() == np.cumsum([0] + [len(labels) for labels, _, _ in rows]).tolist()
    assert data.y.indices.tolist() == [label for labels, _, _ in rows for label in labels]
    assert (data.y.data == 1).all()


def file_of(folder: Path, text: bytes) -> Path:
    """A file with these bytes."""
    path = folder / "data.txt"
    path.write_bytes(text)
    return path


NUMBER = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.floats(min_value=-100, max_value=100).map(lambda v: f"{v:.5f}"),
    st.from_regex(r"[+-]?[0-9]{1,25}\.[0-9]{0,25}(e[+-]?[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(
        ["0", "-0", "1", ".5", "5.", "1e-46", "16777217", "16777219", "1.17549435e-38", "3.4028235e38"]
    ),
)
ROW = st.tuples(
    st.lists(st.integers(0, 6), max_size=4),
    st.dictionaries(st.integers(0, 9), NUMBER, max_size=5),
    st.booleans(),
)


def text_of(rows, line_end: str = "\n") -> bytes:
    """Rows as the bytes of a file; the third part of a row adds blanks."""
    lines = [f"{len(rows)} 10 7"]
    for labels, features, is_blank in rows:
        parts = [f"{i}:{v}" for i, v in features.items()]
        lines.append(
            ",".join(map(str, labels)) + " " + ("\t " if is_blank else " ").join(parts) + " " * is_blank
        )
    return (line_end.join(lines) + line_end).encode()


@FAST
@given(
    rows=st.lists(ROW, max_size=8), end=st.sampled_from(["\n", "\r\n"]), threads=st.sampled_from([1, 2, 4])
)
def test_valid_files_equal_the_reference(tmp_path_factory, rows, end, threads):
    text = text_of(rows, end)
    path = file_of(tmp_path_factory.mktemp("xc"), text)
    try:
        wanted = reference_xc(text)
    except Bad:  # a value beyond float32
        with pytest.raises(DataFormatError):
            read_xc(path, threads=threads)
        return
    assert_equal_rows(read_xc(path, threads=threads), *wanted)
    batches = list(stream_xc(path, 3, threads=threads))
    assert [b.n_rows for b in batches] == [min(3, len(rows) - i) for i in range(0, len(rows), 3)]
    assert np.concatenate([b.x.data for b in batches] or [[]]).tolist() == read_xc(path).x.data.tolist()


@settings(deadline=None, max_examples=250)
@given(
    rows=st.lists(ROW, min_size=1, max_size=4),
    cuts=st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(0, 3),
            st.sampled_from(
                [
                    b"",
                    b" ",
                    b":",
                    b",",
                    b"\n",
                    b"\r",
                    b"9",
                    b"-",
                    b".",
                    b"e",
                    b"\x00",
                    b"\xff",
                    b"nan",
                    b"1:2",
                    b"\t",
                    b"\x1f\x8b",
                ]
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    trust_rows=st.booleans(),
)
def test_mutated_files_are_refused_or_read_right(tmp_path_factory, rows, cuts, trust_rows):
    text = text_of(rows)
    for at, removed, added in cuts:
        at %= len(text) + 1
        text = text[:at] + added + text[at + removed :]
    path = file_of(tmp_path_factory.mktemp("mutated"), text)
    try:
        wanted = reference_xc(text, trust_rows)
    except Bad:
        wanted = None
    try:
        data = read_xc(path, trust_rows=trust_rows)
    except DataFormatError as error:
        if wanted is not None:
            raise AssertionError("refused a good file") from error
        return
    assert wanted is not None, "accepted an invalid file"
    assert_equal_rows(data, *wanted)


@FAST
@given(text=NUMBER)
def test_values_are_rounded_to_the_nearest_float32(tmp_path_factory, text):
    path = file_of(tmp_path_factory.mktemp("value"), f"1 1 1\n 0:{text}\n".encode())
    try:
        wanted = nearest_float32(text)
    except Bad:
        with pytest.raises(DataFormatError, match="finite"):
            read_xc(path)
        return
    found = read_xc(path).x.data
    assert found.view(np.int32).tolist() == ([wanted.view(np.int32)] if wanted else [])


def test_values_just_between_two_floats_are_rounded_exactly(tmp_path):
    rng = np.random.default_rng(0)
    floats = rng.integers(0x00800000, 0x7F000000, 300, dtype=np.int32).view(np.float32)
    texts = []
    for low in floats:
        middle = (Fraction(float(low)) + Fraction(float(np.nextafter(low, np.float32(np.inf))))) / 2
        digits = f"{float(middle):.17g}"
        texts += [
            digits,
            f"{float(middle):.30e}",
            digits.replace("e", "1e") if "e" in digits else digits + "1",
        ]
    texts = [t for t in texts if re.fullmatch(r"[0-9.]+(e[+-]?[0-9]+)?", t)]
    lines = "\n".join(f" 0:{t}" for t in texts)
    data = read_xc(file_of(tmp_path, f"{len(texts)} 1 1\n{lines}\n".encode()))
    wanted = np.array([nearest_float32(t) for t in texts])
    assert (data.x.data.view(np.int32) == wanted.view(np.int32)).all()


FAULTS = [
    (b"", 0, 0, "the file is empty"),
    (b"2 3\n", 1, 1, "bad header '2 3': expected three integers"),
    (b"a b c\n", 1, 1, "bad header"),
    (b"-1 3 3\n", 1, 1, "bad header"),
    (b"1 2147483648 3\n0 0:1\n", 1, 3, "at most 2147483647"),
    (b"2 3 3\n0 0:1\n", 3, 0, "ends after 1 samples, the header says 2; pass trust_rows=True"),
    (b"1 3 3\n0 0:1\n0 0:1\n", 3, 1, "more samples than the header's 1; pass trust_rows=True"),
    (b"1 3 3\n3 0:1\n", 2, 1, "label '3' is out of range: expected an id from 0 to 2"),
    (b"1 3 3\n0,7 0:1\n", 2, 3, "label '7' is out of range"),
    (b"1 3 0\n0 0:1\n", 2, 1, "expected none"),
    (b"1 3 3\n0 3:1\n", 2, 3, "feature id 3 is out of range: expected an id from 0 to 2"),
    (b"1 3 3\n0 99999999999999999999999:1\n", 2, 3, "out of range"),
    (b"1 3 3\nx 0:1\n", 2, 1, "label 'x': expected a non-negative integer"),
    (b"1 3 3\n-1 0:1\n", 2, 1, "label '-1'"),
    (b"1 3 3\n0, 0:1\n", 2, 3, "label ''"),
    (b"1 3 3\n0,1.5 0:1\n", 2, 3, "label '1.5'"),
    (b"1 3 3\n0 1\n", 2, 3, "'1': a colon is missing: expected feature:value"),
    (b"1 3 3\n0 a:1\n", 2, 3, "feature id is not a non-negative integer"),
    (b"1 3 3\n0 -1:1\n", 2, 3, "feature id is not a non-negative integer"),
    (b"1 3 3\n0 0:1 1:\n", 2, 7, "not a decimal number"),
    (b"1 3 3\n0 1:abc\n", 2, 3, "feature '1:abc': the value is not a decimal number"),
    (b"1 3 3\n0 1:1,5\n", 2, 3, "not a decimal number"),
    (b"1 3 3\n0 1:0x1\n", 2, 3, "not a decimal number"),
    (b"1 3 3\n0 1:" + b"1" * 1001 + b"\n", 2, 3, "of at most 1000 characters"),
    (b"1 3 3\n0 1:nan\n", 2, 3, "not a finite float32"),
    (b"1 3 3\n0 1:-Infinity\n", 2, 3, "not a finite float32"),
    (b"1 3 3\n0 1:1e39\n", 2, 3, "not a finite float32"),
    (b"1 3 3\n0 1:1 0:2 1:3\n", 2, 11, "feature 1 occurs twice"),
    (b"1 3 3\n\x00\xff\x01 0:1\n", 2, 1, "binary data"),
    (b"1 3 3\n0 0:1\r 1:1\n", 2, 3, "not a decimal number"),
]


@pytest.mark.parametrize(("text", "line", "column", "problem"), FAULTS, ids=[fault[3] for fault in FAULTS])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_fault_is_reported_with_its_place(tmp_path, text, line, column, problem, packed):
    path = file_of(tmp_path, gzip.compress(text) if packed else text)
    with pytest.raises(DataFormatError, match=re.escape(problem)) as caught:
        read_xc(path)
    assert (caught.value.path, caught.value.line, caught.value.column) == (str(path), line, column)
    if line > 1:
        with pytest.raises(DataFormatError, match=re.escape(problem)):
            list(stream_xc(path, 2))


def test_the_first_fault_of_many_is_reported_for_any_number_of_threads(tmp_path):
    lines = ["0 " + " ".join(f"{i}:1" for i in range(100))] * 5000
    for bad in (2000, 2001, 4000):
        lines[bad] = "0 1:x"
    path = file_of(tmp_path, ("5000 100 1\n" + "\n".join(lines)).encode())
    for threads in (1, 2, 4):
        with pytest.raises(DataFormatError) as caught:
            read_xc(path, threads=threads)
        assert caught.value.line == 2002


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b[:-1],
        lambda b: b[:-9],
        lambda b: b[:20],
        lambda b: b[:5],
        lambda b: b + b"x",
        lambda b: b[:-8] + bytes(8),
    ],
)
def test_damaged_gzip_is_refused(tmp_path, spoil):
    path = file_of(tmp_path, spoil(gzip.compress(b"3 3 3\n" + b"0 0:1 1:0.5\n" * 3)))
    with pytest.raises(DataFormatError, match="gzip stream is"):
        read_xc(path)
    with pytest.raises(DataFormatError, match="gzip stream is"):
        list(stream_xc(path, 1))


def test_gzip_of_several_members_with_padding_is_read(tmp_path):
    path = file_of(tmp_path, gzip.compress(b"2 3 3\n0 0:1\n") + gzip.compress(b"1 1:1\n") + bytes(512))
    assert read_xc(path).y.indices.tolist() == [0, 1]


def test_lines_longer_than_a_chunk_and_many_blocks_are_read_the_same(tmp_path):
    rng = np.random.default_rng(1)
    wide = " ".join(f"{i}:{v:.6f}" for i, v in enumerate(rng.random(60_000)))
    narrow = ["1,2 5:1.5 7:2"] * 400_000
    lines = [wide, *narrow[:200_000], wide, *narrow[200_000:], wide]
    path = file_of(tmp_path, f"{len(lines)} 60000 3\n".encode() + "\n".join(lines).encode())
    assert path.stat().st_size > 7_000_000
    data = read_xc(path, threads=2)
    again = read_xc(path, threads=1)
    assert (data.x.data == again.x.data).all()
    assert (data.x.indptr == again.x.indptr).all()
    assert (data.y.indices == again.y.indices).all()
    assert data.x.nnz == 3 * 60_000 + 2 * 400_000
    assert data.y.nnz == 2 * 400_000
    batches = list(stream_xc(path, 100_000, threads=2))
    assert [b.n_rows for b in batches] == [100_000] * 4 + [3]
    assert (np.concatenate([b.x.data for b in batches]) == data.x.data).all()
    assert (np.concatenate([b.y.indices for b in batches]) == data.y.indices).all()


def test_empty_lines_at_the_end(tmp_path):
    assert read_xc(file_of(tmp_path, b"1 3 3\n0 0:1\n\n\r\n\n")).n_rows == 1
    assert read_xc(file_of(tmp_path, b"3 3 3\n0 0:1\n\n\r\n\n")).n_rows == 3
    assert read_xc(file_of(tmp_path, b"9 3 3\n0 0:1\n\n1 0:1\n\n"), trust_rows=True).y.indptr.tolist() == [
        0,
        1,
        1,
        2,
    ]
    assert read_xc(file_of(tmp_path, b"0 3 3\n")).n_rows == 0


def test_lines_beyond_every_bound_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataFormatError, match="first line is longer than 4096 bytes"):
        read_xc(file_of(tmp_path, b"1" * 5000 + b" 3 3\n"))
    monkeypatch.setattr(source, "MAX_LINE", 2**20)
    for endless in (b" 0:1" * 2**20, b"\n" * 2**22):
        path = file_of(tmp_path, b"1 3 3\n" + endless)
        with pytest.raises(DataFormatError, match="no sample ends within 1048576 bytes"):
            list(stream_xc(path, 1))


def test_leading_zeros_of_ids_are_ignored(tmp_path):
    path = file_of(tmp_path, b"1 3 3\n0 " + b"0" * 5000 + b"1:1 1:2\n")
    with pytest.raises(DataFormatError, match="occurs twice") as caught:
        read_xc(path)
    assert caught.value.column == 5007


def test_bad_arguments(tmp_path):
    path = file_of(tmp_path, b"1 3 3\n0 0:1\n")
    for batch_size in (0, -1, 2.0, True):
        with pytest.raises(ArgumentError, match="batch_size"):
            stream_xc(path, batch_size)
    with pytest.raises(ArgumentError, match="threads"):
        read_xc(path, threads=0)
    with pytest.raises(FileNotFoundError):
        read_xc(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        stream_xc(tmp_path / "absent", 2)


@FAST
@given(rows=st.lists(ROW, max_size=6), packed=st.booleans())
def test_write_and_read_again(tmp_path_factory, rows, packed):
    folder = tmp_path_factory.mktemp("round")
    try:
        wanted, n_features, n_labels = reference_xc(text_of(rows))
    except Bad:
        return
    data = read_xc(file_of(folder, text_of(rows)))
    path = folder / ("out.txt.gz" if packed else "out.txt")
    write_xc(path, data)
    assert_equal_rows(load(path), wanted, n_features, n_labels)
    assert [p.name for p in folder.iterdir() if p.name.endswith(".tmp")] == []


class TestLibsvm:
    def test_bases(self, tmp_path):
        path = file_of(tmp_path, b"1,5 3:0.2 7:1\n\n 1:1\n\n")
        data = read_libsvm(path)
        assert data.x.shape == (3, 7)
        assert data.y.shape == (3, 6)
        assert data.x.indices.tolist() == [2, 6, 0]
        data = read_libsvm(path, feature_base=0, label_base=1)
        assert data.x.indices.tolist() == [3, 7, 1]
        assert data.y.indices.tolist() == [0, 4]

    def test_ranges(self, tmp_path):
        path = file_of(tmp_path, b"1 1:1\n2 0:1\n")
        with pytest.raises(DataFormatError, match=r"feature id 0 .* from 1 to .*; feature_base=0") as caught:
            read_libsvm(path, feature_base=1)
        assert (caught.value.line, caught.value.column) == (2, 3)
        assert read_libsvm(path).x.indices.tolist() == [1, 0]
        with pytest.raises(DataFormatError, match="expected at most 0, as there is a feature 0"):
            read_libsvm(path, n_features=1)
        with pytest.raises(DataFormatError, match="label '2' is out of range"):
            read_libsvm(path, n_labels=2, feature_base=0)
        assert read_libsvm(path, 10, 20, feature_base=0).x.shape == (2, 10)

    def test_comments_and_queries_are_skipped(self, tmp_path):
        text = b"# made by 3:4 # hand\n1,5 qid:7 3:0.2 7:1 # 8:1\n  # nothing\nqid:2 1:1#\n\n# end\n"
        data = read_libsvm(file_of(tmp_path, text))
        assert data.x.indptr.tolist() == [0, 2, 3, 3]
        assert data.x.indices.tolist() == [2, 6, 0]
        assert data.y.indptr.tolist() == [0, 2, 2, 2]
        assert load(file_of(tmp_path, text)).x.shape == (3, 7)
        for bad, column in ((b"1 qid:x 3:1\n", 3), (b"1 3:1 qid:2\n", 7), (b"1 qid: 3:1\n", 3)):
            with pytest.raises(DataFormatError, match="not a non-negative integer") as caught:
                read_libsvm(file_of(tmp_path, bad))
            assert caught.value.column == column
        with pytest.raises(DataFormatError, match="no samples"):
            read_libsvm(file_of(tmp_path, b"# nothing\n"))

    @FAST
    @given(
        rows=st.lists(ROW, min_size=1, max_size=8),
        comments=st.lists(st.sampled_from(["", " # 3:4, 5", "#", "\t#:,#"]), min_size=8, max_size=8),
        lines=st.lists(st.sampled_from(["", "# 1,2 3:4\n", "  #\n# ,:\n"]), min_size=9, max_size=9),
        threads=st.sampled_from([1, 3]),
        repeat=st.sampled_from([1, 2000]),
    )
    def test_comments_change_nothing(self, tmp_path_factory, rows, comments, lines, threads, repeat):
        rows = [(labels or [3], features, is_blank) for labels, features, is_blank in rows]
        plain = text_of(rows).decode().split("\n")[1:-1]
        full = "".join(
            f"{before}{line}{comment}\n"
            for before, line, comment in zip(lines, plain, comments)  # noqa: B905
        )
        folder, options = tmp_path_factory.mktemp("svm"), {"n_features": 10, "n_labels": 7}
        options |= {"feature_base": 0, "threads": threads}
        try:
            wanted = read_libsvm(file_of(folder, ("\n".join(plain) + "\n").encode() * repeat), **options)
        except DataFormatError:  # a value beyond float32
            with pytest.raises(DataFormatError):
                read_libsvm(file_of(folder, full.encode() * repeat), **options)
            return
        found = read_libsvm(file_of(folder, full.encode() * repeat), **options)
        for side in ("x", "y"):
            for name in ("indptr", "indices", "data"):
                one, other = (getattr(getattr(data, side), name) for data in (wanted, found))
                assert np.array_equal(one, other)

    def test_refusals(self, tmp_path):
        with pytest.raises(DataFormatError, match="no samples"):
            read_libsvm(file_of(tmp_path, b"\n\n"))
        with pytest.raises(DataFormatError, match="empty"):
            load(file_of(tmp_path, b""))
        path = file_of(tmp_path, b"1 1:1\n")
        for options in (
            {"feature_base": 2},
            {"label_base": True},
            {"n_features": -1},
            {"n_labels": 2**31},
            {"n_labels": 1.5},
        ):
            with pytest.raises(ArgumentError, match=next(iter(options))):
                read_libsvm(path, **options)

    def test_load_recognises_formats(self, tmp_path):
        assert load(file_of(tmp_path, gzip.compress(b"1 3 3\n0 2:1\n"))).x.shape == (1, 3)
        assert load(file_of(tmp_path, b"0 2:1\n"), n_features=9).x.shape == (1, 9)
        with pytest.raises(ArgumentError, match=r"n_features must be .*trust_rows.*format xc"):
            load(file_of(tmp_path, b"1 3 3\n0 2:1\n"), n_features=9)

    @pytest.mark.parametrize("header", [b"2 3 4 5", b"a b c", b"2 -3 4", b"2.0 3 4"])
    def test_a_bad_header_is_reported_as_such(self, tmp_path, header):
        """Several words without a colon are not a row of another format."""
        with pytest.raises(DataFormatError, match=r"bad header .*: expected three integers"):
            load(file_of(tmp_path, header + b"\n0 0:1\n"))


@pytest.fixture(scope="module")
def real() -> Path:
    """The folder of real data, from LSHSAMPLE_DATA."""
    folder = os.environ.get("LSHSAMPLE_DATA")
    if not folder:
        pytest.skip("LSHSAMPLE_DATA is not a folder of real data")
    return Path(folder)


class TestRealData:
    def test_a_wrong_header_is_refused_unless_the_rows_are_trusted(self, real):
        path = real / "amazon-670k-sample" / "test.txt.gz"
        with pytest.raises(DataFormatError, match=r":514:0: .*after 512 samples, the header says 153025"):
            read_xc(path)
        assert read_xc(path, trust_rows=True).y.shape == (512, 670_091)
        assert sum(b.n_rows for b in stream_xc(path, 100, trust_rows=True)) == 512

    @pytest.mark.parametrize("name", ["bibtex", "delicious", "citeulike-t"])
    def test_real_files_equal_the_reference(self, real, name):
        path = real / name / "test.txt.gz"
        text = gzip.decompress(path.read_bytes()).split(b"\n")
        data = read_xc(path)
        for row in range(0, data.n_rows, 50):
            part = data.take([row])
            wanted = reference_row(text[row + 1], data.n_features, data.n_labels)
            assert_equal_rows(part, [wanted], data.n_features, data.n_labels)
