"""Saved models, checkpoints and tables under faults: deaths, full disks, interrupts, damage, and two at once.

Each part breaks saving, loading or training in one way, many times, and checks what is left: the old content
or the new one as a whole, and a folder that the next save and the next command accept and clean up::

    python tools/check_saved_files.py               # all parts, about ten minutes
    python tools/check_saved_files.py --short       # a part of the cases, about a quarter of a minute
    python tools/check_saved_files.py deaths pairs  # some parts

========== ==========================================================================================
deaths     the process is killed before the n-th call to the file system, for every n, or while writing
full-disk  that call, or a write, fails as on a full disk
interrupts Ctrl-C arrives at that call
damage     bytes of saved files change; values of manifests change, with checksums that fit
pairs      two processes save to one folder, or train in one
readers    one process loads while another saves
========== ==========================================================================================

The exit status is 0 if all is well, 1 if a check failed; a line says which. Linux, Python's ``fork``.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from lshsample import Dense, HashTables, Network, Sampled, Sparse, Trainer, make_family
from lshsample.cli.commands import app
from lshsample.data import Dataset, write_xc
from lshsample.errors import CheckpointError, LshsampleError
from lshsample.nn.bundle import claim
from lshsample.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint

#: Audit events that are calls to the file system; os.fsync has none, and is counted by a wrapper.
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.listdir", "fcntl.flock"}
#: Exit statuses of a child: it did its work, was refused with an error of the package, or failed otherwise.
DONE, REFUSED, FAILED = 0, 3, 4

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 8), dtype=np.float32)
X = sp.csr_array(np.abs(ROWS) * (ROWS > 0.3) + np.eye(60, 8, dtype=np.float32))
Y = sp.csr_array(np.eye(60, 20, dtype=np.float32) + np.eye(60, 20, -20) + np.eye(60, 20, -40))


def network(version: int = 0) -> Network:
    """A network whose weights are all ``version``."""
    made = Network(
        [
            Sparse(8),
            Dense(4),
            Sampled(20, sampler="Retrieve() | Include() | Uniform(5)", n_hashes=3, n_tables=2),
        ]
    )
    made.allocate(3)
    for parameter in made.parameters:
        parameter.weights[...] = version
    return made


def version_of(made: Network) -> int:
    """The version of a network; an error if it has weights of several."""
    values = np.unique(np.concatenate([parameter.weights.ravel() for parameter in made.parameters]))
    if len(values) != 1:
        raise AssertionError(f"a mixture of {values}")
    return int(values[0])


class Model:
    """A saved network."""

    def save(self, folder: Path, version: int) -> None:
        network(version).save(folder / "m")

    def load(self, folder: Path) -> int:
        return version_of(Network.load(folder / "m"))

    def files(self, folder: Path) -> list[str]:
        return sorted(name.split("-")[0] for name in os.listdir(folder / "m"))

    expected = ("lshsample.json", "weights")


class Checkpoint(Model):
    """A checkpoint with tables."""

    def save(self, folder: Path, version: int) -> None:
        trainer = Trainer(network(version), threads=1)
        trainer.network.prepare(0, 1)  # builds the tables
        with claim(folder / "m", CHECKPOINT) as own:
            write_checkpoint(own, trainer.network, trainer.settings, trainer.state, {})

    def load(self, folder: Path) -> int:
        return version_of(read_checkpoint(folder / "m").network)

    expected = ("lshsample.json", "state", "tables2")


class Tables(Model):
    """A file of tables; the version is the number of items."""

    def save(self, folder: Path, version: int) -> None:
        family = make_family("simhash", dim=8, n_hashes=3, n_tables=2)
        HashTables(family, threads=1).build(ROWS[:version]).save(folder / "m", vectors=True)

    def load(self, folder: Path) -> int:
        return HashTables.open(folder / "m", verify=True, threads=1).n_items

    def files(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder))

    expected = ("m",)


KINDS = {"model": Model(), "checkpoint": Checkpoint(), "tables": Tables()}
Fault = Callable[[], None]


def kill() -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    """Fail as on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt() -> None:
    """As Ctrl-C."""
    raise KeyboardInterrupt


