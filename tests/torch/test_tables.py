"""Tables of tensors give the candidates, counts and probabilities of the C tables, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lshsample import hashing, parse_pipeline
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.registry import make_family
from lshsample.tables import HashTables

torch = pytest.importorskip("torch")
from lshsample.torch import TorchTables  # noqa: E402
from lshsample.torch.hashing import best_flips, probable_sets  # noqa: E402

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
FAMILIES = [
    ("simhash:n_hashes=4,n_tables=7", 1),
    ("simhash:n_hashes=4,n_tables=7", 5),
    ("simhash:n_hashes=20,n_tables=3,projection=gaussian", 3),
    ("simhash:n_hashes=32,n_tables=2,projection=sparse", 4),
    ("dwta:n_hashes=2,n_tables=5", 1),
    ("simple-lsh:n_hashes=3,n_tables=5", 1),
    ("minhash:n_hashes=3,n_tables=5", 1),
    ("e2lsh:n_hashes=3,n_tables=5", 2),
]


def rows_of(n, dim=12, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    x[n // 2 :] = x[: n - n // 2] + 0.1 * x[n // 2 :]
    return x


def assert_same(found, wanted):
    for name in ("indptr", "ids", "counts"):
        assert_array_equal(getattr(found, name), getattr(wanted, name), strict=True)


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.mark.parametrize(("text", "n_probes"), FAMILIES)
def test_candidates_are_those_of_the_c_tables(text, n_probes, device):
    rows = abs(rows_of(600)) if "minhash" in text else rows_of(600)
    queries = rows[::17].copy()
    wanted = HashTables(text).build(rows)
    tables = TorchTables.build(text, torch.from_numpy(rows).to(device))
    assert tables.family.spec == wanted.family.spec
    assert (tables.n_ids, tables.n_items, tables.n_tables) == (600, 600, wanted.n_tables)
    found = tables.query(queries, n_probes)
    assert_same(found, wanted.query(queries, n_probes))
    assert len(found.ids) > len(queries)
    as_tensors = tables.find(torch.from_numpy(queries).to(device), n_probes)
    assert as_tensors.ids.device == tables.device
    assert_array_equal(as_tensors.ids.cpu(), found.ids)
    assert_array_equal(as_tensors.counts.cpu(), found.counts)
    for name in ("indptr", "ids", "sizes"):
        assert_array_equal(getattr(tables.buckets(queries), name), getattr(wanted.buckets(queries), name))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_codes(data):
    """Of all bits, few and many items, repeated codes, no queries, codes that no item has."""
    bits = data.draw(st.sampled_from([1, 3, 8, 12, 31, 32]))
    n_tables = data.draw(st.integers(1, 4))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (data.draw(st.integers(1, 80)), 3)).astype(np.float32)
    queries = rng.integers(-1, 2, (data.draw(st.integers(0, 9)), 3)).astype(np.float32)
    family = make_family("simhash", dim=3, n_hashes=bits, n_tables=n_tables, seed=seed)
    n_probes = data.draw(st.integers(1, min(2**bits, 6)))
    codes = torch.from_numpy(hashing.hash_rows(family, rows).astype(np.int64))
    wanted = HashTables(family).build(rows).query(queries, n_probes)
    assert_same(TorchTables.from_codes(family, codes).query(queries, n_probes), wanted)


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("Retrieve()", "conditional"),
        ("Retrieve(probes=3)", "marginal"),
        ("Retrieve() | AtLeast(2) | Uniform(5)", "marginal"),
        ("Retrieve() | Cap(15) | Fill(30)", "conditional"),
    ],
)
def test_samples_and_probabilities(text, law, device):
    rows, queries = rows_of(300), rows_of(300)[:8]
    family = make_family("simhash", dim=12, n_hashes=5, n_tables=6, seed=3)
    wanted, found = (
        parse_pipeline(text).bind(tables=tables).sample(queries, seed=5, step=2, law=law)
        for tables in (
            HashTables(family).build(rows),
            TorchTables.build(family, torch.from_numpy(rows).to(device)),
        )
    )
    assert found.biased_by == wanted.biased_by
    for name in ("indptr", "ids", "counts", *(() if wanted.biased_by else ("log_inclusion",))):
        assert_array_equal(getattr(found, name), getattr(wanted, name), strict=True)


def test_vectors_of_the_tables_give_range_search():
    rows = rows_of(200)
    family = make_family("simhash", dim=12, n_hashes=4, n_tables=8)
    tables = TorchTables.build(family, torch.from_numpy(rows))
    wanted = HashTables(family).build(rows).range_search(rows[:3], 0.8)
    found = tables.range_search(rows[:3], 0.8)
    assert_array_equal(found.ids, wanted.ids)
    assert_array_equal(found.similarities, wanted.similarities)


@pytest.mark.parametrize("projection", ["hadamard", "gaussian", "sparse"])
@pytest.mark.parametrize("n_probes", [1, 7])
def test_hashing_by_a_product(projection, n_probes, device):
    """Codes and probes are the core's but for bits whose margin is about zero."""
    rows = rows_of(500, dim=40)
    family = make_family("simhash", dim=40, n_hashes=10, n_tables=6, projection=projection)
    given = torch.from_numpy(rows).to(device)
    tables = TorchTables.build(family, given, hashing="matmul")
    codes = tables.hash(given).cpu().numpy()
    assert (codes != hashing.hash_rows(family, rows)).mean() < 1e-3
    wanted = HashTables(family).build(rows).query(rows[:50], n_probes)
    found = tables.query(rows[:50], n_probes)
    assert abs(len(found.ids) - len(wanted.ids)) <= 0.01 * len(wanted.ids)
    # Over the same codes of items the difference is that of the queries alone.
    again = TorchTables.from_codes(family, torch.from_numpy(codes).to(device)).query(rows[:50], n_probes)
    assert abs(len(found.ids) - len(again.ids)) <= 0.01 * len(again.ids)


