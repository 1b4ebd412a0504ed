"""Buckets that keep R of n ids: which are kept, and the weight that corrects for the others.

Mistakes found in public implementations are simulated, and detected by the same tests.
"""

from __future__ import annotations

import numpy as np
import pytest

from lshsample._native.bounded import empty_bounded, merge_bounded, offer
from lshsample.registry import make_family
from lshsample.tables import HashTables

ROOM, N_IDS, N_TABLES = 16, 400, 1500


def held_by(packed):
    """The ids in the first bucket of each table, as a mask (n_tables, N_IDS)."""
    held = np.zeros((packed.n_tables, N_IDS), bool)
    places = packed.ids.reshape(packed.n_tables, -1, packed.bucket_size)[:, 0]
    np.put_along_axis(held, places, True, axis=1)
    return held


def offered(first, last, seed=5):
    packed = empty_bounded(N_TABLES, 1, ROOM, last - first, N_IDS)
    ids = np.arange(first, last, dtype=np.int32)
    offer(packed, ids, np.zeros((last - first, N_TABLES), np.uint32), seed, 2, "test")
    return packed


def ours():
    return held_by(offered(0, N_IDS))


def ours_merged():
    out = empty_bounded(N_TABLES, 1, ROOM, N_IDS, N_IDS)
    merge_bounded(offered(0, 90), offered(90, N_IDS), out, 5, 2)
    return held_by(out)


def simulated(rule):
    """A reservoir in NumPy; ``rule(generator, count)`` returns the place of each id after the first R."""
    rng, held = np.random.default_rng(0), np.zeros((N_TABLES, N_IDS), bool)
    for table in range(N_TABLES):
        places = list(range(ROOM))
        for name in range(ROOM, N_IDS):
            place = rule(rng, name + 1)
            if place < ROOM:
                places[place] = name
        held[table, places] = True
    return held


def accepts_one_in_count(rng, count):
    return int(rng.integers(ROOM)) if rng.random() < 1 / count else ROOM


def right_rule(rng, count):
    return int(rng.integers(count))


def first_in_first_out():
    held = np.zeros((N_TABLES, N_IDS), bool)
    held[:, -ROOM:] = True
    return held


def shared_random_numbers():
    return np.repeat(simulated(right_rule)[:1], N_TABLES, axis=0)


def is_uniform(held):
    """Whether all deciles of the order of insertion are kept equally often, within 5 standard errors."""
    share = held.reshape(N_TABLES, 10, -1).mean(axis=(0, 2))
    error = np.sqrt(ROOM / N_IDS / (N_TABLES * N_IDS / 10))
    return bool((np.abs(share - ROOM / N_IDS) < 5 * error).all())


def is_independent(held):
    """Whether two tables share as many ids as independent subsets: R**2 / n on average."""
    shared = (held[0::2] & held[1::2]).sum(axis=1)
    return bool(abs(shared.mean() - ROOM**2 / N_IDS) < 5 * np.sqrt(ROOM**2 / N_IDS / len(shared)))


@pytest.mark.parametrize("held", [ours, ours_merged, lambda: simulated(right_rule)])
def test_all_subsets_are_equally_likely_and_tables_are_independent(held):
    kept = held()
    assert (kept.sum(axis=1) == ROOM).all()
    assert is_uniform(kept)
    assert is_independent(kept)


@pytest.mark.parametrize(
    ("held", "check"),
    [
        (lambda: simulated(accepts_one_in_count), is_uniform),
        (first_in_first_out, is_uniform),
        (shared_random_numbers, is_independent),
    ],
)
def test_faulty_rules_are_detected(held, check):
    assert not check(held())


def test_the_seed_determines_the_choice():
    np.testing.assert_array_equal(offered(0, N_IDS).ids, offered(0, N_IDS).ids)
    assert (offered(0, N_IDS).ids != offered(0, N_IDS, seed=6).ids).any()
    both = empty_bounded(2, 2, 4, 200, 200)
    codes = np.tile(np.arange(200, dtype=np.uint32) % 4, (2, 1)).T.copy()
    offer(both, np.arange(200, dtype=np.int32), codes, 0, 1, "test")
    buckets = both.ids.reshape(8, 4) // 4  # which of its 50 ids each bucket kept
    assert len(np.unique(buckets, axis=0)) == 8


def test_one_table_at_a_time_is_unbiased_with_the_weight_and_not_without():
    rows = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
    query = np.random.default_rng(1).standard_normal((1, 8), dtype=np.float32)
    values = np.exp(rows @ query[0] / 4)
    weighted, plain = [], []
    for seed in range(500):
        family = make_family("simhash", dim=8, n_hashes=2, n_tables=8, seed=seed)
        tables = HashTables(family, bucket_size=20, threads=1).build(rows)
        found = tables.buckets(query)
        chance = family.pair_code_probability(np.repeat(query, len(found.ids), axis=0), rows[found.ids])
        terms = values[found.ids] / chance
        table = np.repeat(np.arange(8), np.diff(found.indptr))
        weighted.append((terms * found.weights[0, table]).sum() / 8)
        plain.append(terms.sum() / 8)
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - values.sum()) < 4 * error
    assert np.mean(plain) < 0.7 * values.sum()
