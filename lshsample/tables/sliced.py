"""A build of tables in slices, with other work between them."""

from __future__ import annotations

from os import PathLike
from typing import BinaryIO

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.packed import SlicedPacked, block_rows, memory_need
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.tables.file import write_state
from lshsample.tables.hash_tables import HashTables
from lshsample.tables.state import TableState

__all__ = ["SlicedBuild", "save_with_next"]

#: Hashing a row for a table costs about as much as this many steps of the sort: 5.1 for SimHash of 16 hashes.
_HASHING = 5


class SlicedBuild:
    """Tables that are built in slices: rows are hashed in order, and then sorted.

    The rows may change between slices: each is in the buckets of its vector at the time of its slice.
    Conditional inclusion probabilities are exact for such tables as for any other; marginal ones are unknown,
    since nobody has the vectors.

    Parameters
    ----------
    family : HashFamily
        The hash functions, which are not fitted to rows.
    n_items : int
        Number of rows.
    threads : int, optional
        Threads of its slices.

    Raises
    ------
    MemoryBudgetError
        The build needs more memory than is available; nothing was allocated.
    """

    def __init__(self, family: HashFamily, n_items: int, threads: int | None = None) -> None:
        self.family, self.n_items = family, n_items
        need = memory_need(n_items, family.n_tables, family.code_bits, core.threads_or_default(threads))
        needed = need.peak + self.bytes_of_codes(family, n_items)
        memory.require_bytes(needed, f"building {family.n_tables} tables of {n_items:,} ids")
        self._build = SlicedPacked(n_items, family.n_tables, family.code_bits, hashing.family_label(family))

    @staticmethod
    def bytes_of_codes(family: HashFamily, n_items: int) -> int:
        """Bytes of the codes, which are kept until they are sorted."""
        return SlicedPacked.bytes_of_codes(n_items, family.n_tables)

    @property
    def codes(self) -> Codes:
        """The codes (rows, n_tables) of the rows that are hashed, a new array, for :meth:`restore`."""
        return self._build.codes

    @property
    def sorted(self) -> int:
        """Steps of the sort that are done, after all rows are hashed."""
        return self._build.sorted

    @memory.named_shortage("building tables")
    def advance(self, rows: Rows, done: int, slices: int, threads: int | None = None) -> bool:
        """Do the work of the first ``done`` of ``slices`` slices, without what is done of it already.

        Parameters
        ----------
        rows : (n_items, dim) rows
            The rows as they are now.
        done, slices : int
            Slices, from 1.
        threads : int, optional
            Maximum number of threads; the tables do not depend on it.

        Returns
        -------
        bool
            Whether the tables are complete.

        Raises
        ------
        ArgumentError
            NaN or infinite values in the rows that are hashed.
        PluginError
            The family broke its contract.
        """
        count, n, build = core.threads_or_default(threads), self.n_items, self._build
        each = _HASHING * self.family.n_tables
        hashing_work = each * n
        work = (hashing_work + build.n_steps) * min(done, slices) // slices
        hashed, block = min(work // each, n), block_rows(self.family.n_tables)
        while build.added < hashed:
            part = rows[build.added : min(build.added + block, hashed)]
            try:
                codes = hashing.hash_rows(self.family, part, threads=count)
            except ArgumentError:
                hashing.checked_rows(
                    self.family, rows[:hashed], "vectors"
                )  # names them, where it refuses them
                raise
            build.add(codes, count)
        if work - hashing_work > build.sorted:
            build.sort_until(work - hashing_work, count)
        return build.sorted == build.n_steps

    def result(self, threads: int | None = None) -> HashTables:
        """The tables, when they are complete."""
        return HashTables.of_state(TableState(self.family, self._build.tables, None), threads=threads)

    def restore(self, codes: Codes, sorted_steps: int, threads: int | None = None) -> None:
        """Continue after the codes (rows, n_tables) of hashed rows, and the steps of the sort that were done.

        Raises
        ------
        CheckpointError
            There are other numbers of rows or tables, or codes out of range.
        """
        (hashed, n_tables), build, count = codes.shape, self._build, core.threads_or_default(threads)
        inside = n_tables == self.family.n_tables and hashed <= self.n_items and sorted_steps < build.n_steps
        complete = sorted_steps == 0 or hashed == self.n_items
        if not inside or not complete or int(codes.max(initial=0)) >> self.family.code_bits:
            raise CheckpointError(
                f"codes of {hashed} rows in {n_tables} tables, sorted for {sorted_steps} steps, are not of "
                f"a build of {self.family.n_tables} tables of {self.n_items} rows"
            )
        build.add(codes, count)
        if sorted_steps:
            build.sort_until(sorted_steps, count)


def save_with_next(
    path: str | PathLike[str] | BinaryIO, tables: HashTables, next_codes: Codes | None
) -> None:
    """As :meth:`HashTables.save`, with the codes of a build in slices; ``read_next_codes`` reads them."""
    threads = core.threads_or_default(tables.default_threads)
    write_state(path, tables.state.verified(threads).merged(threads), None, next_codes)
