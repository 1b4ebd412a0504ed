"""Atheris: any bytes behind a valid prefix as a file of tables; only CheckpointError may come of it.

``python tests/fuzz/fuzz_file.py tests/fuzz/cases/file -max_total_time=60``
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lshsample.tables", "lshsample.registry"]):
    from lshsample.errors import CheckpointError
    from lshsample.tables import HashTables
    from lshsample.tables.file import pack_prefix

PATH = Path(tempfile.mkdtemp()) / "tables"


def one_input(data: bytes) -> None:
    """The first bytes say how long the header is, whose checksum is made to fit."""
    length = int.from_bytes(data[:2], "little")
    header = data[2 : 2 + length]
    begin = -(-(48 + len(header)) // 4096) * 4096
    PATH.write_bytes(pack_prefix(header) + header.ljust(begin - 48, b"\0") + data[2 + length :])
    try:
        tables = HashTables.open(PATH)
        tables.query([[0.0] * tables.family.dim])
        tables.verify()
    except CheckpointError:
        pass


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
