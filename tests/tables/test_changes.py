"""Tables that change: every operation against a plain dict of sets, many readers, bad input."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lshsample import AtLeast, Cap, Retrieve, Top, Uniform, memory
from lshsample.errors import ArgumentError, CheckpointError, MemoryBudgetError, PluginError, UnsupportedError
from lshsample.plugin import FamilySpec, HashFamily
from lshsample.registry import make_family
from lshsample.sampling import Include
from lshsample.tables import HashTables
from lshsample.tables import hash_tables as module

DIM, TABLES = 8, 5


def family_of(n_hashes=4):
    return make_family("simhash", dim=DIM, n_hashes=n_hashes, n_tables=TABLES, seed=3)


def vectors_of(seed, n):
    return np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)


class Model:
    """A model of tables: each id's codes."""

    def __init__(self, family):
        self.family, self.codes = family, {}

    def put(self, ids, vectors):
        for name, codes in zip(ids, self.family.hash(vectors), strict=True):
            self.codes[int(name)] = codes

    def query(self, query):
        """Ids and counts of a query, ids ascending."""
        own = self.family.hash(query[None])[0]
        found = {name: int((codes == own).sum()) for name, codes in self.codes.items()}
        return {name: count for name, count in sorted(found.items()) if count}


def agrees(tables, model, queries, threads=1):
    found = tables.query(queries, threads=threads)
    buckets = tables.buckets(queries)
    own = model.family.hash(queries)
    for row, query in enumerate(queries):
        part = slice(found.indptr[row], found.indptr[row + 1])
        given = dict(zip(found.ids[part].tolist(), found.counts[part].tolist(), strict=True))
        assert given == model.query(query)
        for table in range(TABLES):
            held = {name for name, codes in model.codes.items() if codes[table] == own[row, table]}
            listed = buckets.bucket(row, table)
            assert len(listed) == len(held) == buckets.sizes[row, table]
            assert set(listed.tolist()) == held


class Changing(RuleBasedStateMachine):
    """Every change, in any order, against the model."""

    wide = False

    @initialize(
        n=st.integers(1, 40), seed=st.integers(0, 99), wide=st.booleans(), share=st.sampled_from([0.05, 9.0])
    )
    def build(self, n, seed, wide, share):
        family = family_of(30 if wide else 4)
        self.model = Model(family)
        self.tables = HashTables(family, merge_share=share, threads=2).build(vectors_of(seed, n))
        self.model.put(range(n), vectors_of(seed, n))
        self.queries = np.concatenate([vectors_of(seed, n)[:2], vectors_of(seed + 1, 3)])
        self.steps = 0

    def pick(self, data, size=8):
        names = sorted(self.model.codes)
        return data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=size, unique=True))

    @rule(ids=st.lists(st.integers(0, 90), max_size=8, unique=True), seed=st.integers(0, 99))
    def insert(self, ids, seed):
        new = [name for name in ids if name not in self.model.codes]
        if len(new) < len(ids):
            with pytest.raises(ArgumentError, match="is in the tables"):
                self.tables.insert(ids, vectors_of(seed, len(ids)))
        self.tables.insert(new, vectors_of(seed, len(new)))
        self.model.put(new, vectors_of(seed, len(new)))

    @precondition(lambda self: self.model.codes)
    @rule(data=st.data(), seed=st.integers(0, 99))
    def update(self, data, seed):
        ids = self.pick(data)
        vectors = vectors_of(seed, len(ids))
        before = np.array([self.model.codes[name] for name in ids])
        moved = self.tables.changed(ids, vectors)
        assert np.array_equal(moved, before != self.model.family.hash(vectors))
        self.tables.update(ids, vectors)
        self.model.put(ids, vectors)
        assert not self.tables.changed(ids, vectors).any()

    @precondition(lambda self: self.model.codes)
    @rule(data=st.data())
    def delete(self, data):
        ids = self.pick(data)
        self.tables.delete(ids)
        for name in ids:
            del self.model.codes[name]
        with pytest.raises(ArgumentError, match="is not in the tables"):
            self.tables.delete(ids[:1])

    @rule()
    def compact(self):
        self.tables.compact()
        assert self.tables.state.deltas == ()

    @rule(cut=st.integers(1, 90))
    def split_and_merge(self, cut):
        if cut < self.tables.n_ids:
            low, high = self.tables.split([cut])
            assert low.n_items == sum(name < cut for name in self.model.codes)
            self.tables = HashTables.merge(high, low)

    @rule(crash=st.booleans())
    def save_and_open(self, crash):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "t"
            self.tables.save(path)
            if crash:
                path.write_bytes(path.read_bytes()[:-1])
                with pytest.raises(CheckpointError):
                    HashTables.open(path)
            else:
                self.tables = HashTables.open(path)

    @invariant()
    def same_as_the_model(self):
        if hasattr(self, "tables"):
            assert self.tables.n_items == len(self.model.codes)
            agrees(self.tables, self.model, self.queries)


