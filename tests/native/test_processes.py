"""Forks and interrupts: a child works after its parent used threads, and Ctrl-C leaves everything usable."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from lshsample.registry import make_family
from lshsample.tables import HashTables

ROWS = np.random.default_rng(0).standard_normal((4000, 16), dtype=np.float32)


def tables_of(threads=2):
    return HashTables(make_family("simhash", dim=16, n_hashes=6, n_tables=9), threads=threads).build(ROWS)


def in_child(work):
    """The exit status of a forked child that does some work: 0 if it returned True."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def works(tables, expected, threads):
    """Queries, changes and builds with threads of the child's own."""
    same = tables.query(ROWS[:50], threads=threads).ids.tolist() == expected
    tables.update([1], ROWS[2:3]).delete([3]).insert([4000], ROWS[:1])
    return same and tables.n_items == 4000 and tables_of(threads).query(ROWS[:50]).ids.tolist() == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_child_works_after_threads_were_used(threads):
    tables = tables_of()
    expected = tables.query(ROWS[:50], threads=4).ids.tolist()
    assert in_child(lambda: works(tables, expected, threads)) == 0
    assert works(tables, expected, threads)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_other_threads_work():
    tables = tables_of()
    expected, done = tables.query(ROWS[:50]).ids.tolist(), threading.Event()

    def read():
        while not done.is_set():
            tables.query(ROWS[:200], threads=2)

    readers = [threading.Thread(target=read) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a fork meets the readers anywhere
    for reader in readers:
        reader.start()
    try:
        for _ in range(40):
            assert in_child(lambda: tables.query(ROWS[:50], threads=2).ids.tolist() == expected) == 0
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for reader in readers:
            reader.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_change():
    tables, names, moved = tables_of(), np.arange(4000), ROWS[::-1].copy()
    expected, done = tables.query(ROWS[:50]).ids.tolist(), threading.Event()

    def write():
        while not done.is_set():
            tables.update(names, moved)

    def child_writes_too():
        return tables.update(names, ROWS).query(ROWS[:50]).ids.tolist() == expected

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [in_child(child_writes_too) for _ in range(20)] == [0] * 20
    finally:
        done.set()
        writer.join()


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupt_leaves_the_old_state_or_the_new(seed):
    tables, moved = tables_of(), ROWS[::-1].copy()
    old = tables.query(ROWS[:50]).ids.tolist()
    new = tables_of().update(np.arange(4000), moved).query(ROWS[:50]).ids.tolist()
    delay = np.random.default_rng(seed).uniform(0.0005, 0.02)
    timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))

    def write_until_interrupted():
        timer.start()
        for turn in itertools.count():
            tables.update(np.arange(4000), (moved, ROWS)[turn % 2])

    # A shell starts what it puts into the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_until_interrupted()
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert tables.query(ROWS[:50]).ids.tolist() in (old, new)
    tables.update(np.arange(4000), moved)
    assert tables.query(ROWS[:50]).ids.tolist() == new
