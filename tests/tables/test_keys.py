"""The caller's own keys of items: any int64, beside the ids, through changes, files, shards and searches."""

import pickle

import numpy as np
import pytest

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.registry import make_family
from lshsample.sampling import Full, Retrieve
from lshsample.tables import HashTables

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 8), dtype=np.float32)
KEYS = np.concatenate([[-(2**63), 2**63 - 1, -1, 0], RNG.permutation(10**12 + np.arange(56))])


def family(**options):
    return make_family("simhash", dim=8, n_hashes=5, n_tables=6, **options)


def build(**options):
    return HashTables(family(), **options).build(ROWS, keys=KEYS)


def found_by_key(tables, rows, keys):
    """Whether each row is found under its key."""
    found = tables.query(rows)
    return [key in found.keys[found.indptr[i] : found.indptr[i + 1]] for i, key in enumerate(keys)]


def test_results_have_the_keys_of_their_ids():
    tables = build()
    found = tables.query(ROWS[:9])
    assert found.keys.dtype == np.int64
    assert (found.keys == KEYS[found.ids]).all()
    assert (tables.keys_of(found.ids) == found.keys).all()
    assert (tables.ids_of(KEYS[::-1]) == np.arange(60)[::-1]).all()
    assert (tables.keys == KEYS).all()
    near = tables.range_search(ROWS[:9], 0.5)
    assert (near.keys == KEYS[near.ids]).all()
    pairs = tables.similar_pairs(0.5)
    assert pairs.keys.shape == pairs.ids.shape
    assert (pairs.keys == KEYS[pairs.ids]).all()
    assert tables.keys_of([[-1, 3], [0, -1]]).tolist() == [[-1, KEYS[3]], [KEYS[0], -1]]


def test_search_returns_keys_where_asked():
    tables = build()
    ids, scores = Retrieve().bind(tables=tables).search(ROWS[:7], top=60)
    keys, same = Retrieve().bind(tables=tables).search(ROWS[:7], top=60, keys=True)
    assert (keys == np.where(ids < 0, -1, KEYS[ids])).all()
    assert (scores == same).all()
    for sampler in (
        Full().bind(n_items=60, vectors=ROWS),
        Retrieve().bind(tables=HashTables(family()).build(ROWS)),
    ):
        with pytest.raises(ArgumentError, match="keys must be False, or the tables built with keys"):
            sampler.search(ROWS[:2], keys=True)


def test_changes_by_key_keep_the_keys():
    tables, kept = build(merge_share=1e-9), KEYS.copy()
    before = tables.query(ROWS)
    gone = KEYS[[5, 2, 40]]
    tables.delete(gone)
    assert tables.n_items == 57
    assert not any(found_by_key(tables, ROWS[[5, 2, 40]], gone))
    assert (before.keys == kept[before.ids]).all(), "a result keeps the keys of its state"
    new, rows = np.array([7, -7, 8, 9]), RNG.standard_normal((4, 8), dtype=np.float32)
    tables.insert(new, rows)
    # Holes are used first, the lowest for the first key.
    assert tables.ids_of(new).tolist() == [2, 5, 40, 60]
    assert all(found_by_key(tables, rows, new))
    assert all(found_by_key(tables, ROWS[6:9], KEYS[6:9]))
    moved = RNG.standard_normal((2, 8), dtype=np.float32)
    assert tables.changed([9, -7], moved).shape == (2, 6)
    tables.update([9, -7], moved)
    assert all(found_by_key(tables, moved, [9, -7]))
    assert (before.keys == kept[before.ids]).all()
    tables.compact()
    assert all(found_by_key(tables, moved, [9, -7]))
    assert sorted(tables.keys_of(tables.item_ids)) == sorted({*KEYS, 7, -7, 8, 9} - set(gone))