def start(work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> int:
    """A forked child that does some work; its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        warnings.simplefilter("ignore", RuntimeWarning)
        prepare()
        work()
        status = DONE
    except (LshsampleError, OSError, KeyboardInterrupt):
        status = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def finish(child: int) -> int:
    """The exit status of a child; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> int:
    """The exit status of a forked child that does some work."""
    return finish(start(work, prepare))


#: Calls to the file system in this process so far, if :func:`at_call` counts them.
_seen = 0


def at_call(number: int, fault: Fault, root: Path) -> Callable[[], None]:
    """In a child: a fault before the n-th call to the file system; opening counts below a folder."""

    def prepare() -> None:
        def count() -> None:
            global _seen
            _seen += 1
            if _seen == number:
                fault()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in EVENTS and (event != "open" or str(arguments[0]).startswith(str(root))):
                count()

        def fsync(handle: int, original: Callable[[int], None] = os.fsync) -> None:
            count()
            original(handle)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(hook)

    return prepare


def at_byte(size: int, deadly: bool) -> Callable[[], None]:
    """In a child: files cannot grow beyond a size, which kills the process, or fails as a full disk."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def calls_of(work: Callable[[], object], root: Path) -> int:
    """The number of calls to the file system of some work, which is done in a child."""
    read, write = os.pipe()

    def counted() -> None:
        work()
        os.write(write, str(_seen).encode())

    if in_child(counted, at_call(-1, kill, root)) != DONE:
        raise AssertionError("fails without a fault")
    number = int(os.read(read, 20))
    os.close(read), os.close(write)
    return number


class Check:
    """Counts cases, and prints those that fail."""

    def __init__(self) -> None:
        self.cases = self.failed = 0

    def that(self, holds: bool, what: str) -> None:
        """Count a case."""
        self.cases += 1
        if not holds:
            self.failed += 1
            print(f"FAILED: {what}", flush=True)

    def gives(self, work: Callable[[], object], allowed: tuple[object, ...], what: str) -> None:
        """Count a case: work returns, or raises an instance of, something allowed."""
        try:
            found = work()
            self.that(found in allowed, f"{what}: {found}")
        except Exception as error:
            fine = any(isinstance(a, type) and isinstance(error, a) for a in allowed)
            self.that(fine, f"{what}: {type(error).__name__}: {error}")


def some(numbers: range, short: bool) -> Iterator[int]:
    """All numbers, or four that are spread over them, the first and the last included."""
    few = sorted({numbers[round(part * (len(numbers) - 1) / 3)] for part in range(4)})
    yield from few if short else numbers


def check_save(
    check: Check, kind: Model, first: bool, root: Path, prepare: Callable[[], None], what: str
) -> None:
    """A save under a fault, and the next one."""
    folder = root / "f"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if not first:
        kind.save(folder, 30)
    status = in_child(lambda: kind.save(folder, 31), prepare)
    check.that(status != FAILED, f"{what}: an unexpected error")
    old = (CheckpointError, FileNotFoundError) if first else (30,)
    check.gives(lambda: kind.load(folder), (31,) if status == DONE else (*old, 31), f"{what}: load")
    check.gives(lambda: kind.save(folder, 32), (None,), f"{what}: the next save")
    check.gives(lambda: kind.load(folder), (32,), f"{what}: load after it")
    check.gives(lambda: tuple(kind.files(folder)), (kind.expected,), f"{what}: files left")


def check_saves(check: Check, root: Path, short: bool, fault: Fault) -> None:
    """Saves of every kind, with a fault at each call and while writing."""
    for name, kind in KINDS.items():
        for first in (True, False):
            what = f"{'first' if first else 'later'} save of {name}"
            folder = root / "f"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if not first:
                kind.save(folder, 30)
            calls = calls_of(partial(kind.save, folder, 31), root)
            for number in some(range(1, calls + 1), short):
                check_save(check, kind, first, root, at_call(number, fault, root), f"{what}, call {number}")
            if fault is not interrupt:
                for size in some(range(0, 9000, 450), short):
                    prepare = at_byte(size, fault is kill)
                    check_save(check, kind, first, root, prepare, f"{what}, byte {size}")


def train(*words: object) -> None:
    """The train command, in this process, without its output."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    app(["train", *map(str, words)], standalone_mode=False)


def check_training(check: Check, root: Path, short: bool, fault: Fault) -> None:
    """The train command with a fault at each call, then the commands that continue it."""
    data, run = root / "data.txt", root / "run"
    write_xc(data, Dataset.of(X, Y))
    options = [
        data,
        "--preset",
        "network",
        "--hidden",
        4,
        "--epochs",
        2,
        "--batch-size",
        20,
        "--threads",
        1,
        "--n-active",
        5,
    ]
    check.that(in_child(lambda: train(*options, "--save", root / "whole")) == DONE, "train")
    whole = Network.load(root / "whole")

    def same() -> bool:
        pairs = zip(Network.load(run).parameters, whole.parameters, strict=True)
        return all(np.array_equal(a.weights, b.weights) for a, b in pairs)

    number = calls_of(lambda: train(*options, "--save", run), root)
    for call in some(range(1, number + 1), short):
        for next_word in ("--save", "--resume"):
            shutil.rmtree(run, ignore_errors=True)
            died = in_child(lambda: train(*options, "--save", run), at_call(call, fault, root))
            what = f"train with a fault at call {call}, then {next_word}"
            check.that(died != FAILED, f"{what}: an unexpected error")
            complete = (run / "checkpoint" / "lshsample.json").exists()
            if next_word == "--resume" and complete:
                again = in_child(lambda: train(data, "--resume", run))
            elif (run / "model" / "lshsample.json").exists() and not complete:
                again = DONE  # it was finished
            else:
                again = in_child(lambda: train(*options, "--save", run))
            check.that(again == DONE, f"{what}: status {again}")
            check.gives(same, (True,), f"{what}: the model of a run without faults")


def deaths(check: Check, root: Path, short: bool) -> None:
    """Kills."""
    check_saves(check, root, short, kill)
    check_training(check, root, short, kill)


def full_disk(check: Check, root: Path, short: bool) -> None:
    """Full disks."""
    check_saves(check, root, short, fill_disk)
    check_training(check, root, short, fill_disk)


def interrupts(check: Check, root: Path, short: bool) -> None:
    """Ctrl-C."""
    check_saves(check, root, short, interrupt)


def damage(check: Check, root: Path, short: bool) -> None:
    """Changed bytes, and forged manifests."""
    chance = random.Random(0)
    for name, kind in KINDS.items():
        folder = root / name
        folder.mkdir()
        kind.save(folder, 30)
        files = [path for path in folder.rglob("*") if path.is_file()]
        for number in range(40 if short else 400):
            path = chance.choice(files)
            whole = path.read_bytes()
            changed = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed[: chance.randrange(len(changed))] if number % 4 == 0 else changed)
            # Padding between the arrays of tables has no checksum.
            check.gives(partial(kind.load, folder), (CheckpointError, 30), f"damage {number} of {name}")
            path.write_bytes(whole)
    for name in ("model", "checkpoint"):
        path = root / name / "m" / "lshsample.json"
        whole = path.read_text()
        for number in range(100 if short else 1000):
            body = json.loads(whole)["body"]
            what = forge(body, chance)
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            path.write_text(json.dumps({"format": 1, "sha256": digest, "body": body}))
            case = f"forged {name} {number}: {what}"
            check.gives(partial(KINDS[name].load, root / name), (LshsampleError, 30), case)
        path.write_text(whole)


