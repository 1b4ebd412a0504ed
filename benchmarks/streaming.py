"""Training on texts that do not fit into memory: its memory, and its bits after it was killed and continued.

``python benchmarks/streaming.py FOLDER --size 10G --kills 10`` writes texts to FOLDER, as JSON lines and
fastText lines, plain and compressed. It trains on them by ``lshsample train --stream`` without an
interruption; then again, and kills that run by SIGKILL so many times, evenly over its steps, and continues it
each time, with another number of parsers. The models of both must have the same bits. The result is a line of
JSON; memory is in MiB, of the process and its parsers together (PSS: what they share is counted once), in
total and beside the model (weights with their optimizer state, and hash tables). FOLDER is not removed.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lshsample.xc import Classifier

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
#: Rows that are made and written at once.
ROWS = 2000
RECIPE = """linear = false
neighbours = false
[text]
hashing = true
max_features = {features}
[network]
hidden = [{hidden}]
batch_size = {batch}
epochs = {epochs}
"""


def size_of(text: str) -> int:
    """Bytes of ``10G`` and the like."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError("a number of bytes, such as 500M or 10G")
    return int(found[1]) * UNITS[found[2]]


def compressed(path: Path) -> Any:
    """A file to write to, compressed as its name says."""
    if path.suffix == ".gz":
        return gzip.open(path, "wb", compresslevel=1)
    if path.suffix == ".zst":
        for module in ("compression.zstd", "backports.zstd"):
            try:
                return import_module(module).open(path, "wb")
            except ImportError:
                continue
        raise SystemExit("zstd files need Python 3.14 or pip install 'lshsample[zstd]'")
    return path.open("wb")


def rows(n_labels: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Texts of about 1 KiB with one to three labels, which have phrases of their own."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{i}" for i in range(50_000)])

    def phrases(n: int, low: int, high: int) -> list[str]:
        return [" ".join(words[rng.integers(low, high, 12)]) for _ in range(n)]

    common = phrases(5_000, 0, len(words))
    own = [phrases(20, 40 * label % 49_000, 40 * label % 49_000 + 60) for label in range(n_labels)]
    while True:
        kinds = (n_labels * rng.random((ROWS, 3)) ** 3).astype(int)
        counts, places = rng.integers(1, 4, ROWS), rng.integers(0, 5_000, (ROWS, 8))
        picked = rng.integers(0, 20, (ROWS, 3))
        for i in range(ROWS):
            labels = kinds[i, : counts[i]].tolist()
            text = [common[p] for p in places[i]] + [
                own[k][p] for k, p in zip(labels, picked[i], strict=False)
            ]
            yield " ".join(text), sorted({f"label{k}" for k in labels})


def generate(folder: Path, size: int, n_files: int, n_labels: int) -> int:
    """Write texts of a size, before compression; returns the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds, total = itertools.cycle([".jsonl", ".txt", ".jsonl.gz", ".jsonl.zst"]), 0
    for number in range(n_files):
        written, kind = 0, next(kinds)
        with compressed(folder / f"{number:05}{kind}") as file:
            for text, labels in rows(n_labels, number):
                if kind == ".txt":
                    line = f"{' '.join(f'__label__{one}' for one in labels)} {text}\n"
                else:
                    line = json.dumps({"text": text, "labels": labels}) + "\n"
                file.write(line.encode())
                written += len(line)
                total += 1
                if written >= size // n_files:
                    break
    return total


class Watched:
    """A process that is watched with its children: the largest sum of their memory."""

    def __init__(self, words: list[Any]) -> None:
        self.process = subprocess.Popen(list(map(str, words)))
        self.peak = 0
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.peak = max(
                self.peak, sum(map(_shared_fairly, [self.process.pid, *children(self.process.pid)]))
            )
            time.sleep(0.2)

    def finish(self) -> None:
        """Wait for its end; exit if it failed."""
        if self.process.wait():
            raise SystemExit(f"training failed with status {self.process.returncode}")
        self._watching.join()

    def kill(self) -> None:
        """Kill it; exit if its children do not end too."""
        before = children(self.process.pid)
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 30
        while any(map(_is_alive, before)):
            if time.monotonic() > until:
                raise SystemExit("parsers outlive the process that was killed")
            time.sleep(0.1)


def children(pid: int) -> list[int]:
    """The children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _shared_fairly(pid: int) -> int:
    """The memory of a process, its share of what it shares with others (PSS)."""
    try:
        found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def steps_saved(run: Path) -> int:
    """The step of the checkpoint of a run; 0 without one."""
    try:
        manifest = json.loads((run / "checkpoint" / "network-0" / "lshsample.json").read_text())
    except (OSError, ValueError):
        return 0
    return int(manifest["body"]["payload"]["state"]["step"])