@pytest.fixture(autouse=True)
def _merge_early(monkeypatch):
    monkeypatch.setattr(module, "_FEW_CHANGES", 60)


TestChanging = Changing.TestCase
TestChanging.settings = settings(deadline=None, max_examples=25, stateful_step_count=12)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_a_long_run_of_batches_agrees_with_the_model(threads, batch):
    family, rng = family_of(6), np.random.default_rng(batch)
    model, tables = Model(family), HashTables(family, threads=threads).build(vectors_of(0, 900))
    model.put(range(900), vectors_of(0, 900))
    for step in range(12):
        ids = rng.choice(sorted(model.codes), batch, replace=False)
        tables.update(ids, vectors_of(step, batch))
        model.put(ids, vectors_of(step, batch))
        tables.delete(ids[:3])
        for name in ids[:3]:
            del model.codes[int(name)]
        fresh = np.arange(900 + 3 * step, 900 + 3 * step + 3)
        tables.insert(fresh, vectors_of(step + 50, 3))
        model.put(fresh, vectors_of(step + 50, 3))
        sizes = [delta.n_entries for delta in tables.state.deltas]
        assert all(a >= 8 * b for a, b in itertools.pairwise(sizes))
    agrees(tables, model, vectors_of(99, 20), threads)


def pipelines():
    return [
        Retrieve(budget=40) | Uniform(9),
        Retrieve() | AtLeast(2) | Cap(7) | Uniform(5),
        Uniform(30) | Retrieve() | Top(20),
        Include() | Retrieve() | AtLeast(2),
    ]


@pytest.mark.parametrize("pipeline", pipelines(), ids=str)
@pytest.mark.parametrize("pool", [False, True])
def test_stages_see_changed_tables_as_they_see_built_ones(pipeline, pool):
    import scipy.sparse as sp

    rows, rng = vectors_of(0, 400), np.random.default_rng(0)
    changed = HashTables(family_of(), merge_share=100.0).build(vectors_of(1, 400))
    for ids in np.array_split(rng.permutation(400), 9):
        changed.update(ids, rows[ids])
    assert changed.state.deltas
    built = HashTables(family_of()).build(rows)
    include = sp.csr_array((np.ones(5), ([0, 1, 2, 3, 4], [9, 8, 7, 300, 2])), shape=(20, 400))
    named = {"include": include} if "Include" in str(pipeline) else {}
    for threads in (1, 3, 8):
        a, b = (
            pipeline.bind(tables=t).sample(vectors_of(5, 20), pool=pool, seed=7, threads=threads, **named)
            for t in (changed, built)
        )
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.counts, b.counts)
        if not a.is_biased:
            np.testing.assert_array_equal(a.log_inclusion, b.log_inclusion)


def test_an_update_moves_only_what_changed():
    rows = vectors_of(0, 500)
    tables = HashTables(family_of()).build(rows)
    state = tables.state
    tables.update(np.arange(500), rows)
    assert tables.state.n_changes == 0
    assert tables.state.base.ids is state.base.ids
    rows2 = rows.copy()
    rows2[7] = -rows[7]
    tables.update(np.arange(500), rows2)
    assert tables.state.n_changes == 2 * TABLES  # every bit of one id's codes has turned


def test_deleting_gives_the_memory_back_with_the_merge():
    tables = HashTables(family_of()).build(vectors_of(0, 5000))
    before = tables.memory_bytes
    tables.delete(np.arange(4000))
    assert tables.compact().state.nbytes < before * 0.3
    assert (tables.n_items, tables.n_ids) == (1000, 5000)
    tables.delete(np.arange(4000, 5000)).compact()
    assert (tables.n_items, len(tables.query(vectors_of(0, 3)).ids)) == (0, 0)
    tables.insert([3], vectors_of(0, 1))
    assert tables.query(vectors_of(0, 1)).ids.tolist() == [3]


def test_readers_see_one_version_from_beginning_to_end():
    # All ids move together between two sets of vectors: a mixture would be neither answer.
    first, second, queries = vectors_of(0, 600), vectors_of(1, 600), vectors_of(2, 40)
    tables = HashTables(family_of(), threads=1).build(first)
    answers = [HashTables(family_of()).build(rows).query(queries).ids.tobytes() for rows in (first, second)]
    done, wrong, reads = threading.Event(), [], []

    def read():
        while not done.is_set():
            reads.append(1)
            if tables.query(queries, threads=1).ids.tobytes() not in answers:
                wrong.append(1)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        tables.update(np.arange(600), (second, first)[turn % 2])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert reads


