"""Files that are written atomically: what the errors name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lshsample.files import atomic_file


def test_the_systems_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "absent" / "r.json"
    with pytest.raises(FileNotFoundError) as caught, atomic_file(target):
        pass
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{target}'"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_names_the_file() -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: '/dev/full'$"),
        atomic_file("/dev/full") as file,
    ):
        file.write(b"all")


def test_errors_of_other_files_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="another"), atomic_file(tmp_path / "r.json"):
        (tmp_path / "another").read_bytes()
    assert not list(tmp_path.iterdir())