def bits(run: Path) -> dict[str, bytes]:
    """The arrays of the model of a run."""
    return {path.name: path.read_bytes() for path in sorted((run / "model").glob("*.safetensors"))}


def main() -> None:
    """Generate, train, kill, continue, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=size_of, default=size_of("1G"))
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--parsers", type=int, nargs="+", default=[1, 2, 4], help="taken in turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--features", type=int, default=2**18)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    given = parser.parse_args()
    began, texts = time.perf_counter(), given.folder / "texts"
    n_rows = generate(texts, given.size, given.files, given.labels)
    took = {"generate": time.perf_counter() - began}
    recipe = given.folder / "recipe.toml"
    recipe.write_text(RECIPE.format(**vars(given)))
    parsers = itertools.cycle(given.parsers)

    def started(run: Path) -> Watched:
        line = [
            sys.executable,
            "-m",
            "lshsample",
            "train",
            texts,
            "--stream",
            "--config",
            recipe,
            "--save",
            run,
        ]
        options = {name: getattr(given, name) for name in ("threads", "window", "checkpoint_seconds")}
        options["parsers"] = next(parsers)
        for name, value in options.items():
            line += [f"--{name.replace('_', '-')}", value]
        return Watched([*line, "--curve-rows", 0, "--quiet"])

    began, whole = time.perf_counter(), given.folder / "whole"
    watched = started(whole)
    watched.finish()
    took["train"] = time.perf_counter() - began
    result = json.loads((whole / "train.json").read_text())
    steps = result["networks"][0]["steps"]
    began, killed = time.perf_counter(), given.folder / "killed"
    rng, peaks, at = np.random.default_rng(0), [watched.peak], list[int]()
    for number in range(1, given.kills + 1):
        watched = started(killed)
        while steps_saved(killed) < number * steps // (given.kills + 1):
            if watched.process.poll() is not None:
                raise SystemExit("the run has ended before it was killed: --checkpoint-seconds is too long")
            time.sleep(0.01)
        time.sleep(rng.random() * given.checkpoint_seconds)
        watched.kill()
        peaks.append(watched.peak)
        at.append(steps_saved(killed))
    watched = started(killed)
    watched.finish()
    took["killed and continued"] = time.perf_counter() - began
    peaks.append(watched.peak)
    network = Classifier.load(whole).network
    model = sum(network.memory_needed(3, given.batch, given.threads).values())
    print(
        json.dumps(
            {
                "bytes": given.size,
                "bytes_of_files": sum(path.stat().st_size for path in texts.iterdir()),
                "rows": n_rows,
                "steps": steps,
                "killed_at": at,
                "same_bits": bits(whole) == bits(killed),
                "peak_mib": [round(peak / 2**20) for peak in peaks],
                "model_mib": round(model / 2**20),
                "peak_beside_the_model_mib": round((max(peaks) - model) / 2**20),
                "seconds": {name: round(value, 1) for name, value in took.items()},
                "host": {"processors": os.cpu_count()},
            }
        )
    )


if __name__ == "__main__":
    main()
