"""Hash tables: what is built, read and changed by id, with merges, shards and files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Self

import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.tables import shards
from lshsample.tables.file import read_state, write_state
from lshsample.tables.living import LivingTables

__all__ = ["HashTables"]


class HashTables(LivingTables):
    """L hash tables over the rows of a matrix.

    Parameters
    ----------
    family : HashFamily
        The hash functions, from :func:`lshsample.make_family` or a class of your own.
    bucket_size : int, optional
        Keep at most so many ids of each bucket, every subset of that size equally likely: bounded memory,
        told by :meth:`memory_needed`, whatever the number of rows. By default no bucket loses an id.
    merge_share : float
        Changes are merged into the tables when there are more than this share of their entries.
    threads : int, optional
        Threads of builds and queries, unless a call names its own. Results never depend on it.

    Notes
    -----
    A build costs the hashing plus one counting sort (or ceil(code_bits / 11) radix passes) per table; a
    query costs the ids that it returns, and about three cache lines per table. Any number of threads may
    query while one writer inserts, moves, deletes or rebuilds: each call sees one state from beginning to
    end, and waits for nobody. Writers wait for each other.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.registry import make_family
    >>> rows = np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32)
    >>> family = make_family("simhash", dim=16, n_hashes=6, n_tables=8, seed=0)
    >>> tables = HashTables(family).build(rows)
    >>> found = tables.query(rows[:2])
    >>> len(found), bool(1 in found.row(1))
    (2, True)
    >>> tables.delete([1]).insert([1000], rows[:1]).n_items
    1000
    >>> found = tables.query(rows[:2])
    >>> bool(1 in found.row(1)), bool(1000 in found.row(0))
    (False, True)
    """

    @classmethod
    def merge(cls, a: HashTables, b: HashTables, *, threads: int | None = None) -> Self:
        """One set of tables from two with the same functions and disjoint ids (built on two machines).

        Parameters
        ----------
        a, b : HashTables
            Tables; they stay as they are.
        threads : int, optional
            As for the class.

        Raises
        ------
        ArgumentError
            The families or bucket sizes differ, or an id is in both.

        Examples
        --------
        >>> import numpy as np
        >>> from lshsample.registry import make_family
        >>> rows = np.random.default_rng(0).standard_normal((100, 16), dtype=np.float32)
        >>> family = make_family("simhash", dim=16, n_hashes=6, n_tables=8, seed=0)
        >>> first = HashTables(family).build(rows[:60])
        >>> second = HashTables(family).build(rows[60:], ids=np.arange(60, 100))
        >>> HashTables.merge(first, second).n_items
        100
        """
        for argument, tables in (("a", a), ("b", b)):
            if not isinstance(tables, HashTables):
                raise ArgumentError(argument, type(tables).__name__, "HashTables")
        if a.bucket_size != b.bucket_size:
            raise ArgumentError("b", f"bucket_size {b.bucket_size}", f"{a.bucket_size}, as a has")
        merged = cls(a.family, bucket_size=a.bucket_size, merge_share=a._merge_share, threads=threads)
        merged._state = shards.merged(a.state, b.state, core.threads_or_default(threads))
        return merged

    def split(self, boundaries: Sequence[int]) -> list[Self]:
        """Tables of the id ranges between boundaries, with the same functions; ids keep their names.

        Parameters
        ----------
        boundaries : sequence of int
            Ascending ids at which a new shard begins: k of them give k + 1 shards, the first from id 0 on.

        Raises
        ------
        ArgumentError
            Not ascending, or outside of 1 to n_ids - 1.
        UnsupportedError
            The tables are bounded: what their buckets left out cannot be shared out.
        """
        self._refuse_bounded("split")
        threads = core.threads_or_default(self._threads)
        parts = []
        for state in shards.parts(self.state, boundaries, threads):
            part = type(self)(self.family, merge_share=self._merge_share, threads=self._threads)
            part._state = state
            parts.append(part)
        return parts

    def save(self, path: str | os.PathLike[str], *, vectors: bool = False) -> None:
        """Write the tables and their family's spec to a file, whole or not at all.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced when the new one is complete, and processes that have
            it open keep what they have.
        vectors : bool
            Also write dense rows, so that laws over the hash functions work after :meth:`open`.

        Raises
        ------
        ArgumentError
            The family is not registered under a name, or ``vectors`` is asked of sparse rows.
        OSError
            The disk is full or the folder is not writable; a file that was there is untouched.
        """
        threads = core.threads_or_default(self._threads)
        state = self.state.trusted(threads).merged(threads)
        rows = state.vectors if vectors else None
        if vectors and (rows is None or sp.issparse(rows) or rows.shape[0] != state.n_ids):
            raise ArgumentError("vectors", "tables without dense rows", "tables built from a dense array")
        write_state(path, state, rows)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False, threads: int | None = None) -> Self:
        """Tables from a file that :meth:`save` wrote, mapped into memory: no array is read.

        Parameters
        ----------
        path : str or PathLike
            The file. Processes that open it share one copy of the arrays.
        verify : bool
            Compare all arrays with their checksums now (as :meth:`verify`). Without it only the header is
            verified; lookups check what they read, so that a damaged array can give wrong ids, never ids
            that are none.
        threads : int, optional
            As for the class.

        Raises
        ------
        CheckpointError
            The file is truncated, corrupted, of another format or of a newer version; the message says
            which.
        """
        state = read_state(path)
        tables = cls(state.family, bucket_size=state.packed.bucket_size or None, threads=threads)
        tables._state = state
        if verify:
            try:
                tables.verify()
            except CheckpointError as error:
                raise CheckpointError(f"{os.fspath(path)}: {error}") from error
        return tables

    def verify(self) -> Self:
        """Compare the arrays of an opened file with their checksums, and check that they are sound.

        Afterwards lookups need not check what they read. Tables that were built are sound: nothing is done.

        Raises
        ------
        CheckpointError
            An array is corrupted; the message names it.
        """
        with self._write_lock:
            self._state = self.state.trusted(core.threads_or_default(self._threads))
        return self

    def __repr__(self) -> str:
        size = f"{self.n_items:,} items" if self.is_built else "not built"
        return f"HashTables({self.family!r}, {size})"
