"""Hash tables: L tables over the codes of one family, built in parallel, queried in batches.

Tables are packed (see :mod:`lshsample._native.tables`): no bucket loses an id, and codes are compared in
full. What readers see is one immutable state, which a build replaces as a whole when it is done; a build
that fails leaves the old one in place.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lshsample import registry
from lshsample._native import core, memory
from lshsample._native import family as door
from lshsample._native.sample import Drawn, StageCall, Workspaces, run_plan
from lshsample._native.tables import MemoryNeed, PackedTables, build_packed, memory_need
from lshsample.errors import ArgumentError, CheckpointError, LshsampleError
from lshsample.plugin import HashFamily, Rows

__all__ = ["Candidates", "HashTables", "TableState"]

_FORMAT = "lshsample.tables/1"
_MAX_ITEMS = 2**31 - 2


@attrs.frozen(eq=False)
class Candidates:
    """What tables hold for each query: ids ascending in a row, with how often each collided.

    Attributes
    ----------
    indptr : (n_queries + 1,) int64 array
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int32 array
        Item ids, ascending and unique in a row.
    counts : (n,) int32 array
        In how many probed buckets the id was.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, query: int) -> npt.NDArray[np.int32]:
        """The ids of the query's row: (n,) int32, ascending, a view."""
        return self.ids[self.indptr[query] : self.indptr[query + 1]]


@attrs.frozen(eq=False)
class TableState:
    """One consistent state of tables: the functions, the packed ids, and the rows that they were built from.

    Attributes
    ----------
    family : HashFamily
        The hash functions.
    packed : PackedTables
        The tables.
    vectors : array or csr_array or None
        The rows, by reference; None for tables opened from a file without them.
    """

    family: HashFamily
    packed: PackedTables
    vectors: Rows | None


