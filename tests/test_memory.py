"""Available memory by the kernel, the control group and the address-space limit; budgets by purpose."""

import resource

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