def test_wrong_keys_are_refused_and_change_nothing():
    tables, plain = build(), HashTables(family()).build(ROWS)
    new = ROWS[:2]
    for call, words in (
        (lambda: tables.insert([1, 1], new), r"keys must be unique keys \(got 1 twice\)"),
        (
            lambda: tables.insert([1, KEYS[3]], new),
            r"keys must be new keys .* \(got 0, which is in the tables\)",
        ),
        (lambda: tables.delete([0, 12]), r"keys must be keys in the tables \(got 12, which is not"),
        (lambda: tables.update([12, 0], new), r"keys must be keys in the tables \(got 12, which is not"),
        (lambda: tables.changed([12], new[:1]), "keys must be keys in the tables"),
        (lambda: tables.ids_of([12]), "keys must be keys in the tables"),
        (lambda: tables.insert([1.5, 2], new), "keys must be a 1-D array of integers from -2"),
        (
            lambda: tables.insert(np.array([2**63], np.uint64), new[:1]),
            r"keys must be .* \(got 9223372036854775808\)",
        ),
        (lambda: tables.insert([2**70], new[:1]), "keys must be a 1-D array of integers"),
        (lambda: tables.insert(["a"], new[:1]), "keys must be a 1-D array of integers"),
        (lambda: tables.insert([1], new), "vectors must be an array of 1 rows"),
        (lambda: tables.build(ROWS, keys=KEYS[:9]), r"keys must be 60 keys, one for each row \(got 9 keys\)"),
        (lambda: tables.build(ROWS, keys=np.zeros(60, int)), r"keys must be unique keys \(got 0 twice\)"),
        (lambda: tables.build(ROWS, keys=KEYS, ids=np.arange(60)), "ids must be left out"),
        (lambda: tables.rebuild(ROWS[:9]), "keys must be given, one for each row"),
        (lambda: tables.keys_of([60]), "ids must be integers from 0 to 59"),
        (lambda: plain.query(new).keys, "tables must be tables with keys"),
        (lambda: plain.ids_of([1]), "tables must be tables with keys"),
        (lambda: plain.keys_of([1]), "tables must be tables with keys"),
    ):
        with pytest.raises(ArgumentError, match=words):
            call()
    assert plain.keys is None
    assert (tables.n_items, tables.n_ids) == (60, 60)
    assert (tables.keys == KEYS).all()
    assert all(found_by_key(tables, ROWS, KEYS))


def test_rebuilding_keeps_the_keys_of_the_same_rows():
    tables = build()
    assert (tables.rebuild(ROWS + 1).keys == KEYS).all()
    assert (tables.rehash(ROWS, 3).keys == KEYS).all()
    assert (tables.rebuild(ROWS[:9], keys=np.arange(9) * 10).keys == np.arange(9) * 10).all()
    tables.delete([30])
    with pytest.raises(ArgumentError, match="keys must be given"):
        tables.rebuild(ROWS[:9])
    assert tables.build(ROWS).keys is None


@pytest.mark.parametrize("holes", [False, True])
def test_keys_are_saved(tmp_path, holes):
    tables = build()
    if holes:
        tables.delete(KEYS[[0, 59, 20]])
    tables.save(tmp_path / "t.lsh", vectors=True)
    again = HashTables.open(tmp_path / "t.lsh")
    left = np.delete(KEYS, [0, 59, 20]) if holes else KEYS
    rows = np.delete(ROWS, [0, 59, 20], axis=0) if holes else ROWS
    assert (again.query(rows).keys == tables.query(rows).keys).all()
    assert (again.ids_of(left) == tables.ids_of(left)).all()
    again.insert([77], ROWS[:1]).delete(left[3:4])
    assert all(found_by_key(again, ROWS[:1], [77]))
    copied = pickle.loads(pickle.dumps(again))
    assert (copied.ids_of([77, *left[4:]]) == again.ids_of([77, *left[4:]])).all()


