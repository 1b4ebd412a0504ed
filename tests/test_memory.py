"""Available memory by the kernel, the control group and the address-space limit; budgets by purpose."""

import resource
import subprocess
import sys

import pytest

from lshsample import memory
from lshsample.errors import MemoryBudgetError


@pytest.fixture
def one_gigabyte(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)


def test_available_memory_is_a_plausible_figure():
    available = memory.available_bytes()
    assert available is None or available > 2**20


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
    ids=["version 2", "version 1"],
)
def test_both_versions_of_control_groups_are_read(tmp_path, limit, used):
    (tmp_path / "memory").mkdir()
    assert memory._cgroup(tmp_path) is None
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / used).write_text("400\n")
    assert memory._cgroup(tmp_path) == 600
    (tmp_path / used).write_text("1400\n")
    assert memory._cgroup(tmp_path) == 0


@pytest.mark.parametrize("unlimited", ["max", str(2**63 - 4096)])
def test_a_control_group_without_a_limit_is_ignored(tmp_path, unlimited):
    (tmp_path / "memory").mkdir()
    for limit, used in memory._CGROUP_LIMITS:
        (tmp_path / limit).write_text(unlimited)
        (tmp_path / used).write_text("400")
    assert memory._cgroup(tmp_path) is None


def test_the_limit_of_the_address_space_counts(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (memory._read_pages(0) + 5_000_000, 0))
    assert 0 < memory.available_bytes() <= 5_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    assert memory._address_space() is None


def test_an_unknown_figure_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.require_bytes(2**60, "a build")
    assert memory.require_budget({"tables": 2**60}, "a run") == 2**60


def test_more_bytes_than_available_are_refused(one_gigabyte):
    memory.require_bytes(2**30, "a build")
    with pytest.raises(MemoryBudgetError, match=r"a build needs 2,048 MiB; 1,024 MiB are available"):
        memory.require_bytes(2**31, "a build")


def test_a_budget_lists_its_parts(one_gigabyte):
    parts = {"parameters": 3 * 2**29, "activations": 0, "tables": 2**29}
    message = (
        r"a run needs about 2,048 MiB \(parameters 1,536 MiB, tables 512 MiB\); 1,024 MiB are available on "
        r"this machine\. Fewer tables need less$"
    )
    with pytest.raises(MemoryBudgetError, match=message):
        memory.require_budget(parts, "a run", advice="Fewer tables need less")
    assert memory.require_budget(parts, "a run", limit=2**31) == 2**31
    with pytest.raises(MemoryBudgetError, match=r"; 1 MiB is the limit$"):
        memory.require_budget(parts, "a run", limit=2**20)


def test_a_shortage_is_named_with_its_reason(one_gigabyte):
    @memory.named_shortage("counting")
    def count(error):
        raise error

    with pytest.raises(MemoryBudgetError, match=r"^counting: not enough memory; 1,024 MiB are available"):
        count(MemoryError())
    with pytest.raises(MemoryBudgetError, match=r"^counting: not enough memory \(no room\); 1,024 MiB"):
        count(MemoryError("no room"))
    own = MemoryBudgetError("as it was")
    with pytest.raises(MemoryBudgetError) as caught:
        count(own)
    assert caught.value is own
    with pytest.raises(KeyError):
        count(KeyError())


#: Runs operations in forked processes with little room below a limit of the address space, and prints what
#: came of each: the name of the exception's class, or "done".
UNDER_LIMITS = """
import os, resource, sys, tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import lshsample
from lshsample.data import Dataset, write_xc
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.registry import make_family
from lshsample.sampling import Rehash, Retrieve
from lshsample.tables import HashTables
from lshsample.training import Trainer
from lshsample.tuning import Goal, tune

folder, name = Path(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
x = sp.random_array((128, 2_000), density=0.02, rng=rng, format="csr", dtype=np.float32)
y = sp.csr_array((np.ones(128), (np.arange(128), rng.integers(0, 60_000, 128))), shape=(128, 60_000))
vectors = rng.standard_normal((60_000, 64)).astype(np.float32)
family = make_family("simhash", dim=64, n_hashes=12, n_tables=20)


def network(**options):
    return Network([Sparse(2_000), Dense(64), Sampled(60_000, **options)])


def own():
    return folder / f"{name}-{os.getpid()}"


def make(name):
    # An operation, after what it works on was made without a limit.
    if name == "train":
        return lambda: Trainer(network(), batch_size=64, epochs=1, threads=2, checkpoint=own()).fit(x, y)
    if name == "background":
        layers = network(rehash=Rehash(strategy="background"))
        return lambda: Trainer(layers, batch_size=64, epochs=1, threads=2).fit(x, y)
    if name in ("load", "predict", "predict-sampled", "evaluate", "save", "new-predict", "new-save"):
        if not (folder / "model").exists():
            network().save(folder / "model")
        loaded = Network.load(folder / "model")
        return {
            "load": lambda: Network.load(folder / "model"),
            "predict": lambda: loaded.predict(x, threads=2),
            "predict-sampled": lambda: loaded.predict(x, mode="sampled", threads=2),
            "evaluate": lambda: loaded.evaluate(x, y, threads=2),
            "save": lambda: loaded.save(own()),
            "new-predict": lambda: network().predict(x, threads=2),
            "new-save": lambda: network().save(own()),
        }[name]
    if name == "build":
        return lambda: HashTables(family, threads=2).build(vectors)
    if name == "build-bounded":
        return lambda: HashTables(family, threads=2, bucket_size=32).build(vectors)
    if name == "hash":
        return lambda: lshsample.hash_rows(family, vectors, threads=2)
    if name == "tune":
        return lambda: tune(vectors[:5_000], vectors[:8], Goal(recall=0.2), max_tables=4, threads=2)
    if name == "read":
        write_xc(folder / "rows.txt", Dataset(x, y))
        return lambda: lshsample.data.load(folder / "rows.txt", threads=2)
    tables = HashTables(family, threads=1).build(vectors)
    sampler = Retrieve().bind(tables=tables)
    tables.save(folder / "tables.lsh")
    return {
        "sample": lambda: sampler.sample(vectors[:500], threads=2),
        "search": lambda: sampler.search(vectors[:500], 10, threads=2),
        "insert": lambda: tables.insert(np.arange(60_000, 60_100), vectors[:100]),
        "save-tables": lambda: tables.save(own()),
        "open-tables": lambda: HashTables.open(folder / "tables.lsh").query(vectors[:500]),
    }[name]


operation = make(name)
for room in (0, 2, 6, 12, 20, 32, 50, 80, 600):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room * 2**20,) * 2)
        try:
            operation()
            outcome = "done"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        os.write(writer, outcome.encode()[:2_000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        outcome = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(room, status, " ".join(outcome.split()), sep="|")
"""


@pytest.mark.parametrize(
    "name",
    [
        "train", "background", "load", "predict", "predict-sampled", "evaluate", "save", "new-predict",
        "new-save", "build", "build-bounded", "hash", "tune", "read", "sample", "search", "insert",
        "save-tables", "open-tables",
    ],
)  # fmt: skip
def test_a_limit_of_the_address_space_gives_a_named_error(name, tmp_path):
    command = [sys.executable, "-c", UNDER_LIMITS, str(tmp_path), name]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    outcomes = [line.split("|", 2) for line in run.stdout.splitlines()]
    assert len(outcomes) == 9
    for room, status, outcome in outcomes:
        assert status == "0", f"with {room} MiB: {outcome}"
        assert outcome == "done" or outcome.startswith("MemoryBudgetError: "), f"with {room} MiB: {outcome}"
    assert outcomes[-1][2] == "done"
