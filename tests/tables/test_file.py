"""Files of tables: round trips, damage of every kind, and crashes while one is written."""

from __future__ import annotations

import builtins
import contextlib
import copy
import hashlib
import json
import os
import pickle
import re
import struct
import subprocess
import sys

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample import Retrieve
from lshsample.errors import ArgumentError, CheckpointError, LshsampleError, MemoryBudgetError
from lshsample.registry import make_family
from lshsample.tables import HashTables

PREFIX = struct.Struct("<8sII32s")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((300, 12), dtype=np.float32)


def family_of(n_hashes=5):
    return make_family("simhash", dim=12, n_hashes=n_hashes, n_tables=6, seed=1)


def with_header(data, change):
    """The file with another header, whose checksum fits."""
    magic, version, length, _ = PREFIX.unpack_from(data)
    header = json.loads(data[PREFIX.size : PREFIX.size + length])
    text = change(header)
    text = json.dumps(header if text is None else text).encode()
    begin, new_begin = (-(-(PREFIX.size + n) // 4096) * 4096 for n in (length, len(text)))
    prefix = PREFIX.pack(magic, version, len(text), hashlib.sha256(text).digest())
    return (prefix + text).ljust(new_begin, b"\0") + data[begin:]


@pytest.mark.parametrize("n_hashes", [5, 30])
@pytest.mark.parametrize("verify", [False, True])
def test_files_round_trip(rows, n_hashes, verify, tmp_path):
    tables = HashTables(family_of(n_hashes)).build(rows)
    tables.save(tmp_path / "t", vectors=True)
    again = HashTables.open(tmp_path / "t", verify=verify)
    assert again.family == tables.family
    assert (again.n_items, again.n_ids, again.memory_bytes) == (300, 300, tables.memory_bytes)
    assert again.state.base.untrusted  # others may write to the file at any time
    np.testing.assert_array_equal(again.vectors, rows)
    np.testing.assert_array_equal(again.query(rows[:9], 3).ids, tables.query(rows[:9], 3).ids)
    np.testing.assert_array_equal(again.buckets(rows[:9]).ids, tables.buckets(rows[:9]).ids)
    assert again.verify().state.base.untrusted
    copied = HashTables.open(tmp_path / "t", verify=verify, copy=True)
    assert copied.state.base.untrusted is not verify
    assert not copied.verify().state.base.untrusted
    np.testing.assert_array_equal(copied.vectors, rows)
    np.testing.assert_array_equal(copied.query(rows[:9], 3).ids, tables.query(rows[:9], 3).ids)
    tables.save(tmp_path / "t")
    assert HashTables.open(tmp_path / "t").vectors is None
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_changed_and_bounded_tables_are_saved_as_they_are(rows, tmp_path):
    tables = HashTables(family_of()).build(rows)
    tables.delete(range(0, 300, 3)).insert([400], rows[:1]).save(tmp_path / "t")
    again = HashTables.open(tmp_path / "t")
    assert (again.n_items, again.n_ids) == (201, 401)
    np.testing.assert_array_equal(again.query(rows).ids, tables.query(rows).ids)
    again.update([1], rows[2:3]).delete([400])  # an opened file may change; the file does not
    assert HashTables.open(tmp_path / "t").n_items == 201
    bounded = HashTables(family_of(), bucket_size=4).build(rows)
    bounded.save(tmp_path / "b")
    again = HashTables.open(tmp_path / "b", verify=True)
    assert again.bucket_size == 4
    np.testing.assert_array_equal(again.query(rows).ids, bounded.query(rows).ids)


def test_foreign_cut_and_newer_files_are_refused_with_the_reason(rows, tmp_path):
    path = tmp_path / "t"
    HashTables(family_of()).build(rows).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[60] ^= 1
    for content, reason in [
        (whole[: len(whole) // 2], "truncated"),
        (whole[:60], "truncated"),
        (whole[:-1], "truncated"),
        (whole + b"\0", "its header says"),
        (whole[:4], "not a file of lshsample tables"),
        (b"", "empty"),
        (b"text" * 100, "not a file of lshsample tables"),
        (bytes(flipped), "corrupted: its header"),
        (whole[:8] + struct.pack("<I", 2) + whole[12:], "newer"),
        (whole[:8] + struct.pack("<I", 0) + whole[12:], "corrupted"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            HashTables.open(path)
    with pytest.raises(FileNotFoundError):
        HashTables.open(tmp_path / "none")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(family="{}"),
        lambda h: h.update(n_items=299),
        lambda h: h.update(n_ids=10),
        lambda h: h.update(bucket_size=3),
        lambda h: h.update(bucket_size=-1),
        lambda h: h["arrays"].pop("ids"),
        lambda h: h["arrays"].update(extra=h["arrays"]["ids"]),
        lambda h: h["arrays"]["ids"].update(offset=2**40),
        lambda h: h["arrays"]["ids"].update(offset=-4096),
        lambda h: h["arrays"]["ids"].update(dtype="|O"),
        lambda h: h["arrays"]["ids"].update(shape=[6, -300]),
        lambda h: h["arrays"]["directory"].update(shape=[6, 8]),
        lambda h: h["arrays"]["ids"].update(offset="a"),
        lambda h: h["arrays"].update(other={}),
        lambda h: {"bytes": h["bytes"]},
        lambda h: [1],
    ],
)
def test_a_header_that_lies_is_refused(change, rows, tmp_path):
    path = tmp_path / "t"
    HashTables(family_of()).build(rows).save(path)
    path.write_bytes(with_header(path.read_bytes(), change))
    with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: .{{20}}"):  # a reason, in words
        HashTables.open(path)


@pytest.mark.parametrize("name", ["ids", "codes", "directory", "vectors"])
def test_damage_is_found_by_verify_and_never_leads_out_of_the_arrays(name, rows, tmp_path):
    path = tmp_path / "t"
    tables = HashTables(family_of(30)).build(rows)
    tables.save(path, vectors=True)
    data = bytearray(path.read_bytes())
    length = PREFIX.unpack_from(data)[2]
    header = json.loads(data[PREFIX.size : PREFIX.size + length])
    begin = -(-(PREFIX.size + length) // 4096) * 4096 + header["arrays"][name]["offset"]
    size = int(np.prod(header["arrays"][name]["shape"])) * 4
    data[begin : begin + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{path}.*{name}"):
        HashTables.open(path, verify=True)
    damaged = HashTables.open(path)
    for call in (
        lambda: damaged.query(rows),
        lambda: damaged.buckets(rows),
        lambda: Retrieve(damaged).sample(rows),
        lambda: damaged.delete([1]),
        lambda: damaged.save(tmp_path / "u"),
        lambda: damaged.split([100]),
    ):
        with contextlib.suppress(CheckpointError):
            call()
    with pytest.raises(CheckpointError, match=name):
        HashTables.open(path).verify()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=8),
    st.sampled_from([5, 30]),
    st.one_of(st.none(), st.integers(0, 2**20)),
)
def test_any_flipped_or_cut_bytes_give_an_error_or_ids(tmp_path_factory, flips, n_hashes, cut):
    rows = np.random.default_rng(0).standard_normal((40, 12), dtype=np.float32)
    path = tmp_path_factory.mktemp("flips") / "t"
    HashTables(family_of(n_hashes)).build(rows).save(path)
    data = bytearray(path.read_bytes())
    for at, bits in flips:
        data[at % len(data)] ^= bits
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    try:
        tables = HashTables.open(path)
        found = tables.query(rows)
        assert found.ids.min(initial=0) >= 0
        assert found.ids.max(initial=0) < tables.n_ids
    except LshsampleError:
        pass


class Crash(BaseException):
    """The process ends here."""


class Dying:
    """A file that fails after a number of writes, having written a part of the last one."""

    def __init__(self, file, left):
        self.file, self.left = file, left

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            self.file.write(bytes(data)[: len(data) // 2])
            raise Crash
        self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("writes", range(9))
def test_a_crash_at_any_write_leaves_the_old_file(writes, rows, tmp_path, monkeypatch):
    tables, path = HashTables(family_of(30)).build(rows), tmp_path / "t"
    tables.save(path)
    before = path.read_bytes()
    opened = open

    def dying(name, mode="r", **named):
        file = opened(name, mode, **named)
        return Dying(file, writes) if "x" in mode else file

    monkeypatch.setattr(builtins, "open", dying)
    monkeypatch.setattr(Dying, "__enter__", lambda self: self, raising=False)
    monkeypatch.setattr(Dying, "__exit__", lambda self, *_: self.file.close(), raising=False)
    try:
        tables.delete([3]).save(path)
    except Crash:
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert HashTables.open(path, verify=True).n_items == 300
    else:
        monkeypatch.undo()
        assert writes == 8, "the file is written in 8 writes"
        assert HashTables.open(path, verify=True).n_items == 299
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_and_missing_vectors(rows, tmp_path, monkeypatch):
    tables, path = HashTables(family_of()).build(rows), tmp_path / "t"
    tables.save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="space"):
        tables.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ArgumentError, match="vectors"):
        HashTables(family_of()).build(sp.csr_array(rows)).save(path, vectors=True)


def test_readers_keep_a_file_that_is_replaced(rows, tmp_path):
    tables, path = HashTables(family_of()).build(rows), tmp_path / "t"
    tables.save(path)
    again = HashTables.open(path)
    expected = again.query(rows).ids
    HashTables(family_of(4)).build(rows[:7]).save(path)
    np.testing.assert_array_equal(again.query(rows).ids, expected)
    assert HashTables.open(path).n_items == 7


_COUNT = """
import sys
import numpy as np
from lshsample import HashTables
tables = HashTables.open(sys.argv[1])
print(len(tables.query(np.load(sys.argv[2])).ids), tables.state.base.ids.flags.owndata)
"""


def test_processes_share_a_file(rows, tmp_path):
    tables, path, queries = HashTables(family_of()).build(rows), tmp_path / "t", tmp_path / "rows.npy"
    tables.save(path)
    np.save(queries, rows)
    command = [sys.executable, "-c", _COUNT, str(path), str(queries)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [worker.communicate(timeout=300)[0].split() for worker in workers]
    assert printed == [[str(len(tables.query(rows).ids)), "False"]] * 2


def test_nothing_of_a_file_is_executed_or_left_untyped(rows, tmp_path):
    path = tmp_path / "t"
    HashTables(family_of()).build(rows).save(path)
    state = HashTables.open(path).state
    assert b"pickle" not in path.read_bytes()
    assert not state.base.ids.flags.writeable
    assert attrs.evolve(state, checksums=None).merged(1) is not None


_CHANGED = """
import os, subprocess, sys
import numpy as np
from lshsample import HashTables, Retrieve
from lshsample.errors import CheckpointError, MemoryBudgetError
path, rows, change, copy = sys.argv[1], np.load(sys.argv[2]), sys.argv[3], sys.argv[4] == "copy"
tables = HashTables.open(path, verify=True, copy=copy)
sampler = Retrieve().bind(tables=tables)
before = tables.query(rows).ids
stamp = os.stat(path).st_mtime_ns
data = bytearray(open(path, "rb").read())
if change == "noise":
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(np.random.default_rng(0).bytes(len(data) - 4096))
elif change == "truncated":
    os.truncate(path, 5000)
elif change == "unseen":  # as by a write through another mapping, whose time the system notes later
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(np.random.default_rng(0).bytes(len(data) - 4096))
    os.utime(path, ns=(stamp, stamp))
else:
    data[60] ^= 1
    open(path + ".new", "wb").write(data)
    subprocess.run([change, path + ".new", path], check=True)
uses = (
    lambda: tables.query(rows), lambda: tables.buckets(rows), lambda: sampler.sample(rows, seed=0),
    lambda: HashTables.merge(tables, tables), lambda: tables.split([100]), lambda: tables.save(path + "2"),
    lambda: tables.verify(), lambda: tables.delete([1]), lambda: tables.query(rows),
)
refused = 0
for use in uses:
    try:
        found = use()
    except CheckpointError as error:
        refused += 1
    except ValueError:
        assert use is uses[3]  # the ids of both are the same
print(refused, tables.state.n_items)
"""


@pytest.mark.parametrize("n_hashes", [5, 30])
@pytest.mark.parametrize(
    ("change", "refused"), [("noise", 9), ("truncated", 9), ("cp", 9), ("mv", 0), ("unseen", None)]
)
def test_a_mapped_file_that_changes_after_it_was_verified_does_not_end_the_process(
    n_hashes, change, refused, rows, tmp_path
):
    """Whatever is written to it: each use is refused, or reads nothing outside of the arrays."""
    HashTables(family_of(n_hashes)).build(rows).save(tmp_path / "t")
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", _CHANGED, str(tmp_path / "t"), str(tmp_path / "rows.npy"), change]
    done = subprocess.run([*command, "map"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = int(done.stdout.split()[0])
    assert found == refused if refused is not None else found > 0
    if change == "truncated":
        HashTables(family_of(n_hashes)).build(rows).save(tmp_path / "t")
        copied = subprocess.run([*command, "copy"], capture_output=True, text=True, timeout=300, check=True)
        assert copied.stdout.split() == ["0", "299"]


def test_a_change_of_tables_of_a_file_copies_them(rows, tmp_path):
    """What others write to the file afterwards does not reach them."""
    HashTables(family_of()).build(rows).save(tmp_path / "t", vectors=True)
    tables = HashTables.open(tmp_path / "t").delete([3])
    expected = tables.query(rows).ids
    (tmp_path / "t").write_bytes(b"")
    np.testing.assert_array_equal(tables.query(rows).ids, expected)
    np.testing.assert_array_equal(tables.vectors, rows)
    tables.save(tmp_path / "u")
    assert HashTables.open(tmp_path / "u", verify=True).n_items == 299


@pytest.mark.parametrize("copied", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_copies_of_opened_tables_do_not_need_the_file(copied, rows, tmp_path):
    HashTables(family_of(30)).build(rows).save(tmp_path / "t")
    opened = HashTables.open(tmp_path / "t")
    again, expected = copied(opened), opened.query(rows).ids
    (tmp_path / "t").write_bytes(b"")
    np.testing.assert_array_equal(again.query(rows).ids, expected)
    assert not again.verify().state.base.untrusted


@pytest.mark.parametrize("bucket_size", [None, 4])
def test_open_files_are_written_and_read_like_paths(bucket_size, rows, tmp_path):
    tables = HashTables(family_of(), bucket_size=bucket_size).build(rows)
    with (tmp_path / "t").open("w+b") as file:
        tables.save(file)
        file.flush()
        for copy_of in (False, True):
            again = HashTables.open(file, verify=True, copy=copy_of)
            np.testing.assert_array_equal(again.query(rows).ids, tables.query(rows).ids)
    tables.save(tmp_path / "u")
    assert (tmp_path / "t").read_bytes() == (tmp_path / "u").read_bytes()


_LIMITED = """
import resource, sys
from lshsample import HashTables
from lshsample.errors import MemoryBudgetError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20), -1))
for options in ({}, {"copy": True}, {"verify": True}):
    try:
        HashTables.open(sys.argv[1], **options)
    except MemoryBudgetError as error:
        print(error)
"""


def test_a_limit_of_memory_is_named(tmp_path):
    """Mapping a file takes address space alone."""
    family = make_family("simhash", dim=2, n_hashes=2, n_tables=20)
    path = tmp_path / "t"
    HashTables(family).build(np.ones((400_000, 2), np.float32)).save(path)
    command = [sys.executable, "-c", _LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    wanted = f"{path}: mapping it needs 31 MiB of address space, more than the limit allows"
    assert done.stdout.splitlines() == [wanted] * 3


def test_a_copy_that_does_not_fit_is_refused(rows, tmp_path, monkeypatch):
    HashTables(family_of()).build(rows).save(tmp_path / "t")
    monkeypatch.setattr("lshsample.memory.available_bytes", lambda: 1000)
    with pytest.raises(MemoryBudgetError, match="t: a copy of its tables needs"):
        HashTables.open(tmp_path / "t", copy=True)
    assert HashTables.open(tmp_path / "t").n_items == 300
