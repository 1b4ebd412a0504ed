"""Files of tables that are built in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.registry import make_family
from lshsample.tables import HashTables, build_file, external

LEAST = 2**24


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((3000, 12), dtype=np.float32)


def blocks_of(rows, size):
    return (rows[begin : begin + size] for begin in range(0, rows.shape[0], size))


def saved(family, rows, folder):
    HashTables(family).build(rows).save(folder / "in memory")
    return (folder / "in memory").read_bytes()


@pytest.mark.parametrize("n_hashes", [1, 6, 11, 12, 20, 32])
@pytest.mark.parametrize("limit", [2**13, 2**17, 2**24])
def test_the_file_has_the_bytes_of_a_build_in_memory(rows, n_hashes, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "_LEAST_LIMIT", 1)
    family = make_family("simhash", dim=12, n_hashes=n_hashes, n_tables=3, seed=1)
    skewed = np.concatenate([rows, np.tile(rows[:1], (1500, 1)), rows[:2] + np.float32(1e-3)])
    tables = build_file(tmp_path / "t", family, blocks_of(skewed, 700), memory_limit=limit, threads=2)
    assert (tmp_path / "t").read_bytes() == saved(family, skewed, tmp_path)
    tables.verify()
    in_memory = HashTables(family).build(skewed)
    np.testing.assert_array_equal(tables.query(rows[:5]).ids, in_memory.query(rows[:5]).ids)


def test_matrices_of_every_kind_are_taken(rows, tmp_path):
    family = make_family("simhash", dim=12, n_hashes=8, n_tables=2, seed=1)
    wanted = saved(family, rows, tmp_path)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for given in (rows, mapped, rows.tolist(), sp.csc_array(rows), blocks_of(sp.csr_array(rows), 100)):
        build_file(tmp_path / "t", family, [given] if isinstance(given, list) else given)
        assert (tmp_path / "t").read_bytes() == wanted


def test_the_text_of_a_family_gets_the_width_of_the_rows(rows, tmp_path):
    tables = build_file(tmp_path / "t", "simhash:n_hashes=4,n_tables=2", blocks_of(rows, 1000))
    assert (tables.family.dim, tables.n_items) == (12, 3000)


def test_a_family_that_is_fitted_to_all_rows_needs_them_as_one_matrix(rows, tmp_path):
    family = make_family("l2-alsh", dim=12, n_hashes=4, n_tables=2)
    build_file(tmp_path / "t", family, rows)
    assert (tmp_path / "t").read_bytes() == saved(family, rows, tmp_path)
    with pytest.raises(UnsupportedError, match="fitted to all rows: give them as one matrix"):
        build_file(tmp_path / "t", family, blocks_of(rows, 1000))


def test_bad_input_is_refused_and_the_old_file_is_kept(rows, tmp_path):
    path, family = tmp_path / "t", make_family("simhash", dim=12, n_hashes=4, n_tables=2)
    path.write_bytes(b"old")
    bad = rows.copy()
    bad[2100, 3] = np.nan
    for given, wanted in [
        (iter([]), "rows must be at least one row"),
        (rows[:0], "rows must be at least one row"),
        (3, "rows must be a matrix, or an iterable of blocks"),
        ([rows[0]], "rows must be 2-D arrays"),
        ([rows, rows[:, :5]], r"rows\[3000:6000\] must be .* 12 columns"),
        (blocks_of(bad, 1000), r"rows\[2000:3000\] must be finite float32 values"),
    ]:
        with pytest.raises(ArgumentError, match=wanted):
            build_file(path, family, given)
    with pytest.raises(ArgumentError, match="memory_limit must be an integer >= 16777216"):
        build_file(path, family, rows, memory_limit=2**20)
    with pytest.raises(ArgumentError, match="path must be a new or a regular file"):
        build_file(tmp_path, family, rows)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["t"]


def test_a_full_disk_keeps_the_old_file(rows, tmp_path, monkeypatch):
    path, family = tmp_path / "t", make_family("simhash", dim=12, n_hashes=4, n_tables=2)
    build_file(path, family, rows)
    old = path.read_bytes()

    def full(self, name, part):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(external.StreamedTables, "append", full)
    with pytest.raises(OSError, match="No space left"):
        build_file(path, family, rows[:10])
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["t"]


MEASURED = """
import sys
import numpy as np
from lshsample import memory
from lshsample.tables import build_file
rng, limit = np.random.default_rng(0), 2**25
def blocks():
    for i in range(n):
        yield rng.standard_normal((50_000, 8), dtype=np.float32)
for n in (1, 40):
    build_file(sys.argv[1], "simhash:n_hashes=24,n_tables=2", blocks(), memory_limit=limit, threads=1)
    print(memory.peak_bytes())
"""


def test_the_limit_holds(tmp_path):
    """2,000,000 rows in 2 tables take 80 MiB in memory, and 32 here."""
    command = [sys.executable, "-c", MEASURED, tmp_path / "t"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    first, last = map(int, run.stdout.split())
    assert last - first < 2**25
    assert (tmp_path / "t").stat().st_size > 2**25
