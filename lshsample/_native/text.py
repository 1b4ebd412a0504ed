"""Parsing of sparse multi-label text into CSR arrays, and its errors with line, column and expected text."""

from __future__ import annotations

import re
from os import PathLike
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.core import check, ffi, lib, pointer
from lshsample.errors import DataFormatError

__all__ = ["MAX_ID", "Dialect", "ParsedRows", "parse_rows"]

#: One above the largest id that int32 indices can hold.
MAX_ID = 2**31 - 1


@attrs.frozen(kw_only=True)
class Dialect:
    """The numbers of features and labels in a text, their smallest ids, and whether there may be comments
    (and ``qid:``).
    """

    n_features: int = MAX_ID
    n_labels: int = MAX_ID
    feature_base: int = 0
    label_base: int = 0
    svmlight: bool = False


@attrs.frozen(eq=False)
class ParsedRows:
    """Parsed lines: two CSR patterns with ascending, unique ids in each row; the smallest and largest ids, -1
    for none.
    """

    x_indptr: npt.NDArray[np.int64]
    x_indices: npt.NDArray[np.int32]
    x_values: npt.NDArray[np.float32]
    y_indptr: npt.NDArray[np.int64]
    y_indices: npt.NDArray[np.int32]
    min_feature: int = attrs.field(kw_only=True)
    max_feature: int = attrs.field(kw_only=True)
    max_label: int = attrs.field(kw_only=True)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self.x_indptr) - 1


def parse_rows(
    text: bytes | bytearray, dialect: Dialect, threads: int, *, path: str | PathLike[str], first_line: int
) -> ParsedRows:
    """Parse lines of ``label,... feature:value ...`` in parallel.

    Parameters
    ----------
    text : bytes or bytearray
        Complete lines; the last one may lack its line end.
    dialect : Dialect
        The smallest ids and the numbers of features and labels.
    threads : int
        Threads to use; the result does not depend on it.
    path, first_line
        The file and the number of the first line, for errors.

    Raises
    ------
    DataFormatError
        At the first malformed token, with its line and column.

    Notes
    -----
    Cost: two passes over the bytes, and about 10 bytes of arrays for each feature value. Memory does not
    depend on the number of features or labels.
    """
    job, counts, keep = _counted(text, dialect, threads)
    rows = _allocated(counts)
    for name, array in rows.items():
        setattr(job, name, ffi.cast(ffi.typeof(getattr(job, name)), array.ctypes.data))
    status = lib.lsh_text_parse(job, threads)
    if status == lib.LSH_BAD_FORMAT:
        raise _error(bytes(text), job, dialect, path, first_line)
    check(status, "parsing text")
    del keep
    used = {"x_indptr": job.n_rows + 1, "y_indptr": job.n_rows + 1, "y_indices": job.labels}
    for name, array in rows.items():
        n = used.get(name, job.features)
        # There may be fewer than allocated; the copy frees the rest.
        rows[name] = array if n == len(array) else array[:n].copy()
    return ParsedRows(
        **rows, min_feature=job.min_feature, max_feature=job.max_feature, max_label=job.max_label
    )


def _counted(
    text: bytes | bytearray, dialect: Dialect, threads: int
) -> tuple[Any, npt.NDArray[np.int64], Any]:
    """A job for a text that is split and counted; its counts; and the objects that must outlive the job."""
    buffer = ffi.from_buffer("char[]", text)
    n_chunks = lib.lsh_text_chunks(len(text))
    bounds = np.empty(n_chunks + 1, np.int64)
    counts = np.empty((n_chunks, 3), np.int64)
    job = ffi.new("lsh_text_rows *")
    job.text, job.size = buffer, len(text)
    job.n_features, job.n_labels = dialect.n_features, dialect.n_labels
    job.feature_base, job.label_base = dialect.feature_base, dialect.label_base
    job.svmlight = dialect.svmlight
    places = pointer("int64_t *", bounds), pointer("int64_t *", counts)
    check(lib.lsh_text_count(buffer, len(text), threads, *places), "counting text")
    job.bounds, job.counts = places
    return job, counts, (buffer, bounds)