VALUES = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**30,
    1.5,
    float("nan"),
    "",
    "a",
    "..",
    "\0",
    "/dev/zero",
    [],
    [1],
    {},
]


def forge(body: dict[str, object], chance: random.Random) -> str:
    """Replace or remove one value of a manifest, wherever it is; returns what was done."""
    places: list[tuple[object, object, str]] = []

    def collect(value: object, path: str) -> None:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inner in items:
            places.append((value, key, f"{path}.{key}"))
            collect(inner, f"{path}.{key}")

    collect(body, "")
    holder, key, path = chance.choice(places)
    if isinstance(holder, dict) and chance.random() < 0.15:
        del holder[key]
        return f"without {path}"
    value = chance.choice(VALUES)
    holder[key] = value  # type: ignore[index]
    return f"{path} = {value!r}"


def pairs(check: Check, root: Path, short: bool) -> None:
    """Two savers, two trainers."""
    for name in ("model", "checkpoint"):
        kind, folder = KINDS[name], root / name
        folder.mkdir()

        def save(first: int, kind: Model = kind, folder: Path = folder) -> None:
            for number in range(25 if short else 250):
                try:
                    kind.save(folder, first + number)
                except CheckpointError as error:
                    if "in use by process" not in str(error):
                        raise

        children = [start(lambda first=first: save(first)) for first in (1000, 2000)]
        check.that([finish(child) for child in children] == [DONE, DONE], f"two savers of a {name}: an error")
        check.gives(
            lambda kind=kind, folder=folder: kind.load(folder) >= 1000, (True,), f"two savers of a {name}"
        )
        check.gives(
            lambda kind=kind, folder=folder: tuple(kind.files(folder)), (kind.expected,), "files left"
        )
    whole = network()
    Trainer(whole, batch_size=2, epochs=5, threads=1).fit(X, Y)
    for number in range(2 if short else 10):
        folder = root / f"run{number}"

        def fit(folder: Path = folder) -> None:
            options = {"checkpoint": folder, "checkpoint_seconds": 1e-3}
            Trainer(network(), batch_size=2, epochs=5, threads=1, **options).fit(X, Y)

        children = [start(fit) for _ in range(2)]
        check.that(sorted(map(finish, children)) == [DONE, REFUSED], f"two trainers {number}: one is refused")
        check.gives(
            lambda folder=folder: all(
                np.array_equal(a.store, b.store)
                for a, b in zip(read_checkpoint(folder).network.parameters, whole.parameters, strict=True)
            ),
            (True,),
            f"two trainers {number}: the bits of one alone",
        )


