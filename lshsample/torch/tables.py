"""Hash tables in tensor operations, on the device of their tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

from lshsample import hashing, memory
from lshsample.errors import ArgumentError
from lshsample.family import Codes, HashFamily
from lshsample.registry import FamilyLike, make_family, resolve_family
from lshsample.tables import Buckets, Candidates, TableReader
from lshsample.torch.hashing import CoreHashing, MatmulHashing, checked_tensor, make_hashing

__all__ = ["TorchCandidates", "TorchTables"]

#: Entries of buckets that are joined at a time.
_BLOCK_ENTRIES = 2**24


class TorchCandidates(NamedTuple):
    """The candidates of each query as tensors on the tables' device.

    Attributes
    ----------
    indptr : (n_queries + 1,) int64 tensor
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int64 tensor
        Ids, ascending and unique in a row, to index other tensors with.
    counts : (n,) int64 tensor
        Number of probed buckets that contain the id.
    """

    indptr: Tensor
    ids: Tensor
    counts: Tensor


class TorchTables(TableReader):
    """L hash tables over the rows of a tensor: built and read by tensor operations, wherever it is.

    Candidates, counts and inclusion probabilities are those of :class:`~lshsample.tables.HashTables` for the
    same codes. The tables are immutable: :meth:`build` makes them.

    Attributes
    ----------
    ids : (n_tables, n_ids) int32 tensor
        The ids of each table sorted by (code, id).
    codes : (n_tables, n_ids) int32 or int64 tensor, or None
        The sorted codes; None where :attr:`starts` has an entry for each code.
    starts : (n_tables, 2**code_bits + 1) int32 tensor, or None
        Where the bucket of each code begins, if that takes no more memory than twice the ids.

    Notes
    -----
    A build sorts each table. A query costs the ids in its buckets, which are sorted to count them, and
    without ``starts`` two binary searches for each bucket.

    Examples
    --------
    >>> import torch
    >>> rows = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    >>> tables = TorchTables.build("simhash:n_hashes=6,n_tables=8", rows)
    >>> tables
    TorchTables(SimHash(dim=16, n_hashes=6, n_tables=8, seed=0, ...), 1,000 items, cpu)
    >>> found = tables.find(rows[:2])
    >>> bool((found.ids[: found.indptr[1]] == 0).any())
    True
    """

    __slots__ = ("_family", "_hashing", "_n_ids", "_vectors", "codes", "ids", "starts")

    ids: Tensor
    codes: Tensor | None
    starts: Tensor | None

    def __init__(
        self, family: HashFamily, how: CoreHashing | MatmulHashing, codes: Tensor, vectors: Tensor | None
    ) -> None:
        self._family, self._hashing, self._vectors, self._n_ids = family, how, vectors, len(codes)
        self.ids, self.codes, self.starts = _sorted_tables(codes, family.code_bits)

    @classmethod
    def build(
        cls, family: FamilyLike, vectors: Tensor, *, hashing: str = "core", threads: int | None = None
    ) -> Self:
        """Tables over the rows of a tensor, on its device.

        Parameters
        ----------
        family : str, HashFamily, FamilySpec or mapping
            The hash functions, as for :func:`lshsample.make_family`; ``dim`` may be left out.
        vectors : (n, dim) tensor
            Finite rows; float32 is kept by reference, and must then not be changed.
        hashing : str
            ``"core"``: any family, by the C core, bit for bit; rows on a GPU are copied to be hashed.
            ``"matmul"``: SimHash by one matrix product on the device; the sign of a margin that is about zero
            may differ from the core's.
        threads : int, optional
            Maximum number of threads of the core.

        Raises
        ------
        ArgumentError
            Bad vectors, or an unknown way of hashing.
        UnsupportedError
            The family does not hash by signs of inner products, with ``"matmul"``.
        """
        resolved = resolve_family(family)
        made = resolved if isinstance(resolved, HashFamily) else make_family(resolved, dim=_columns(vectors))
        rows = checked_tensor(vectors, "vectors", made.dim)
        _check_number(len(rows), "vectors")
        if hashing == "core":
            made = _prepared(made, rows)
        how = make_hashing(made, hashing, rows.device)
        if rows.device.type == "cpu":
            _require_memory(len(rows), made)
        return cls(made, how, how.codes(rows, threads), rows)

    @classmethod
    def from_codes(
        cls, family: HashFamily, codes: Any, *, vectors: Tensor | None = None, hashing: str = "core"
    ) -> Self:
        """Tables over given codes, such as those that :func:`lshsample.hashing.hash_rows` computes.

        Parameters
        ----------
        family : HashFamily
            The hash functions of queries.
        codes : (n, n_tables) tensor of integers
            The codes of the data rows, each below ``2**family.code_bits``; its device is the tables'.
        vectors : (n, dim) tensor, optional
            The rows, which marginal inclusion probabilities need.
        hashing : str
            How queries are hashed, as for :meth:`build`.

        Raises
        ------
        ArgumentError
            Bad codes, or vectors that do not fit.
        """
        if not isinstance(family, HashFamily):
            raise ArgumentError("family", repr(family), "a HashFamily, such as make_family(...)")
        wanted = f"a tensor (n, {family.n_tables}) of integers below 2**{family.code_bits}"
        if not isinstance(codes, Tensor):
            raise ArgumentError("codes", type(codes).__name__, wanted)
        if codes.ndim != 2 or codes.shape[1] != family.n_tables:
            raise ArgumentError("codes", f"shape {tuple(codes.shape)}", wanted)
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise ArgumentError("codes", str(codes.dtype), wanted)
        _check_number(len(codes), "codes")
        codes = codes.to(torch.int64)
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= 2**family.code_bits:
            raise ArgumentError("codes", f"values from {low} to {high}", wanted)
        if vectors is not None:
            vectors = checked_tensor(vectors, "vectors", family.dim, codes.device)
            if len(vectors) != len(codes):
                raise ArgumentError(
                    "vectors", f"{len(vectors)} rows", f"{len(codes)}, one for each row of codes"
                )
        how = make_hashing(family, hashing, codes.device)
        return cls(family, how, codes.to(_code_dtype(family.code_bits)), vectors)

    def __repr__(self) -> str:
        return f"TorchTables({self._family!r}, {self._n_ids:,} items, {self.device})"

    @property
    def family(self) -> HashFamily:
        """The hash functions."""
        return self._family

    @property
    def n_ids(self) -> int:
        """Ids are below it."""
        return self._n_ids

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.ids.device

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, without the vectors."""
        return sum(t.nbytes for t in (self.ids, self.codes, self.starts) if t is not None)

    @property
    def vectors(self) -> npt.NDArray[np.float32] | None:
        """The rows of the ids, a view of the tensor on the CPU and a copy of one elsewhere."""
        return None if self._vectors is None else self._vectors.cpu().numpy()

    def hash(self, rows: Tensor, *, threads: int | None = None) -> Tensor:
        """Codes (n, n_tables) of data rows on the tables' device, as :meth:`build` computes them."""
        return self._hashing.codes(checked_tensor(rows, "rows", self._family.dim, self.device), threads)

    def find(
        self, queries: Tensor, n_probes: int | None = None, *, threads: int | None = None
    ) -> TorchCandidates:
        """All ids that share a probed bucket with each query, as tensors on the tables' device.

        Parameters
        ----------
        queries : (m, dim) tensor
            Finite rows on the tables' device; m may be 0.
        n_probes : int, optional
            Buckets to look into per table; by default the family's ``default_probes``.
        threads : int, optional
            Maximum number of threads of the core.

        Raises
        ------
        ArgumentError
            Bad queries or ``n_probes``.
        UnsupportedError
            ``n_probes`` above 1 with a family that cannot probe.
        """
        rows = checked_tensor(queries, "queries", self._family.dim, self.device)
        probes = self._family.default_probes if n_probes is None else n_probes
        return self._join(self._hashing.probes(rows, probes, threads))

    def retrieve(
        self,
        queries: Tensor,
        n_probes: int,
        *,
        pooled: bool = False,
        order: Tensor | None = None,
        budget: int | None = None,
        threads: int | None = None,
    ) -> TorchCandidates:
        """As :meth:`find`, for samplers: of a whole batch together, or of some tables.

        Parameters
        ----------
        queries : (m, dim) tensor
            Finite rows on the tables' device.
        n_probes : int
            Buckets to look into per table.
        pooled : bool
            One row of candidates for all queries; counts add up over them.
        order : (rows, n_tables) int64 tensor, optional
            The order in which tables are visited in each row.
        budget : int, optional
            With ``order``: the number of ids of a row after which no more tables are visited.
        threads : int, optional
            Maximum number of threads of the core.

        Raises
        ------
        ArgumentError
            Bad queries or ``n_probes``.
        UnsupportedError
            ``n_probes`` above 1 with a family that cannot probe.
        """
        rows = checked_tensor(queries, "queries", self._family.dim, self.device)
        codes = self._hashing.probes(rows, n_probes, threads)
        begins, sizes = self._runs(codes)
        if pooled:  # the probes of all queries are those of one
            begins, sizes = (part.transpose(0, 1).flatten(1)[None] for part in (begins, sizes))
        if order is not None and budget is not None:
            sizes = self._within(begins, sizes, order, budget)
        return self._joined(begins.flatten(1), sizes.flatten(1))

    def _within(self, begins: Tensor, sizes: Tensor, order: Tensor, budget: int) -> Tensor:
        """The sizes (rows, n_tables, P) of buckets, 0 in the tables after the budget is reached."""
        visit = torch.empty_like(order)
        visit.scatter_(1, order, torch.arange(self.n_tables, device=self.device).expand_as(order))
        flat = sizes.reshape(-1)
        ids = self.ids.view(-1)[_ranges(begins.reshape(-1), flat)]
        buckets = torch.arange(flat.numel(), device=self.device)
        each = torch.div(buckets, max(sizes.shape[2], 1), rounding_mode="floor")
        entry = torch.repeat_interleave(each, flat)
        rows = torch.div(entry, self.n_tables, rounding_mode="floor")
        # The visit in which an id of a row is new, then the number of new ids of each visit.
        keys, places = torch.unique(rows * self._n_ids + ids, return_inverse=True)
        new = torch.full(keys.shape, self.n_tables, device=self.device)
        new.scatter_reduce_(0, places, visit.view(-1)[entry], "amin")
        at = torch.div(keys, self._n_ids, rounding_mode="floor") * self.n_tables + new
        found = torch.bincount(at, minlength=visit.numel()).view_as(visit).cumsum(1)
        visited = (found < budget).sum(1, keepdim=True) + 1
        return torch.where((visit < visited)[:, :, None], sizes, 0)

    def candidates(self, queries: Any, n_probes: int, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query; see :meth:`TableReader.candidates`.

        Queries are arrays, sparse matrices, or a tensor on the tables' device.
        """
        if not isinstance(queries, Tensor):
            rows = hashing.checked_rows(self._family, queries, "queries", threads=threads)
            dense = rows.toarray() if sp.issparse(rows) else rows
            queries = torch.tensor(dense, device=self.device)
        found = self.find(queries, n_probes, threads=threads)
        indptr, ids, counts = (t.cpu().numpy() for t in found)
        return Candidates(indptr, ids.astype(np.int32), counts.astype(np.int32))

    def buckets_of_codes(self, codes: Codes, *, threads: int | None = None) -> Buckets:
        """The bucket of each code, one by one; see :meth:`TableReader.buckets_of_codes`."""
        given = torch.from_numpy(np.asarray(codes).astype(np.int64)).to(self.device)
        begins, sizes = self._runs(given[:, :, None].to(_code_dtype(self._family.code_bits)))
        indptr = torch.zeros(sizes.numel() + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(sizes.reshape(-1), 0, out=indptr[1:])
        ids = self.ids.view(-1)[_ranges(begins.reshape(-1), sizes.reshape(-1))]
        return Buckets(indptr.cpu().numpy(), ids.cpu().numpy(), sizes[:, :, 0].cpu().numpy())

    def _runs(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Where the buckets of codes (m, n_tables, P) begin in the flat ids, and their sizes: int64."""
        tables = torch.arange(self.n_tables, device=self.device)
        if self.starts is not None:
            flat = self.starts.view(-1)
            at = codes + tables[:, None] * self.starts.shape[1]
            begins, ends = flat[at].long(), flat[at + 1].long()
        else:
            assert self.codes is not None
            wanted = codes.permute(1, 0, 2).reshape(self.n_tables, -1).contiguous()
            shape = (self.n_tables, codes.shape[0], codes.shape[2])
            begins, ends = (
                torch.searchsorted(self.codes, wanted, right=right).view(shape).permute(1, 0, 2)
                for right in (False, True)
            )
        return begins + tables[:, None] * self._n_ids, ends - begins

    def _join(self, codes: Tensor) -> TorchCandidates:
        """The ids in the buckets of codes (m, n_tables, P), each once for a query, with counts."""
        begins, sizes = self._runs(codes)
        return self._joined(begins.flatten(1), sizes.flatten(1))

    def _joined(self, begins: Tensor, sizes: Tensor) -> TorchCandidates:
        """The ids in runs (rows, n) of the flat ids, each once for a row, with counts."""
        totals = sizes.sum(1)
        parts = [
            _counted(self.ids.view(-1), begins[a:b], sizes[a:b], totals[a:b], self._n_ids)
            for a, b in _blocks(totals.tolist())
        ]
        lengths, ids, counts = (torch.cat(t) for t in zip(*parts, strict=True))
        indptr = torch.zeros(len(begins) + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(lengths, 0, out=indptr[1:])
        return TorchCandidates(indptr, ids, counts)


def _code_dtype(code_bits: int) -> torch.dtype:
    return torch.int32 if code_bits < 32 else torch.int64


def _columns(vectors: Any) -> int:
    if not isinstance(vectors, Tensor) or vectors.ndim != 2:
        given = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
        raise ArgumentError("vectors", given, "a tensor (n, dim)")
    return vectors.shape[1]


def _check_number(n: int, argument: str) -> None:
    if not 1 <= n < 2**31 - 1:
        raise ArgumentError(argument, f"{n} rows", "from 1 to 2**31 - 2 rows")


def _prepared(family: HashFamily, rows: Tensor) -> HashFamily:
    """The family prepared for rows, which are copied from a device only if it prepares at all."""
    if type(family).prepare is HashFamily.prepare:
        return family
    return hashing.prepared(family, rows.cpu().numpy())


def _has_starts(n_items: int, code_bits: int) -> bool:
    return bool(2**code_bits <= max(2 * n_items, 256))


def _require_memory(n_items: int, family: HashFamily) -> None:
    """Refuse a build on the CPU that needs more memory than there is: codes, twice, ids, one sort."""
    starts = 4 * 2**family.code_bits if _has_starts(n_items, family.code_bits) else 0
    needed = family.n_tables * (12 * n_items + starts) + 32 * n_items
    memory.require_bytes(needed, f"building {family.n_tables} tables of {n_items:,} ids")


def _sorted_tables(codes: Tensor, code_bits: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Ids, sorted codes and starts of codes (n, L); the sort is stable, so that ids ascend in a bucket."""
    n_items, n_tables = codes.shape
    columns = codes.T.contiguous()
    ids = torch.empty((n_tables, n_items), dtype=torch.int32, device=codes.device)
    direct = _has_starts(n_items, code_bits)
    starts = (
        torch.zeros((n_tables, 2**code_bits + 1), dtype=torch.int32, device=codes.device) if direct else None
    )
    for table, column in enumerate(columns):
        # One dimension: torch sorts integers of one dimension by radix.
        values, order = torch.sort(column, stable=True)
        ids[table] = order
        if starts is not None:
            torch.cumsum(torch.bincount(column, minlength=2**code_bits), 0, out=starts[table, 1:])
        else:
            column.copy_(values)
    return ids, None if direct else columns, starts


def _blocks(totals: list[int]) -> Iterator[tuple[int, int]]:
    """Ranges of queries of at most 2**24 entries together, or of one query; one empty range for none."""
    begin, held = 0, 0
    for at, total in enumerate(totals):
        if held + total > _BLOCK_ENTRIES and at > begin:
            yield begin, at
            begin, held = at, 0
        held += total
    yield begin, len(totals)


def _ranges(begins: Tensor, sizes: Tensor) -> Tensor:
    """begins[0], begins[0] + 1, ..., of sizes[0] numbers, then those of begins[1], and so on."""
    ends = sizes.cumsum(0)
    shift = torch.repeat_interleave(begins - (ends - sizes), sizes)
    return shift + torch.arange(len(shift), device=begins.device)


def _counted(
    flat: Tensor, begins: Tensor, sizes: Tensor, totals: Tensor, n_ids: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Number of different ids of each query, the ids, and how many of the query's runs have each."""
    ids = flat[_ranges(begins.reshape(-1), sizes.reshape(-1))]
    rows = torch.repeat_interleave(torch.arange(len(totals), device=flat.device), totals)
    pairs, counts = torch.unique_consecutive(torch.sort(rows * n_ids + ids).values, return_counts=True)
    rows = torch.div(pairs, n_ids, rounding_mode="floor")
    return torch.bincount(rows, minlength=len(totals)), pairs - rows * n_ids, counts
