"""The nearest training rows of queries by cosine: exact, by an inverted index, or by hash tables."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory, specs
from lshsample._native import convert, core, layers, topk
from lshsample._native.dtypes import BFLOAT16, FLOAT32, checked_dtype
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.tables import HashTables, InvertedIndex
from lshsample.tables.inverted import checked_exclude
from lshsample.xc.choose_tables import TableChoice, choose_tables
from lshsample.xc.saved_csr import saved_csr
from lshsample.xc.unit_rows import unit_rows

__all__ = ["INDEXES", "RowNeighbours"]

Arrays = dict[str, npt.NDArray[Any]]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

#: How neighbours are found, by the kind of rows.
INDEXES = {"sparse": ("inverted", "lsh"), "dense": ("exact", "lsh")}
#: Families that are tried, by the kind of rows. Dense rows are mostly hidden vectors with a large mean.
_FAMILIES = {
    "dense": ("centered:inner=cross-polytope",),
    "sparse": ("simhash:projection=sparse", "minhash", "icws"),
}
#: Dense rows from which on tables are built: scanning fewer takes less than about half a millisecond a query.
_MANY = 50_000
#: Rows by whose neighbours the tables are chosen; candidates of queries that are compared at a time.
_SAMPLE, _CANDIDATES = 64, 2**22


@attrs.frozen(kw_only=True)
class _Saved:
    """What an index is, beside its arrays."""

    index: str
    dim: int = attrs.field(validator=specs.integer(1, 2**31 - 1))
    sparse: bool
    probes: int = attrs.field(validator=specs.integer(1))

    def __attrs_post_init__(self) -> None:
        kind = "sparse" if self.sparse else "dense"
        if self.index not in INDEXES[kind]:
            raise ArgumentError("index", repr(self.index), f"{' or '.join(INDEXES[kind])} for {kind} rows")


class RowNeighbours:
    """The nearest of many rows by cosine.

    Made by :meth:`build`, or by :meth:`from_arrays` from what :meth:`to_arrays` returned.

    Notes
    -----
    Sparse rows are found by an inverted index (:class:`~lshsample.tables.InvertedIndex`), exactly. Dense rows
    are found exactly by a scan of all rows, or by hash tables, whose candidates are compared exactly: at the
    cost of the candidates, with a part of the neighbours missed. Dense rows are kept in 16 bits (bfloat16,
    an error of about 1e-4 in a cosine of 256 columns) or in float32.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> rows = sp.csr_array([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    >>> neighbours = RowNeighbours.build(rows)
    >>> ids, cosines = neighbours.search(sp.csr_array([[1.0, 1.0, 0.0]]), 3)
    >>> ids, cosines.round(3)
    (array([[ 0,  1, -1]], dtype=int32), array([[1.   , 0.707, 0.   ]], dtype=float32))
    """

    def __init__(
        self,
        index: str,
        rows: Any,
        inverted: InvertedIndex | None = None,
        tables: HashTables | None = None,
        probes: int = 1,
    ) -> None:
        self._index, self._inverted = index, inverted
        self._rows: Any = rows
        self._tables, self._probes = tables, probes
        self._choice: TableChoice | None = None

    @classmethod
    @memory.named_shortage("building an index of rows")
    def build(
        cls,
        rows: Any,
        index: str = "auto",
        *,
        family: str | None = None,
        recall: float = 0.9,
        dtype: str = "bfloat16",
        seed: int = 0,
        threads: int | None = None,
    ) -> Self:
        """An index of rows.

        Parameters
        ----------
        rows : (n, dim) array or scipy.sparse matrix
            Finite rows; rows of zeros are neighbours of none.
        index : str
            ``"inverted"`` (sparse rows), ``"exact"`` (dense rows), ``"lsh"``; ``"auto"`` is ``"inverted"``
            for sparse rows, and for dense ones ``"exact"`` up to 50,000 rows and ``"lsh"`` beyond.
        family : str, optional
            With ``"lsh"``: the hash family, as text without hashes and tables, which are chosen. By default
            ``"centered:inner=cross-polytope"`` for dense rows; for sparse rows SimHash, MinHash and ICWS
            (cosine, Jaccard, weighted Jaccard) are compared.
        recall : float
            With ``"lsh"``: the share of the 20 nearest rows that the tables are chosen to find.
        dtype : str
            ``"bfloat16"`` or ``"float32"``: how dense rows are kept.
        seed : int
            Determines the hash functions, and the rows by which the tables are chosen.
        threads : int, optional
            Maximum number of threads; the index does not depend on it.

        Returns
        -------
        RowNeighbours

        Raises
        ------
        ArgumentError
            Bad rows, or an argument out of its range.

        Notes
        -----
        The tables are the cheapest whose codes find that share of the exact neighbours of 64 of the rows; no
        tables but the chosen ones are built.
        """
        kind = "sparse" if sp.issparse(rows) else "dense"
        checked_integer("seed", seed, 0, 2**63 - 1)
        number = isinstance(recall, (int, float)) and not isinstance(recall, bool)
        if not number or not 0 < recall <= 1:
            raise ArgumentError("recall", repr(recall), "a number above 0 and at most 1")
        count, stored = core.threads_or_default(threads), checked_dtype(dtype, "dtype")
        unit = unit_rows(rows, "rows")
        if index == "auto":
            index = "inverted" if kind == "sparse" else "exact" if len(unit) <= _MANY else "lsh"
        if index not in INDEXES[kind]:
            wanted = f"'auto', {' or '.join(map(repr, INDEXES[kind]))} for {kind} rows"
            raise ArgumentError("index", repr(index), wanted)
        if family is not None and index != "lsh":
            raise ArgumentError("family", repr(family), f"left out with index={index!r}")
        if index == "inverted":
            return cls(index, None, InvertedIndex(unit.shape[1]).add(unit))
        kept = unit if kind == "sparse" else convert.from_float32(unit, stored, threads=count)
        if index == "exact" or not unit.shape[0]:
            return cls("exact" if kind == "dense" else index, kept)
        families = _FAMILIES[kind] if family is None else (family,)
        sample, nearest = _sampled(unit, seed, count)
        choice = choose_tables(families, unit, sample, nearest, recall, seed=seed, threads=count)
        tables = HashTables(choice.family, threads=count).build(unit)
        built = cls(index, kept, None, tables, choice.probes)
        built._choice = choice
        return built

    @property
    def index(self) -> str:
        """``"inverted"``, ``"exact"`` or ``"lsh"``."""
        return self._index

    @property
    def n_rows(self) -> int:
        """Number of rows, whose ids are 0 to ``n_rows - 1``."""
        return self._inverted.n_items if self._inverted is not None else int(self._rows.shape[0])

    @property
    def dim(self) -> int:
        """Columns of the rows."""
        return self._inverted.dim if self._inverted is not None else int(self._rows.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are sparse."""
        return self._inverted is not None or bool(sp.issparse(self._rows))

    @property
    def tables(self) -> HashTables | None:
        """The hash tables of ``"lsh"``."""
        return self._tables

    @property
    def choice(self) -> TableChoice | None:
        """How :meth:`build` chose the tables of ``"lsh"``: expected recall, candidates and time."""
        return self._choice

    @property
    def memory_bytes(self) -> int:
        """Bytes of the rows and of what finds them."""
        rows = self._rows
        arrays = [rows.data, rows.indices, rows.indptr] if self.is_sparse and rows is not None else [rows]
        own = sum(array.nbytes for array in arrays if array is not None)
        found = [index.memory_bytes for index in (self._inverted, self._tables) if index is not None]
        return int(own + sum(found))

    def __repr__(self) -> str:
        kind = "sparse" if self.is_sparse else "dense"
        return f"RowNeighbours({self.n_rows:,} {kind} rows, index={self.index!r})"

    @memory.named_shortage("searching rows")
    def search(
        self, queries: Any, k: int = 20, *, exclude: Any = None, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The k nearest rows of each query, among those of a cosine above 0.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows, of the same kind (sparse or dense) as the rows; m may be 0.
        k : int
            At least 1.
        exclude : (m,) integers, optional
            A row for each query that is not returned, such as the query itself; -1 for none.
        threads : int, optional
            Maximum number of threads; the results do not depend on it.

        Returns
        -------
        ids : (m, k) int32 array
            By cosine descending, ties by smaller id; -1 where fewer rows were found.
        cosines : (m, k) float32 array
            0 where the id is -1.

        Raises
        ------
        ArgumentError
            Bad queries, ``k`` or ``exclude``.
        """
        k, count = checked_integer("k", k, 1, 2**31 - 1), core.threads_or_default(threads)
        if sp.issparse(queries) != self.is_sparse:
            given, wanted = ("dense", "sparse") if self.is_sparse else ("sparse", "dense")
            raise ArgumentError("queries", f"{given} rows", f"{wanted} rows")
        unit = unit_rows(queries, "queries", self.dim)
        excluded = checked_exclude(exclude, unit.shape[0], self.n_rows)
        if self._inverted is not None:
            ids, cosines = self._inverted.search(unit, k, exclude=excluded, threads=count)
        elif self._tables is not None:
            ids, cosines = self._among_candidates(unit, k, excluded, count)
        else:
            ids, cosines = _scan(unit, self._rows, k, excluded, count)
        none = ~(cosines > 0)
        ids[none], cosines[none] = -1, 0
        return ids, cosines

    @memory.named_shortage("adding rows to an index")
    def add(self, rows: Any) -> Self:
        """Add rows; they get the next ids.

        Parameters
        ----------
        rows : (n, dim) array or scipy.sparse matrix
            Finite rows, of the same kind as the others. Sparse rows of ``"inverted"`` may have more columns.

        Returns
        -------
        RowNeighbours
            Itself.

        Raises
        ------
        ArgumentError
            Rows of another kind or width; nothing was changed.

        Notes
        -----
        Tables are changed by what is new (:meth:`HashTables.insert <lshsample.HashTables.insert>`), and keep
        their hash functions and probes.
        """
        if sp.issparse(rows) != self.is_sparse:
            given, wanted = ("dense", "sparse") if self.is_sparse else ("sparse", "dense")
            raise ArgumentError("rows", f"{given} rows", f"{wanted} rows")
        if self._inverted is not None:
            unit = unit_rows(rows, "rows", max(self.dim, rows.shape[1]))
            self._inverted.widen(unit.shape[1]).add(unit)
            return self
        unit = unit_rows(rows, "rows", self.dim)
        if self._tables is not None:
            self._tables.insert(np.arange(self.n_rows, self.n_rows + unit.shape[0]), unit)
        if self.is_sparse:
            self._rows = core.csr_rows(sp.vstack([self._rows, unit]), "rows")
        else:
            stored = BFLOAT16 if self._rows.dtype == BFLOAT16.numpy else FLOAT32
            self._rows = np.concatenate([self._rows, convert.from_float32(unit, stored, threads=1)])
        return self

    def unit_rows(self) -> Any:
        """The rows, scaled to length 1: a CSR array, or a float32 array of dense rows as they are kept."""
        if self._inverted is not None:
            return self._inverted.to_csr()
        return self._rows if self.is_sparse else convert.to_float32(self._rows)

    def _among_candidates(
        self, unit: Any, k: int, excluded: Int32 | None, threads: int
    ) -> tuple[Int32, Float32]:
        """The best of the rows that share a probed bucket with a query."""
        assert self._tables is not None
        ids = np.full((unit.shape[0], k), -1, np.int32)
        cosines = np.full((unit.shape[0], k), -np.inf, np.float32)
        reader, options = self._tables.snapshot(), {"max_ids": _CANDIDATES, "threads": threads}
        for begin, found in reader.candidate_parts(unit, self._probes, **options):
            end = begin + len(found)
            part, indptr, own = core.rows_between(unit, begin, end), found.indptr, found.ids
            if excluded is not None:
                kept = own != np.repeat(excluded[begin:end], np.diff(indptr))
                indptr, own = np.concatenate([[0], np.cumsum(kept)])[indptr], own[kept]
            if self.is_sparse:
                products = layers.csr_pair_products(part, self._rows, indptr, own, threads=threads)
                best = topk.top_k_ragged(products, indptr, own, k, threads=threads)
            else:
                best = topk.csr_top_k(part, self._rows, None, indptr, own, k, threads=threads)
            ids[begin:end], cosines[begin:end] = best
        return ids, cosines

    def to_arrays(self, *, tables: bool = True) -> tuple[dict[str, Any], Arrays]:
        """The index as plain data and arrays, for :meth:`from_arrays`.

        Parameters
        ----------
        tables : bool
            Whether the tables are among the arrays.

        Returns
        -------
        spec : dict
            Numbers and text, as JSON can say.
        arrays : dict of arrays
            bfloat16 rows as their bits, uint16; tables as the bytes of their file, uint8.
        """
        saved = _Saved(index=self.index, probes=self._probes, dim=self.dim, sparse=self.is_sparse)
        spec = specs.to_dict(saved)
        if self._inverted is not None:
            return spec, self._inverted.arrays()
        arrays: Arrays = {}
        if self.is_sparse:
            arrays |= {name: getattr(self._rows, name) for name in ("indptr", "indices", "data")}
        else:
            arrays["dense"] = self._rows.view(np.uint16) if self._rows.dtype == BFLOAT16.numpy else self._rows
        if self._tables is not None and tables:
            file = io.BytesIO()
            self._tables.save(file)
            arrays["tables"] = np.frombuffer(file.getbuffer(), np.uint8)
        return spec, arrays

    @classmethod
    def from_arrays(
        cls,
        spec: Mapping[str, Any],
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        tables: HashTables | None = None,
        check: bool = True,
    ) -> Self:
        """The index that :meth:`to_arrays` returned; dense rows and postings are not copied.

        Parameters
        ----------
        spec, arrays : mapping
        tables : HashTables, optional
            The tables, if they are not among the arrays.
        check : bool
            Check all postings. Without it, for arrays of a mapped file, none are read.

        Raises
        ------
        ArgumentError
            A spec or arrays of another form.
        CheckpointError
            The tables are damaged, or hash in another way than when they were saved.
        """
        saved = specs.from_dict(_Saved, spec)
        if saved.index == "inverted":
            return cls(saved.index, None, InvertedIndex.from_arrays(arrays, check=check))
        if saved.sparse:
            rows: Any = core.csr_rows(saved_csr(arrays, saved.dim, "sparse rows"), "rows")
        else:
            rows = _saved_dense(arrays, saved.dim)
        if "tables" in arrays:
            with tempfile.TemporaryFile() as file:
                file.write(arrays["tables"].tobytes())
                file.flush()
                tables = HashTables.open(file, copy=True)
        if saved.index == "lsh" and rows.shape[0]:
            if tables is None:
                raise ArgumentError("tables", "none", "tables of the rows")
            if tables.n_ids != rows.shape[0]:
                wanted = f"tables of {rows.shape[0]} rows"
                raise ArgumentError("tables", f"tables of {tables.n_ids} rows", wanted)
        return cls(saved.index, rows, None, tables, saved.probes)


def _saved_dense(arrays: Mapping[str, npt.NDArray[Any]], dim: int) -> npt.NDArray[Any]:
    rows = arrays.get("dense")
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype not in (np.uint16, np.float32):
        raise ArgumentError("dense", type(rows).__name__, "a 2-D array of uint16 (bfloat16 bits) or float32")
    if rows.shape[1] != dim:
        raise ArgumentError("dense", f"{rows.shape[1]} columns", f"an array with {dim} columns")
    kept = np.ascontiguousarray(rows)
    return kept.view(BFLOAT16.numpy if kept.dtype == np.uint16 else FLOAT32.numpy)


def _sampled(unit: Any, seed: int, threads: int) -> tuple[Int64, Int32]:
    """Some rows, and the 20 rows nearest to each of them without itself, exactly."""
    n = unit.shape[0]
    sample = np.sort(np.random.default_rng(seed).choice(n, min(_SAMPLE, n), replace=False))
    if not isinstance(unit, np.ndarray):
        index = InvertedIndex(unit.shape[1]).add(unit)
        return sample, index.search(unit[sample], 20, exclude=sample, threads=threads)[0]
    return sample, _scan(unit[sample], unit, 20, sample, threads)[0]


def _scan(unit: Float32, rows: Any, k: int, excluded: Any, threads: int) -> tuple[Int32, Float32]:
    """The best k of all rows."""
    m, n = len(unit), len(rows)
    ids, cosines = np.full((m, k), -1, np.int32), np.full((m, k), -np.inf, np.float32)
    width = min(n, k + (excluded is not None))
    if not m or not width:
        return ids, cosines
    found, products = topk.top_k(unit, rows, None, width, threads=threads)
    if excluded is not None:
        out = found == np.asarray(excluded)[:, None]
        products[out] = -np.inf
        kept = np.argsort(out, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(found, kept, axis=1)
        products = np.take_along_axis(products, kept, axis=1)
    ids[:, : found.shape[1]], cosines[:, : found.shape[1]] = found, products
    return ids, cosines