def _allocated(counts: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Arrays for as many rows, features and labels as were counted."""
    n_rows, n_colons, n_commas = (int(n) for n in counts.sum(axis=0))
    return {
        "x_indptr": np.empty(n_rows + 1, np.int64),
        "x_indices": np.empty(n_colons, np.int32),
        "x_values": np.empty(n_colons, np.float32),
        "y_indptr": np.empty(n_rows + 1, np.int64),
        "y_indices": np.empty(n_commas + n_rows, np.int32),
    }


def _error(
    text: bytes, job: Any, dialect: Dialect, path: str | PathLike[str], first_line: int
) -> DataFormatError:
    """The error for a fault: its place in the file, and a description of the token."""
    at = int(job.fault_offset)
    line_begin = text.rfind(b"\n", 0, at) + 1
    line_end = text.find(b"\n", at)
    line = text[line_begin : line_end if line_end >= 0 else len(text)]
    if job.fault == lib.LSH_TEXT_DUPLICATE:
        at = line_begin + _second_place(line, int(job.fault_id), dialect)
    match = re.match(rb"[^ \t\r\n]*", text[at : at + 4096])
    token = match.group() if match else b""
    if job.fault in (lib.LSH_TEXT_LABEL, lib.LSH_TEXT_LABEL_RANGE):
        token = token.split(b",")[0]
    number = first_line + text.count(b"\n", 0, at)
    return DataFormatError(path, number, at - line_begin + 1, _describe(job.fault, token, dialect))


def _second_place(line: bytes, feature: int, dialect: Dialect) -> int:
    """The offset in a line of the second occurrence of a feature."""
    wanted = str(feature + dialect.feature_base).encode()
    tokens = (m for m in re.finditer(rb"[^ \t]+", line) if b":" in m.group())
    places = [m.start() for m in tokens if (m.group().split(b":")[0].lstrip(b"0") or b"0") == wanted]
    return places[1]


def _describe(fault: int, token: bytes, dialect: Dialect) -> str:
    """What is wrong with a token, and what is expected."""
    shown = ascii(token[:40].decode("utf-8", "backslashreplace")) + ("..." if len(token) > 40 else "")
    is_binary = any(byte < 0x20 or byte > 0x7E for byte in token)
    note = " (binary data, or not UTF-8 text of this format)" if is_binary else ""
    name, value = (part.decode("latin-1") for part in (*token.split(b":", 1), b"")[:2])
    if fault == lib.LSH_TEXT_LABEL:
        return f"label {shown}: expected a non-negative integer, labels separated by ',' alone{note}"
    if fault == lib.LSH_TEXT_LABEL_RANGE:
        return (
            f"label {shown} is out of range: expected {_span('label', dialect.label_base, dialect.n_labels)}"
        )
    if fault == lib.LSH_TEXT_FEATURE_RANGE:
        expected = _span("feature", dialect.feature_base, dialect.n_features)
        return f"feature id {name} is out of range: expected {expected}"
    if fault == lib.LSH_TEXT_DUPLICATE:
        return f"feature {name} occurs twice in this row: expected each feature once"
    if fault == lib.LSH_TEXT_NOT_FINITE or re.fullmatch(r"[+-]?(nan|inf(inity)?)", value, re.IGNORECASE):
        return f"feature {shown}: the value is not a finite float32: expected a magnitude below 3.4e38"
    if fault == lib.LSH_TEXT_VALUE:
        return f"feature {shown}: the value is not a decimal number (of at most 1000 characters){note}"
    if b":" not in token:
        return f"{shown}: a colon is missing: expected feature:value{note}"
    return f"{shown}: the feature id is not a non-negative integer: expected feature:value{note}"


def _span(what: str, base: int, size: int) -> str:
    """The range of ids, with the option that changes its start."""
    hint = f"; {what}_base=0 reads ids from 0" if base else ""
    return f"an id from {base} to {base + size - 1}{hint}" if size else "none (their number is 0)"
