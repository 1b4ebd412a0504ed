"""Folders of models and checkpoints: locks, leftovers, readers beside savers, links, modes, forgeries."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from lshsample import files
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import Dense, Network, Sparse, bundle, folder_lock
from lshsample.nn.bundle import MANIFEST, Kind, claim, read_bundle, remove_bundle, write_bundle
from lshsample.nn.folder_lock import LOCK

KIND = Kind("thing", r"data\.bin|part[0-9]+\.bin")


def save(folder, content=b"one", kind=KIND, **names):
    """A folder with a data file of this content; more files by keyword."""
    contents = {"data.bin": content, **{f"{name}.bin": value for name, value in names.items()}}
    writers = {name: lambda file, value=value: file.write(value) for name, value in contents.items()}
    write_bundle(folder, kind, {"size": len(content)}, writers)


def load(folder):
    """The content of the data file, and the payload."""
    with read_bundle(folder, KIND) as bundle:
        return bundle.file("data.bin").read(), bundle.payload["size"]


def forged(folder, change):
    """Change a manifest's body, with a checksum that fits."""
    path = folder / MANIFEST
    body = json.loads(path.read_text())["body"]
    change(body)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"format": 1, "sha256": digest, "body": body}))


def names(folder):
    return sorted(os.listdir(folder))