def test_writers_wait_for_each_other():
    tables = HashTables(family_of(), threads=1).build(vectors_of(0, 10))

    def write(first):
        for name in range(first, first + 100):
            tables.insert([name], vectors_of(name, 1))

    writers = [threading.Thread(target=write, args=(first,)) for first in (100, 200, 300)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert tables.n_items == 310


@pytest.mark.parametrize(
    ("ids", "n", "match"),
    [
        ([1, 1], 2, "twice"),
        ([-1], 1, "ids"),
        ([2**31], 1, "ids"),
        ([0.5], 1, "integers"),
        ([[1]], 1, "1-D"),
        ([1], 2, "vectors"),
        ([999], 1, "not in the tables"),
    ],
)
def test_bad_changes_are_refused_and_change_nothing(ids, n, match):
    tables = HashTables(family_of()).build(vectors_of(0, 50))
    before = tables.query(vectors_of(0, 50)).ids.tobytes()
    with pytest.raises(ArgumentError, match=match):
        tables.update(ids, vectors_of(0, n))
    with pytest.raises(ArgumentError):
        tables.insert([3], vectors_of(0, 1))
    with pytest.raises(ArgumentError, match="vectors"):
        tables.insert([60], np.full((1, DIM), np.nan))
    assert tables.query(vectors_of(0, 50)).ids.tobytes() == before
    assert (tables.n_items, tables.n_ids) == (50, 50)


class Stumbling(HashFamily):
    """A family that fails on demand."""

    similarity = "cosine"
    fails = False

    def hash(self, x):
        codes = (np.asarray(x)[:, : self.n_tables] > 0).astype(np.uint32)
        return codes + np.uint32(2**20 * self.fails)

    def collision_probability(self, similarity):
        return np.asarray(similarity, float)


def test_a_failed_change_leaves_the_old_state(monkeypatch):
    tables = HashTables(Stumbling(FamilySpec(dim=DIM, n_hashes=1, n_tables=3))).build(vectors_of(0, 20))
    tables.update([1], vectors_of(1, 1))
    before = tables.state
    monkeypatch.setattr(Stumbling, "fails", True)
    with pytest.raises(PluginError):
        tables.update([2], vectors_of(2, 1))
    monkeypatch.setattr(Stumbling, "fails", False)
    assert tables.state is before

    def half(*_):
        raise MemoryError

    monkeypatch.setattr(module.Writer, "remember", half)
    with pytest.raises(MemoryError):
        tables.update([2], vectors_of(2, 1))
    monkeypatch.undo()
    assert tables.state is before
    tables.update([2], vectors_of(2, 1))
    expected = HashTables(tables.family).build(
        np.concatenate([vectors_of(0, 1), vectors_of(1, 1), vectors_of(2, 1), vectors_of(0, 20)[3:]])
    )
    assert tables.query(vectors_of(9, 9)).ids.tolist() == expected.query(vectors_of(9, 9)).ids.tolist()


def test_memory_of_the_writer_is_told_and_refused(monkeypatch):
    tables = HashTables(family_of()).build(vectors_of(0, 300))
    need = HashTables.memory_needed(family_of(), 300)
    tables.update([1], vectors_of(0, 300)[1:2])
    assert tables.memory_bytes == need.tables + need.writer
    fresh = HashTables(family_of()).build(vectors_of(0, 300))
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryBudgetError, match="changing tables of 300 ids"):
        fresh.update([1], vectors_of(0, 1))


def test_laws_keep_the_rows_that_they_need():
    rows = vectors_of(0, 100)
    tables = HashTables(family_of()).build(rows)
    rows[5] = vectors_of(1, 1)
    tables.update([5], rows[5:6])  # changed in place: the reference is still right
    assert tables.vectors is rows
    grown = np.concatenate([rows, vectors_of(2, 1)])
    tables.insert([100], grown[100:], rows=grown)
    assert tables.vectors is grown
    assert not Retrieve(tables).sample(grown[:3], law="marginal").is_biased
    with pytest.raises(ArgumentError, match="rows"):
        tables.insert([101], vectors_of(0, 1), rows=grown)
    tables.update([5], vectors_of(3, 1))
    assert tables.vectors is None
    assert "without the vectors" in Retrieve(tables).sample(grown[:3], law="marginal").biased_by


def test_samplers_are_bound_to_the_ids_that_there_may_be():
    tables = HashTables(family_of()).build(vectors_of(0, 100))
    sampler = Retrieve(tables).bind()
    roomy = Retrieve(tables).bind(n_items=200)
    tables.insert([100], vectors_of(0, 1))
    with pytest.raises(ArgumentError, match="100 items, as bound"):
        sampler.sample(vectors_of(0, 1))
    assert 100 in Retrieve(tables).sample(vectors_of(0, 1)).ids
    assert 100 in roomy.sample(vectors_of(0, 1)).ids
    tables.delete([100])
    assert Retrieve(tables).sample(vectors_of(0, 1)).n_items == 101


