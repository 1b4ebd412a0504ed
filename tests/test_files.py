"""Files: what the errors name, modes and links, long names, leftovers of killed processes, special files."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.files import as_path, atomic_file, make_folder, open_regular


def write(path: Path | str, content: bytes = b"new") -> None:
    with atomic_file(path) as file:
        file.write(content)


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


@pytest.mark.parametrize("path", ["", "a\0b", 5, None, b"a"])
def test_what_is_no_path_is_refused_by_name(path: object) -> None:
    for use in (as_path, open_regular, lambda path: atomic_file(path).__enter__()):
        with pytest.raises(ArgumentError, match="path must be a path"):
            use(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    """From the beginning: its new content is never readable for others."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_file(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid, path.read_bytes()) == (1234, 4321, b"new")


def test_where_the_group_cannot_be_kept_it_has_no_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the writer's own group could read what was not meant for it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o660)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = os.stat_result((*path.stat()[:4], 1234, 4321, *path.stat()[6:]))
    monkeypatch.setattr("lshsample.files._status", lambda _: before)
    monkeypatch.setattr(os, "fchown", refuse)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["n" * 242, "n" * 255, "ä" * 127])
def test_long_names_can_be_written(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"new")]


def test_longer_names_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=f"File name too long: .*{'n' * 256}"),
        atomic_file(tmp_path / ("n" * 256)),
    ):
        raise AssertionError("the block is not entered")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_processes_are_removed_and_files_of_living_ones_kept(tmp_path: Path) -> None:
    """A temporary file is locked while it is written."""
    path = tmp_path / "a[b]"
    kept = {tmp_path / name: b"kept" for name in (".a.0123abcd.tmp", ".a[b].0123.tmp", ".a[b].0123abcd.tmp2")}
    dead = tmp_path / ".a[b].0123abcd.tmp"
    for file in (*kept, dead):
        file.write_bytes(b"kept")
    with atomic_file(path) as file:
        file.write(b"slow")
        assert not dead.exists()
        write(path, b"fast")
        assert len(list(tmp_path.glob(".a[[]b].????????.tmp"))) == 1
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == {**kept, path: b"slow"}


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    write(link)
    write(link, b"newer")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"newer")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe without a writer is not waited for, and a device without an end is not read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path / "link", tmp_path):
        with pytest.raises(CheckpointError, match=f"{path}: is (not a regular file|a folder)"):
            open_regular(path)


def test_new_parents_of_a_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr("lshsample.files.sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_threads_write_one_file_without_harm(tmp_path: Path) -> None:
    """One of them is the last."""
    path, size = tmp_path / "a", 100_000
    threads = [threading.Thread(target=write, args=(path, bytes([i]) * size)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in [bytes([i]) * size for i in range(8)]
    assert len(list(tmp_path.iterdir())) == 1