_HOLD = """
import sys
from lshsample.nn.bundle import Kind, claim
own = claim(sys.argv[1], Kind("thing", "data.bin"))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has claimed a folder."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "f")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path, holder):
    """And is free once that process is dead, although its lock file is still there."""
    folder = tmp_path / "f"
    with pytest.raises(CheckpointError, match=rf"f: in use by process {holder.pid} on \S+ since \d{{4}}-"):
        save(folder)
    assert names(folder) == [LOCK]
    holder.kill()
    holder.wait()
    assert names(folder) == [LOCK]
    save(folder)
    assert names(folder) == ["data-1.bin", MANIFEST]


def test_a_claim_keeps_other_threads_out_and_readers_in(tmp_path):
    save(tmp_path)
    with claim(tmp_path, KIND) as own:
        with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()} "):
            save(tmp_path)
        assert load(tmp_path) == (b"one", 3)
        own.write({"size": 2}, {"data.bin": lambda file: file.write(b"22")})
        assert load(tmp_path) == (b"22", 2)
    save(tmp_path, b"three")
    assert load(tmp_path) == (b"three", 5)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    """Nor may it write under it."""
    with claim(tmp_path, KIND) as own:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                own.write({}, {})
            except CheckpointError as error:
                os.write(write, str(error).encode())
            own.release()
            os.close(write)
            os._exit(0)
        os.close(write)
        said = os.read(read, 1000).decode()
        os.waitpid(child, 0)
        os.close(read)
        assert f"in use by process {os.getpid()}" in said
        with pytest.raises(CheckpointError, match="in use"):
            save(tmp_path)
        own.write({"size": 3}, {"data.bin": lambda file: file.write(b"own")})
    assert load(tmp_path) == (b"own", 3)


def test_a_claimed_folder_that_is_removed_is_made_again(tmp_path):
    folder = tmp_path / "f"
    with claim(folder, KIND) as own:
        (folder / LOCK).unlink()
        folder.rmdir()
        own.write({"size": 1}, {"data.bin": lambda file: file.write(b"1")})
        with pytest.raises(CheckpointError, match="in use"):
            save(folder)
    assert (load(folder), names(folder)) == ((b"1", 1), ["data-1.bin", MANIFEST])


def test_leftovers_of_killed_processes_are_removed_and_other_files_kept(tmp_path):
    leftovers = [
        "data-5.bin", "data-7.bin", "part3-2.bin", ".part3-2.bin.0123abcd.tmp", f"{MANIFEST}.new", LOCK
    ]  # fmt: skip
    for name in leftovers:
        (tmp_path / name).write_text("half")
    save(tmp_path)
    assert names(tmp_path) == ["data-1.bin", MANIFEST]
    foreign = ["notes.txt", "data.bin", "data-x.bin", "data-0.bin", "part-1.bin", "data-5.bin.gz"]
    for name in (*leftovers, *foreign):
        (tmp_path / name).write_text("half")
    save(tmp_path, b"two")
    assert names(tmp_path) == sorted(["data-2.bin", MANIFEST, *foreign])
    assert load(tmp_path) == (b"two", 3)


def test_a_folder_with_other_files_is_refused_and_not_touched(tmp_path):
    for name in ("data-1.bin", "notes.txt"):
        (tmp_path / name).write_text("mine")
    for use in (save, lambda folder: claim(folder, KIND), lambda folder: remove_bundle(folder, KIND)):
        with pytest.raises(CheckpointError, match=r"holds other files \(notes.txt"):
            use(tmp_path)
    assert names(tmp_path) == ["data-1.bin", "notes.txt"]


def test_removing_leaves_nothing_but_files_of_others(tmp_path):
    save(tmp_path / "f")
    remove_bundle(tmp_path / "f", KIND)
    remove_bundle(tmp_path / "f", KIND)
    assert not (tmp_path / "f").exists()
    save(tmp_path / "g")
    (tmp_path / "g" / "notes.txt").write_text("mine")
    remove_bundle(tmp_path / "g", KIND)
    assert names(tmp_path / "g") == ["notes.txt"]


@pytest.mark.parametrize("link", ["data-1.bin", "data-2.bin", f"{MANIFEST}.new", MANIFEST, LOCK])
def test_a_link_with_a_name_of_ours_does_not_lead_a_save_elsewhere(tmp_path, link):
    target, folder = tmp_path / "target", tmp_path / "f"
    save(folder)
    target.write_bytes((folder / MANIFEST).read_bytes() if link == MANIFEST else b"mine")
    before = target.read_bytes()
    (folder / link).unlink(missing_ok=True)
    (folder / link).symlink_to(target)
    if link == LOCK:
        with pytest.raises(CheckpointError, match="cannot be written"):
            save(folder, b"two")
    else:
        save(folder, b"two")
        assert load(folder) == (b"two", 3)
        assert not any(path.is_symlink() for path in folder.iterdir())
    assert target.read_bytes() == before


def test_saving_keeps_the_modes_of_the_files_that_it_replaces(tmp_path):
    save(tmp_path)
    (tmp_path / "data-1.bin").chmod(0o600)
    (tmp_path / MANIFEST).chmod(0o640)
    save(tmp_path, part3=b"new")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"data-2.bin": 0o600, MANIFEST: 0o640, "part3-2.bin": 0o640}


@pytest.mark.parametrize(
    "file",
    [
        MANIFEST, f"{MANIFEST}.new", LOCK, "..", ".", "", "a\0b", "/etc/passwd", "notes.txt", "data.bin",
        "data-0.bin", "part3-1.bin", "data-1.bin/../data-1.bin", "data-1.bin\n", "data-1.txt", 5, None,
        ["data-1.bin"], "x" * 300,
    ],
)  # fmt: skip
def test_a_manifest_names_its_own_data_files_only(tmp_path, file):
    save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    forged(tmp_path, lambda body: body["files"]["data.bin"].update(file=file))
    for use in (load, save):
        with pytest.raises(CheckpointError, match=r"lists the file|not a manifest"):
            use(tmp_path)
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"generation": True},
        {"generation": -1},
        {"generation": 10**30},
        {"kind": 5},
        {"files": {"data.bin": []}},
        {"files": {"data.bin": {"file": "data-1.bin", "bytes": True, "sha256": ""}}},
        {"files": {"data.bin": {"file": "data-1.bin", "bytes": 3, "sha256": 5}}},
        {"files": {"notes.txt": {"file": "notes-1.txt", "bytes": 3, "sha256": ""}}},
    ],
)
def test_every_field_of_a_manifest_has_its_type(tmp_path, change):
    save(tmp_path)
    forged(tmp_path, lambda body: body.update(change))
    with pytest.raises(CheckpointError, match=r"not a manifest|lists the file 'notes-1.txt'"):
        load(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device")
def test_a_manifest_is_a_regular_file_of_limited_size(tmp_path, monkeypatch):
    for target, words in (("/dev/zero", "not a regular file"), (tmp_path / "large", "more than 2000 bytes")):
        monkeypatch.setattr("lshsample.nn.bundle._MAX_MANIFEST", 2000)
        (tmp_path / "large").write_bytes(b" " * 3000)
        folder = tmp_path / words
        folder.mkdir()
        (folder / MANIFEST).symlink_to(target)
        for use in (load, save):
            with pytest.raises(CheckpointError, match=words):
                use(folder)
    save(tmp_path / "f")
    with pytest.raises(CheckpointError, match="at most 2000"):
        write_bundle(tmp_path / "f", KIND, {"text": "a" * 2000}, {})
    assert load(tmp_path / "f") == (b"one", 3)
    assert names(tmp_path / "f") == ["data-1.bin", MANIFEST]


def test_a_data_file_that_is_a_device_is_refused(tmp_path):
    save(tmp_path)
    (tmp_path / "data-1.bin").unlink()
    os.mkfifo(tmp_path / "data-1.bin")
    with pytest.raises(CheckpointError, match=r"data-1.bin: is not a regular file"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["f" * 255, "f" * 256])
def test_folders_with_long_names_are_written_or_refused(tmp_path, name):
    if len(name) == 255:
        save(tmp_path / name)
        assert load(tmp_path / name) == (b"one", 3)
    else:
        with pytest.raises(CheckpointError, match=r"cannot be written \(File name too long\)"):
            save(tmp_path / name)


@pytest.mark.parametrize("path", ["", "a\0b", None, 5])
def test_what_is_no_path_is_refused_by_name(path):
    network = Network([Sparse(3), Dense(2, "softmax")])
    for use in (network.save, Network.load):
        with pytest.raises(ArgumentError, match="path must be a path"):
            use(path)


def test_loads_beside_a_saver_are_whole(tmp_path):
    """Each is one version or another, and none fails, also if a load is slow."""
    save(tmp_path, b"0" * 10)
    ended = threading.Event()

    def saving():
        number = 0
        while not ended.is_set():
            number = (number + 1) % 10
            save(tmp_path, str(number).encode() * (number + 1))

    saver = threading.Thread(target=saving)
    saver.start()
    seen, loads = set(), 0
    try:
        while loads < 300 or len(seen) < 3:  # the first loads may be done before the saver begins
            content, size = load(tmp_path)
            assert content == content[:1] * size
            seen.add(size)
            loads += 1
    finally:
        ended.set()
        saver.join()


def test_what_was_verified_is_what_is_read(tmp_path):
    """Another version that is saved between the two does not matter."""
    save(tmp_path)
    with read_bundle(tmp_path, KIND) as bundle:
        save(tmp_path, b"three")
        assert (bundle.file("data.bin").read(), bundle.payload) == (b"one", {"size": 3})
        with pytest.raises(CheckpointError, match=f"{MANIFEST} does not list other"):
            bundle.file("other")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of files closed that way
def test_ctrl_c_at_any_line_of_a_save_leaves_a_folder_that_is_whole_and_free(tmp_path):
    """In the same process, where nothing but the objects' end closes files and ends locks."""
    watched = {module.__file__ for module in (bundle, folder_lock, files)}
    save(tmp_path)

    def interrupted(number):
        lines = itertools.count(1)

        def trace(frame, event, argument):
            if frame.f_code.co_filename not in watched:
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()  # a measurement of coverage goes on afterwards
        sys.settrace(trace)
        try:
            save(tmp_path, b"three")
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    for number in itertools.count(1, 3):
        found = interrupted(number)
        assert load(tmp_path) in [(b"one", 3), (b"three", 5)]
        save(tmp_path)
        assert load(tmp_path) == (b"one", 3)
        assert len(names(tmp_path)) == 2
        if not found:
            break
    assert number > 100


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def none(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock, "try_lock", none)
    with pytest.warns(RuntimeWarning, match=r"no locks \(No locks available\); only one process may write"):
        save(tmp_path)
    assert (load(tmp_path), names(tmp_path)) == ((b"one", 3), ["data-1.bin", MANIFEST])