def test_damaged_keys_are_found_when_a_file_is_verified(tmp_path):
    path = tmp_path / "t.lsh"
    build().save(path)
    whole = path.read_bytes()
    at = whole.rindex(KEYS.astype("<i8").tobytes())
    path.write_bytes(whole[: at + 3] + bytes([whole[at + 3] ^ 1]) + whole[at + 4 :])
    with pytest.raises(CheckpointError, match="keys does not match the checksum"):
        HashTables.open(path, verify=True)
    with pytest.raises(CheckpointError, match="keys does not match"):
        HashTables.open(path).ids_of([0])
    with pytest.raises(CheckpointError, match="keys does not match"):
        HashTables.open(path).delete([0])


def test_shards_have_their_keys():
    tables = build()
    low, high = tables.split([25])
    assert (high.ids_of(KEYS[25:]) == np.arange(25, 60)).all()
    with pytest.raises(ArgumentError, match="keys must be keys in the tables"):
        low.ids_of(KEYS[25:26])
    # Built apart, both have ids from 0 on; the keys name the items.
    a = HashTables(family()).build(ROWS[:25], keys=KEYS[:25])
    b = HashTables(family()).build(ROWS[25:], keys=KEYS[25:])
    for one, two, order in ((a, b, np.arange(60)), (b, a, np.roll(np.arange(60), -25))):
        merged = HashTables.merge(one, two)
        assert (merged.ids_of(KEYS[order]) == np.arange(60)).all()
        assert all(found_by_key(merged, ROWS, KEYS))
        expected = [sorted(tables.query(row[None]).keys) for row in ROWS]
        assert [sorted(merged.query(row[None]).keys) for row in ROWS] == expected
    with pytest.raises(ArgumentError, match=r"b must be tables with no key of a \(got tables with key"):
        HashTables.merge(a, HashTables(family()).build(ROWS[:1], keys=KEYS[7:8]))
    with pytest.raises(ArgumentError, match=r"b must be tables with keys, as a \(got tables without keys\)"):
        HashTables.merge(a, HashTables(family()).build(ROWS[:1], ids=[99]))


def test_bounded_tables_have_keys():
    tables = HashTables(family(), bucket_size=4).build(ROWS[:40], keys=KEYS[:40])
    tables.insert(KEYS[40:], ROWS[40:])
    found = tables.query(ROWS)
    assert (found.keys == KEYS[found.ids]).all()
    other = HashTables(family(), bucket_size=4).build(ROWS[:5], keys=np.arange(5) + 5)
    merged = HashTables.merge(tables, other)
    assert (merged.ids_of([9, KEYS[0]]) == [64, 0]).all()


@pytest.mark.parametrize("bucket_size", [None, 8])
def test_memory_counts_the_keys(bucket_size):
    tables = HashTables(family(), bucket_size=bucket_size).build(ROWS, keys=KEYS)
    need = HashTables.memory_needed(tables.family, 60, bucket_size=bucket_size, keys=True)
    plain = HashTables.memory_needed(tables.family, 60, bucket_size=bucket_size)
    assert need.tables - plain.tables == need.peak - plain.peak == 20 * 60
    assert tables.memory_bytes == need.tables


def test_random_changes_agree_with_a_dictionary():
    rng, tables, rows = np.random.default_rng(5), build(merge_share=0.05), dict(zip(KEYS, ROWS, strict=True))
    for turn in range(30):
        gone = rng.choice(list(rows), 7, replace=False)
        tables.delete(gone)
        for key in gone:
            del rows[key]
        new = rng.integers(-50, 50, 30)
        new = np.array([key for key in dict.fromkeys(new.tolist()) if key not in rows][:9])
        fresh = rng.standard_normal((len(new), 8), dtype=np.float32)
        tables.insert(new, fresh)
        rows.update(zip(new, fresh, strict=True))
        moved = rng.choice(list(rows), 5, replace=False)
        fresh = rng.standard_normal((5, 8), dtype=np.float32)
        tables.update(moved, fresh)
        rows.update(zip(moved, fresh, strict=True))
        assert sorted(tables.keys_of(tables.item_ids)) == sorted(rows), turn
    assert all(found_by_key(tables, np.array(list(rows.values())), list(rows)))
