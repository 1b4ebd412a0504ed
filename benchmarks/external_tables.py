"""A file of tables of many ids: built in bounded memory, queried from the mapping, changed while it is read.

``python benchmarks/external_tables.py 100_000_000 --folder DIR`` builds the tables of random rows into a file
in DIR, which is removed at the end: 4 bytes an id and table there, and as many while it is built. It prints
times (wall, and of the processor), the peak of memory, queries a second from the mapping, of rows that are in
the tables with a little noise, and how many ids a second a writer inserts, alone and while a thread queries.
Inserting copies the tables into memory, and stores the codes of each id: 8 bytes an id and table.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lshsample import memory
from lshsample.registry import make_family
from lshsample.tables import HashTables, build_file

DIM, BLOCK, BATCH = 16, 200_000, 10_000


def block(number: int, rows: int = BLOCK) -> np.ndarray:
    """One block of the rows."""
    return np.random.default_rng(number).random((rows, DIM), dtype=np.float32) - np.float32(0.5)


def blocks(n_rows: int) -> Iterator[np.ndarray]:
    """The rows."""
    for number in range(-(-n_rows // BLOCK)):
        yield block(number)[: n_rows - number * BLOCK]


def clocks() -> np.ndarray:
    """Wall time and the processor time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def show(what: str, began: np.ndarray, note: str = "") -> None:
    """Print the times since, and the peak of memory."""
    wall, cpu = clocks() - began
    print(
        f"{what}: {wall:.1f} s, processor {cpu:.1f} s; peak {memory.peak_bytes() / 2**20:,.0f} MiB{note}",
        flush=True,
    )


def inserted(tables: HashTables, seconds: float) -> tuple[float, float]:
    """Ids that are inserted a second, and by a second of the thread's processor time."""
    done, wall, cpu = 0, time.perf_counter(), time.thread_time()
    while time.perf_counter() - wall < seconds:
        tables.insert(np.arange(tables.n_ids, tables.n_ids + BATCH), block(10**6 + done, BATCH))
        done += BATCH
    return done / (time.perf_counter() - wall), done / (time.thread_time() - cpu)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tables", type=int, default=2)
    parser.add_argument("--memory", type=int, default=2**30)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of inserts")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    family = make_family("simhash:projection=gaussian", dim=DIM, n_hashes=24, n_tables=options.tables)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, began = Path(folder) / "tables.lsh", clocks()
        for _ in blocks(options.rows):
            pass
        show("making rows", began)
        began = clocks()
        opened = build_file(
            path, family, blocks(options.rows), memory_limit=options.memory, threads=options.threads
        )
        show("building", began, f", file {path.stat().st_size / 2**20:,.0f} MiB")
        rng = np.random.default_rng(1)
        queries = block(0, 4000) * (1 + np.float32(0.02) * rng.standard_normal((4000, DIM), dtype=np.float32))
        opened.query(queries[:1])
        began = clocks()
        found = [opened.query(each[None]) for each in queries]
        cpu = (clocks() - began)[1]
        hits = np.mean([number in one.ids for number, one in enumerate(found)])
        mean = np.mean([len(one.ids) for one in found])
        show(
            "4,000 single queries",
            began,
            f"; {1e6 * cpu / 4000:.0f} us of the processor, {mean:.1f} ids, {hits:.0%} found",
        )
        began = clocks()
        tables = HashTables.open(path, copy=True, verify=True)
        tables.insert([tables.n_ids], queries[:1])
        show("copying and the first insert", began)
        del opened, found
        print(
            "inserted alone: {:,.0f} ids a second; of the thread's time {:,.0f}".format(
                *inserted(tables, options.seconds)
            )
        )
        stop, read = threading.Event(), [0]

        def reader() -> None:
            while not stop.is_set():
                tables.query(queries[:256], threads=1)
                read[0] += 256

        thread, began = threading.Thread(target=reader), time.perf_counter()
        thread.start()
        rates = inserted(tables, options.seconds)
        rate = read[0] / (time.perf_counter() - began)
        stop.set()
        thread.join()
        print("inserted with a reader: {:,.0f} ids a second; of the thread's time {:,.0f}".format(*rates))
        print(f"the reader: {rate:,.0f} queries a second; peak {memory.peak_bytes() / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