def readers(check: Check, root: Path, short: bool) -> None:
    """Loads beside saves."""
    for name, kind in KINDS.items():
        folder = root / name
        folder.mkdir()
        kind.save(folder, 30)

        def save(kind: Model = kind, folder: Path = folder) -> None:
            while True:
                for version in range(30, 60):
                    kind.save(folder, version)

        saver = start(save)
        for number in range(150 if short else 2000):
            allowed = tuple(range(30, 60))
            check.gives(
                lambda kind=kind, folder=folder: kind.load(folder), allowed, f"load {number} of {name}"
            )
        os.kill(saver, signal.SIGKILL)
        finish(saver)


PARTS = {"deaths": deaths, "full-disk": full_disk, "interrupts": interrupts, "damage": damage, "pairs": pairs,
         "readers": readers}  # fmt: skip


def main() -> int:
    """Run the parts that are named, by default all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true", help="a part of the cases")
    arguments = parser.parse_args()
    unknown = set(arguments.part) - set(PARTS)
    if unknown:
        parser.error(f"part must be one of {', '.join(PARTS)} (got {sorted(unknown)[0]})")
    warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
    failed = 0
    for name in arguments.part or PARTS:
        check, began = Check(), time.monotonic()
        with tempfile.TemporaryDirectory() as root:
            PARTS[name](check, Path(os.path.realpath(root)), arguments.short)
        print(
            f"{name}: {check.cases} checks, {check.failed} failed, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        failed += check.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
