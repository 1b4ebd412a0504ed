"""The cases that fuzzers began with or found: readers refuse them with a clear error, or read them right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lshsample.data import read_libsvm
from lshsample.errors import CheckpointError, DataFormatError
from lshsample.tables import HashTables
from lshsample.tables.file import pack_prefix

CASES = Path(__file__).parent / "fuzz" / "cases"


@pytest.mark.parametrize("case", sorted((CASES / "file").iterdir()), ids=lambda case: case.name)
def test_files_of_tables(case, tmp_path):
    data = case.read_bytes()
    length = int.from_bytes(data[:2], "little")
    header = data[2 : 2 + length]
    begin = -(-(48 + len(header)) // 4096) * 4096
    path = tmp_path / "tables"
    path.write_bytes(pack_prefix(header) + header.ljust(begin - 48, b"\0") + data[2 + length :])
    try:
        tables = HashTables.open(path)
        assert len(tables.query(np.zeros((1, tables.family.dim)))) == 1
        tables.verify()
    except CheckpointError as error:
        assert str(error)  # noqa: PT017 - either is right, an error of another kind is not


@pytest.mark.parametrize("case", sorted((CASES / "text").iterdir()), ids=lambda case: case.name)
def test_text(case, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(case.read_bytes())
    try:
        assert read_libsvm(path).x.shape[0] >= 0
    except DataFormatError as error:
        assert error.line >= 0  # noqa: PT017 - as above