def test_shards_are_merged_and_split():
    rows, family = vectors_of(0, 300), family_of()
    whole = HashTables(family).build(rows)
    parts = [HashTables(family).build(rows[a:b], ids=np.arange(a, b)) for a, b in ((0, 100), (100, 300))]
    merged = HashTables.merge(parts[1], parts[0])
    np.testing.assert_array_equal(merged.state.base.ids, whole.state.base.ids)
    np.testing.assert_array_equal(merged.state.base.directory, whole.state.base.directory)
    again = whole.split([100])
    for one, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(one.state.base.ids, other.state.base.ids)
        assert one.n_ids == other.n_ids
    with pytest.raises(ArgumentError, match="id 0"):
        HashTables.merge(whole, parts[0])
    with pytest.raises(ArgumentError, match="tables of"):
        HashTables.merge(whole, HashTables(family.with_seed(9)).build(rows))
    for bad in ([0], [300], [5, 5], [7, 3], [1.5]):
        with pytest.raises(ArgumentError, match="boundaries"):
            whole.split(bad)
    with pytest.raises(ArgumentError, match="ascending"):
        whole.build(rows, ids=np.arange(300)[::-1])


# ---- bounded buckets ----


def test_bounded_memory_is_predicted_exactly_and_kept():
    need = HashTables.memory_needed(family_of(), 10_000, bucket_size=16)
    tables = HashTables(family_of(), bucket_size=16)
    for n in (10, 10_000):
        tables.build(vectors_of(0, n))
        assert tables.memory_bytes == need.tables == need.per_table * TABLES == 4 * TABLES * 17 * 2**4
    tables.insert(np.arange(10_000, 20_000), vectors_of(1, 10_000))
    assert tables.memory_bytes == need.tables
    assert tables.n_items == 20_000
    with pytest.raises(ArgumentError, match="24 bits"):
        HashTables(family_of(25), bucket_size=16)
    for bad in (0, True, 1.5):
        with pytest.raises(ArgumentError, match="bucket_size"):
            HashTables(family_of(), bucket_size=bad)


def test_bounded_tables_say_what_they_cannot_do():
    tables = HashTables(family_of(), bucket_size=16).build(vectors_of(0, 100))
    for call in (
        lambda: tables.update([1], vectors_of(0, 1)),
        lambda: tables.delete([1]),
        lambda: tables.changed([1], vectors_of(0, 1)),
        lambda: tables.split([50]),
    ):
        with pytest.raises(UnsupportedError, match="bounded"):
            call()
    with pytest.raises(ArgumentError, match="from 100 on"):
        tables.insert([99], vectors_of(0, 1))
    assert not Retrieve(tables).sample(vectors_of(0, 2), law="marginal").is_biased


def test_bounded_buckets_are_the_same_for_any_threads_and_batches():
    rows = vectors_of(0, 3000)
    one = HashTables(family_of(), bucket_size=8, threads=1).build(rows)
    four = HashTables(family_of(), bucket_size=8, threads=4).build(rows[:500])
    for begin in range(500, 3000, 100):
        four.insert(np.arange(begin, begin + 100), rows[begin : begin + 100])
    np.testing.assert_array_equal(one.state.base.ids, four.state.base.ids)
    np.testing.assert_array_equal(one.state.base.sizes, four.state.base.sizes)


def test_bounded_buckets_hold_what_fits_and_count_all():
    rows, queries = vectors_of(0, 3000), vectors_of(1, 30)
    whole, bounded = HashTables(family_of()).build(rows), HashTables(family_of(), bucket_size=64).build(rows)
    a, b = whole.buckets(queries), bounded.buckets(queries)
    np.testing.assert_array_equal(a.sizes, b.sizes)
    held = np.diff(b.indptr).reshape(b.sizes.shape)
    np.testing.assert_array_equal(held, np.minimum(a.sizes, 64))
    np.testing.assert_array_equal(b.weights, np.maximum(1, a.sizes / 64))
    for query in range(30):
        for table in range(TABLES):
            assert set(b.bucket(query, table)) <= set(a.bucket(query, table))
    first, second = (
        HashTables(family_of(), bucket_size=64).build(rows[a:b], ids=np.arange(a, b))
        for a, b in ((0, 1000), (1000, 3000))
    )
    for merged in (HashTables.merge(first, second), HashTables.merge(second, first)):
        np.testing.assert_array_equal(merged.buckets(queries).sizes, a.sizes)
        assert merged.n_items == 3000
        assert len(np.unique(merged.buckets(queries).bucket(0, 0))) == held[0, 0]
    with pytest.raises(ArgumentError, match="disjoint range"):
        HashTables.merge(first, bounded)
    with pytest.raises(ArgumentError, match="bucket_size"):
        HashTables.merge(first, whole)
