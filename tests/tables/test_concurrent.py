"""Changing tables: of opened files, beyond memory, with rows that do not fit; and what comes back of it."""

import itertools

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, make_family, memory
from lshsample.errors import ArgumentError, CheckpointError, MemoryBudgetError
from lshsample.sampling import Retrieve, SamplerStage

DIM, TABLES = 12, 6


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((9_000, DIM), dtype=np.float32)


def built(rows, **options):
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=TABLES, seed=1)
    return HashTables(family, threads=1, **options).build(rows)


CHANGES = {
    "with a delta": lambda tables, rows: tables.update([1, 2], rows[:2] + 1),
    "merged": lambda tables, rows: tables.update(np.arange(9_000), rows[::-1]),
    "compacted": lambda tables, rows: tables.update([1, 2], rows[:2] + 1).compact(),
    "deleted": lambda tables, rows: tables.delete([5]),
    "inserted": lambda tables, rows: tables.insert([9_000], rows[:1]),
    "built": lambda tables, rows: tables.rebuild(rows),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_opened_set_that_was_changed_is_not_called_corrupted(change, rows, tmp_path):
    built(rows).save(tmp_path / "t", vectors=True)
    opened = HashTables.open(tmp_path / "t", threads=1)
    fresh = built(rows)
    for tables in (opened, fresh):
        CHANGES[change](tables, rows)
    opened.verify()
    np.testing.assert_array_equal(opened.query(rows[:50]).ids, fresh.query(rows[:50]).ids)
    opened.save(tmp_path / "t")
    HashTables.open(tmp_path / "t", verify=True)


def test_bounded_sets_too(rows, tmp_path):
    built(rows, bucket_size=8).save(tmp_path / "b")
    HashTables.open(tmp_path / "b").insert([9_000], rows[:1]).verify()


@pytest.mark.parametrize("use", ["update", "save", "split", "merge"])
def test_nothing_is_made_of_a_file_that_does_not_fit_its_checksums(use, rows, tmp_path):
    """A bit of the rows has turned: the tables themselves are sound, and still not what was saved."""
    built(rows[:300]).save(tmp_path / "t", vectors=True)
    data = bytearray((tmp_path / "t").read_bytes())
    data[data.index(rows[7].tobytes())] ^= 1
    (tmp_path / "t").write_bytes(data)
    tables = HashTables.open(tmp_path / "t")
    calls = {
        "update": lambda: tables.update([1], rows[:1]),
        "save": lambda: tables.save(tmp_path / "u"),
        "split": lambda: tables.split([100]),
        "merge": lambda: HashTables.merge(tables, built(rows[:1])),
    }
    with pytest.raises(CheckpointError, match="vectors does not match the checksum"):
        calls[use]()
    assert not (tmp_path / "u").exists()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_all_rows_must_hold_the_rows_that_changed(form, rows):
    given = form(rows[:100])
    tables = built(given)
    before = tables.state
    with pytest.raises(ArgumentError, match=r"rows\[ids\] equal to vectors"):
        tables.update([0], rows[1:2] if form is np.asarray else given[[1]], rows=given)
    assert tables.state is before
    other = rows[:100].copy()
    other[0] = rows[1]
    assert tables.update([0], form(rows[1:2]), rows=form(other)).vectors is not None


def test_an_id_far_away_is_refused_where_there_is_no_memory_for_it(rows, monkeypatch):
    tables = built(rows[:300])
    tables.update([1], rows[:1])
    before = tables.state
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    with pytest.raises(MemoryBudgetError, match=r"ids up to 2,147,483,645"):
        tables.insert([2**31 - 3], rows[:1])
    assert tables.state is before
    assert tables.insert([300], rows[:1]).n_ids == 301


def test_compacting_gives_everything_back(rows):
    tables = built(rows)
    before = tables.memory_bytes
    tables.delete(np.arange(8_000))
    assert tables.memory_bytes > before  # the codes of the writer
    assert tables.compact().memory_bytes < 0.3 * before
    assert tables.memory_bytes == HashTables.memory_needed(tables.family, 1_000).tables
    assert tables.insert([4], rows[4:5]).n_items == 1_001
    assert 4 in tables.query(rows[4:5]).ids


def test_wrong_kinds_of_shards_are_refused_by_name(rows):
    tables = built(rows[:300])
    with pytest.raises(ArgumentError, match=r"b must be HashTables \(got int\)"):
        HashTables.merge(tables, 3)
    with pytest.raises(ArgumentError, match=r"a must be HashTables \(got list\)"):
        HashTables.merge([], tables)
    for wrong in (5, "12", [[1]], None):
        with pytest.raises(ArgumentError, match="boundaries"):
            tables.split(wrong)


@attrs.frozen
class Rehashing(SamplerStage):
    """Draws new functions for tables in the middle of a call, as a concurrent writer may."""

    tables: HashTables
    seeds: itertools.count

    def apply(self, active, batch):
        self.tables.rehash(self.tables.vectors, next(self.seeds))
        return active


@pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
@pytest.mark.parametrize("bound", [False, True])
def test_a_call_sees_one_state_of_tables_from_beginning_to_end(bound, rows):
    """Retrieved before and after a rehash: the second retrieval, and the law, are of the first functions."""
    tables = built(rows[:500])
    source = Retrieve() if bound else Retrieve(tables)
    steady = (source | source).bind(tables=tables, n_items=500)
    moving = (source | Rehashing(tables, itertools.count(7)) | source).bind(tables=tables, n_items=500)
    wanted = steady.sample(rows[:20])
    found = moving.sample(rows[:20])
    np.testing.assert_array_equal(found.ids, wanted.ids)
    assert tables.family.seed == 7
    explained = moving.explain(rows[:1])
    assert explained.stages[-1].size == len(explained.active.ids) == explained.stages[0].size


def test_the_law_over_the_functions_is_of_those_that_retrieved(rows, monkeypatch):
    """A writer rehashes after the retrieval and before the law is worked out."""
    tables = built(rows[:500])
    sampler = Retrieve(tables, budget=40).bind()
    wanted = sampler.sample(rows[:5], law="marginal")
    run = type(sampler)._run

    def then_rehash(self, *arguments):
        drawn = run(self, *arguments)
        tables.rehash(-rows[:500], 11)
        return drawn

    monkeypatch.setattr(type(sampler), "_run", then_rehash)
    found = sampler.sample(rows[:5], law="marginal")
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.log_inclusion, wanted.log_inclusion)


def test_a_shard_is_built_again_under_its_ids(rows):
    ids = np.arange(100, 300)
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=TABLES, seed=1)
    shard = HashTables(family, threads=1).build(rows[100:300], ids=ids)
    other = HashTables(family.with_seed(5), threads=1).build(rows[:300])
    shard.rebuild(rows[100:300], ids=ids)
    assert shard.query(rows[100:101]).ids.min() >= 100
    shard.rehash(rows[100:300], 5, ids=ids)
    wanted = other.query(rows[:20]).ids
    np.testing.assert_array_equal(shard.query(rows[:20]).ids, wanted[wanted >= 100])


def test_numbers_of_numpy_are_numbers(rows):
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=TABLES)
    assert HashTables(family, merge_share=np.float32(0.5)).build(rows[:9]).n_items == 9
    assert type(HashTables.memory_needed(family, np.int64(50)).tables) is int