class HashTables:
    """L hash tables over the rows of a matrix.

    Parameters
    ----------
    family : HashFamily
        The hash functions, from :func:`lshsample.make_family` or a class of your own.
    threads : int, optional
        Threads of builds and queries, unless a call names its own. Results never depend on it.

    Notes
    -----
    A build costs the hashing plus one counting sort (or ceil(code_bits / 11) radix passes) per table; a
    query costs the ids that it returns, and about three cache lines per table. Threads may query while
    another one rebuilds: they see the old tables until the new ones stand.

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
    """

    def __init__(self, family: HashFamily, *, threads: int | None = None) -> None:
        if not isinstance(family, HashFamily):
            raise ArgumentError("family", type(family).__name__, "a HashFamily (make_family(...) gives one)")
        self._first_family = family
        self._threads = None if threads is None else core.threads_or_default(threads)
        self._state: TableState | None = None
        self._workspaces: Workspaces | None = None

    @staticmethod
    def memory_needed(family: HashFamily, n_items: int, threads: int | None = None) -> MemoryNeed:
        """Bytes that tables take when done, and at the peak of their build; nothing is allocated.

        Parameters
        ----------
        family : HashFamily
            The hash functions.
        n_items : int
            Number of rows.
        threads : int, optional
            Threads of the build; each has scratch of its own at the peak.

        Returns
        -------
        MemoryNeed
            ``tables`` and ``peak``, in bytes.

        Examples
        --------
        >>> from lshsample.registry import make_family
        >>> family = make_family("simhash", dim=128, n_hashes=12, n_tables=50)
        >>> need = HashTables.memory_needed(family, 670_091, threads=2)
        >>> need.tables // 2**20, need.peak // 2**20
        (128, 258)
        """
        _check_items(n_items)
        return memory_need(n_items, family.n_tables, family.code_bits, core.threads_or_default(threads))

    def build(self, vectors: Any) -> Self:
        """Build the tables over rows, whose ids are 0 to n - 1; an earlier state is replaced at the end.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Finite rows, at least one. float32 rows (dense, or canonical CSR) are kept by reference for the
            laws of inclusion: change them in place and the tables stay what they were until the next
            rebuild.

        Returns
        -------
        HashTables
            Itself.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, no rows at all.
        MemoryBudgetError
            The build needs more memory than there is; nothing was taken.
        PluginError
            The family broke its contract. As after any failure, the old tables stay.
        """
        self._install(self._first_family if self._state is None else self._state.family, vectors)
        return self

    def rebuild(self, vectors: Any, family: HashFamily | None = None) -> Self:
        """Build again, from rows that have changed; as :meth:`build`.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            The rows.
        family : HashFamily, optional
            Other functions from now on (a learned family that was trained again); else those that are there.
        """
        now = self.state.family
        if family is not None and not isinstance(family, HashFamily):
            raise ArgumentError("family", type(family).__name__, "a HashFamily, or None for the present one")
        self._install(now if family is None else family, vectors)
        return self

    def rehash(self, vectors: Any, seed: int) -> Self:
        """Build again with new functions, ``family.with_seed(seed)``; else as :meth:`build`.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Rows, as for :meth:`build`.
        seed : int
            Names the functions, 0 to 2**63 - 1.
        """
        family = self.family.with_seed(seed)
        self._install(family, vectors)
        return self

    def _install(self, family: HashFamily, vectors: Any) -> None:
        rows = door.checked_rows(family, vectors, "vectors")
        n_items, threads = rows.shape[0], core.threads_or_default(self._threads)
        _check_items(n_items, "vectors")
        family = door.prepared(family, rows)
        need = memory_need(n_items, family.n_tables, family.code_bits, threads)
        memory.require_bytes(need.peak, f"building {family.n_tables} tables of {n_items:,} ids")

        def hash_block(begin: int, end: int) -> npt.NDArray[np.uint32]:
            return door.hash_rows(family, rows[begin:end], threads=threads)

        label = door.family_label(family)
        packed = build_packed(hash_block, n_items, family.n_tables, family.code_bits, threads, label)
        self._state = TableState(family, packed, rows)

    @property
    def state(self) -> TableState:
        """The state that readers see now; it stays as it is, whatever is built after."""
        if self._state is None:
            raise ArgumentError("tables", "tables without ids", "tables after .build(vectors)")
        return self._state

    @property
    def is_built(self) -> bool:
        """Whether there is a state to read."""
        return self._state is not None

    @property
    def family(self) -> HashFamily:
        """The hash functions in use."""
        return self._first_family if self._state is None else self._state.family

    @property
    def n_items(self) -> int:
        """Number of ids."""
        return self.state.packed.n_items

    @property
    def n_tables(self) -> int:
        """Number of tables, L."""
        return int(self.family.n_tables)

    @property
    def vectors(self) -> Rows | None:
        """The rows that the tables were built from."""
        return self.state.vectors

    @property
    def memory_bytes(self) -> int:
        """Bytes of the tables, without the rows."""
        return self.state.packed.nbytes

    def query(self, queries: Any, n_probes: int | None = None, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        n_probes : int, optional
            Buckets to look into per table, where the family can probe; by default the family's own number,
            which is 1 unless it says otherwise.
        threads : int, optional
            At most so many threads.

        Returns
        -------
        Candidates

        Raises
        ------
        ArgumentError
            Bad queries, or tables that were not built.
        UnsupportedError
            ``n_probes`` above 1 with a family that cannot probe.
        """
        state = self.state
        count = core.threads_or_default(self._threads if threads is None else threads)
        probes = state.family.default_probes if n_probes is None else n_probes
        codes = door.probe_rows(state.family, queries, probes, threads=count)
        call = StageCall(op="RETRIEVE", place=0, tables=state.packed, codes=np.ascontiguousarray(codes))
        workspaces = self._workspaces
        if workspaces is None or workspaces.n_items != state.packed.n_items:
            workspaces = self._workspaces = Workspaces(state.packed.n_items)
        drawn: Drawn = run_plan(
            [call],
            len(codes),
            state.packed.n_items,
            seed=0,
            step=0,
            pooled=False,
            threads=count,
            workspaces=workspaces,
        )
        return Candidates(drawn.indptr, drawn.ids, drawn.counts)

    def save(self, path: str | os.PathLike[str], *, vectors: bool = False) -> None:
        """Write the tables and their family's spec to a file (safetensors), whole or not at all.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced when the new one is complete.
        vectors : bool
            Also write dense rows, so that laws over the hash functions work after :meth:`open`.

        Raises
        ------
        ArgumentError
            The family is not registered under a name, or ``vectors`` is asked of sparse rows.
        OSError
            The disk is full or the folder is not writable; a file that was there is untouched.
        """
        state = self.state
        arrays: dict[str, npt.NDArray[Any]] = {"ids": state.packed.ids, "directory": state.packed.directory}
        if state.packed.codes is not None:
            arrays["codes"] = state.packed.codes
        if vectors:
            if state.vectors is None or sp.issparse(state.vectors):
                raise ArgumentError("vectors", "tables without dense rows", "tables built from a dense array")
            arrays["vectors"] = np.ascontiguousarray(state.vectors)
        metadata = {"format": _FORMAT, "family": registry.family_to_json(state.family)}
        _write_whole(Path(path), arrays, metadata)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> Self:
        """Tables from a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or PathLike
            The file.
        threads : int, optional
            As for the class.

        Raises
        ------
        CheckpointError
            The file is truncated, of another format, or its arrays are not sound tables.
        """
        arrays, metadata = _read(Path(path))
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(f"{path}: format {metadata.get('format')!r}; wanted {_FORMAT!r}")
        try:
            family = registry.family_from_json(metadata["family"])
            tables = cls(family, threads=threads)
            ids, directory, codes = arrays["ids"], arrays["directory"], arrays.get("codes")
        except (KeyError, LshsampleError) as error:
            raise CheckpointError(f"{path}: {error}") from error
        sound = ids.ndim == 2 and ids.shape[0] == family.n_tables and 1 <= ids.shape[1] <= _MAX_ITEMS
        kinds = {"ids": (ids, np.int32), "directory": (directory, np.int32), "codes": (codes, np.uint32)}
        sound = sound and all(a is None or a.dtype == dtype for a, dtype in kinds.values())
        if sound:
            packed = PackedTables(ids.shape[1], family.code_bits, ids, codes, directory)
            sound = packed.is_sound(core.threads_or_default(threads))
        rows = arrays.get("vectors")
        if not sound or (rows is not None and rows.shape != (packed.n_items, family.dim)):
            raise CheckpointError(
                f"{path}: the arrays are not sound tables of the family that the file names"
            )
        tables._state = TableState(family, packed, rows)
        return tables

    def __repr__(self) -> str:
        size = f"{self.n_items:,} items" if self.is_built else "not built"
        return f"HashTables({self.family!r}, {size})"


def _check_items(n_items: object, argument: str = "n_items") -> None:
    if not isinstance(n_items, (int, np.integer)) or not 1 <= n_items <= _MAX_ITEMS:
        raise ArgumentError(
            argument, f"{n_items} rows" if argument != "n_items" else n_items, f"1 to {_MAX_ITEMS} rows"
        )


def _write_whole(path: Path, arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    os.close(handle)
    try:
        save_file(arrays, temporary, metadata)
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a file of lshsample tables ({error})") from error