def test_rows_of_any_size_are_hashed_by_a_product():
    rows = torch.from_numpy(rows_of(50))
    tables = TorchTables.build("simhash:n_hashes=8,n_tables=3", rows, hashing="matmul")
    codes = tables.hash(rows)
    for scale in (1e-30, 1e38):
        assert (tables.hash(rows * scale / rows.abs().max()) != codes).float().mean() < 0.01
    assert (tables.hash(torch.zeros(1, 12)) == 255).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_best_flips_of_the_same_margins(data):
    """The order of probes is that of the reference, with ties, zeros, and every bit."""
    from lshsample_families.simhash import probe_flips

    n_hashes = data.draw(st.integers(1, 32))
    n_probes = data.draw(st.integers(2, min(2**n_hashes, 40)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    margins = rng.standard_normal((2, n_hashes, 3)).astype(np.float32)
    if data.draw(st.booleans()):
        margins = np.round(margins)
    found = best_flips(torch.from_numpy(margins), n_probes).numpy().astype(np.int64) & 0xFFFFFFFF
    wanted = [[probe_flips(row[:, table], n_probes) for table in range(3)] for row in margins]
    assert_array_equal(found, wanted)


def test_sets_of_flips_are_few():
    assert probable_sets(3, 8) == tuple(range(8))
    assert len(probable_sets(32, 64)) < 300
    with pytest.raises(UnsupportedError, match="cannot probe 60000 buckets"):
        probable_sets(32, 60000)


def test_many_entries_are_joined_in_blocks(monkeypatch):
    rows = rows_of(300)
    tables = TorchTables.build("simhash:n_hashes=2,n_tables=3", torch.from_numpy(rows))
    wanted = tables.query(rows)
    monkeypatch.setattr("lshsample.torch.tables._BLOCK_ENTRIES", 100)
    assert_same(tables.query(rows), wanted)


def test_dtypes_and_graphs():
    rows = torch.from_numpy(rows_of(40)).bfloat16()
    tables = TorchTables.build("simhash:n_hashes=3,n_tables=3", rows)
    parameter = torch.nn.Parameter(rows.float())
    same = TorchTables.build("simhash:n_hashes=3,n_tables=3", parameter)
    assert torch.equal(tables.ids, same.ids)
    assert not same.find(parameter).counts.requires_grad
    assert tables.nbytes == 4 * 3 * 40 + 4 * 3 * 9
    assert repr(tables).endswith("40 items, cpu)")


FAMILY = make_family("simhash", dim=4, n_hashes=3, n_tables=2)
ROWS = torch.ones(5, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TorchTables.build(FAMILY, np.ones((5, 4))), r"vectors must be a tensor \(n, 4\) .*ndarray"),
        (lambda: TorchTables.build("simhash", torch.ones(5)), r"vectors must be a tensor \(n, dim\)"),
        (lambda: TorchTables.build(FAMILY, torch.ones(5, 3)), r"vectors must be .*got shape \(5, 3\)"),
        (lambda: TorchTables.build(FAMILY, torch.ones(0, 4)), "vectors must be from 1 .*got 0 rows"),
        (lambda: TorchTables.build(FAMILY, torch.full((5, 4), torch.nan)), "vectors must be finite"),
        (lambda: TorchTables.build(FAMILY, ROWS.to_sparse()), "vectors must be a dense tensor"),
        (lambda: TorchTables.build(FAMILY, ROWS.bool()), "vectors must be a dense tensor of real numbers"),
        (lambda: TorchTables.build(FAMILY, ROWS.to("meta")), "vectors must be on a device with values"),
        (lambda: TorchTables.build(FAMILY, ROWS, hashing="gpu"), 'hashing must be "core" or "matmul"'),
        (lambda: TorchTables.from_codes("simhash", ROWS), "family must be a HashFamily"),
        (lambda: TorchTables.from_codes(FAMILY, [[1, 2]]), r"codes must be .* integers below 2\*\*3"),
        (lambda: TorchTables.from_codes(FAMILY, ROWS), r"codes must be .*shape \(5, 4\)"),
        (lambda: TorchTables.from_codes(FAMILY, torch.ones(5, 2)), "codes must be .*torch.float32"),
        (lambda: TorchTables.from_codes(FAMILY, torch.tensor([[0, 8]])), "codes must be .*from 0 to 8"),
        (lambda: TorchTables.from_codes(FAMILY, torch.tensor([[-1, 0]])), "codes must be .*from -1 to 0"),
        (
            lambda: TorchTables.from_codes(FAMILY, torch.zeros(3, 2, dtype=torch.int32), vectors=ROWS),
            "vectors must be 3, one for each row of codes",
        ),
        (lambda: TorchTables.build(FAMILY, ROWS).find(torch.ones(2, 3)), "queries must be"),
        (lambda: TorchTables.build(FAMILY, ROWS).query(np.ones((2, 3))), "queries must be"),
        (lambda: TorchTables.build(FAMILY, ROWS).find(ROWS, 9), "n_probes must be at most .* codes, 8"),
        (lambda: TorchTables.build(FAMILY, ROWS, hashing="matmul").find(ROWS, 0), "n_probes must be an in"),
    ],
)  # fmt: skip
def test_bad_inputs(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("text", ["dwta:n_hashes=2,n_tables=2", "cross-polytope:n_hashes=1,n_tables=2"])
def test_other_families_are_not_hashed_by_a_product(text):
    with pytest.raises(UnsupportedError, match="does not hash by the signs of inner products"):
        TorchTables.build(text, torch.ones(5, 16), hashing="matmul")


def test_families_that_cannot_probe():
    tables = TorchTables.build("minhash:n_hashes=2,n_tables=2", torch.ones(5, 16))
    with pytest.raises(UnsupportedError, match="cannot probe"):
        tables.find(torch.ones(1, 16), 2)
