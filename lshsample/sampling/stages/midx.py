"""Draws from a quantized softmax over the items: MIDX."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws, specs
from lshsample._native.sample import Drawn
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily, QuantizingFamily
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import UNPLAIN, builtin, required
from lshsample.sampling.stages.retrieve import tables_or_none
from lshsample.tables import TableReader
from lshsample.tables.state import TableState

__all__ = ["MIDX"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Codes whose buckets are listed, and logits of a block: 32 MiB.
_MOST_BITS, _BLOCK = 20, 2**22


@attrs.frozen(eq=False)
class _Cells:
    """The buckets of a table that have ids.

    Attributes
    ----------
    indptr, ids : arrays
        The ids of each cell.
    values : (K, cells) intp array
        The number of the centroid of each codebook.
    cell_of : (n_items,) int64 array
        The cell of each item; -1 for an item that is in none.
    """

    indptr: Ints
    ids: npt.NDArray[np.int32]
    values: npt.NDArray[np.intp]
    cell_of: Ints

    @property
    def sizes(self) -> Ints:
        """Number of ids of each cell."""
        return np.diff(self.indptr)


#: The cells of states of tables, which never change; other readers may.
_CELLS: WeakKeyDictionary[TableState, _Cells] = WeakKeyDictionary()


def _cells(state: TableReader, n_items: int) -> _Cells:
    known = _CELLS.get(state) if isinstance(state, TableState) else None
    if known is None or len(known.cell_of) != n_items:
        bits = state.family.bits_per_hash
        buckets = state.buckets_of_codes(np.arange(2**state.family.code_bits, dtype=np.uint32)[:, None])
        codes = np.flatnonzero(np.diff(buckets.indptr))
        indptr = np.concatenate([[0], np.cumsum(np.diff(buckets.indptr)[codes])])
        places = np.arange(state.family.n_hashes)[:, None] * bits
        cell_of = np.full(n_items, -1)
        cell_of[buckets.ids] = np.repeat(np.arange(len(codes)), np.diff(indptr))
        known = _Cells(indptr, buckets.ids, codes >> places & (2**bits - 1), cell_of)
        if isinstance(state, TableState):
            _CELLS[state] = known
    return known


@attrs.frozen(eq=False)
class _Draws:
    """The distribution over the cells: of each query, or pooled the mean of the queries'.

    Attributes
    ----------
    cells : _Cells
        The cells.
    products : (n, K, centroids) float64 array
        Inner products of the queries with the centroids.
    log_sums : (n,) float64 array
        The log of the sum over the cells of size exp(products).
    lowest : float
        The smallest probability of an item in one draw.
    pooled : (cells,) float64 array or None
        The probability of each cell, of pooled queries.
    """

    cells: _Cells
    products: Floats
    log_sums: Floats
    lowest: float
    pooled: Floats | None

    @classmethod
    def of(cls, cells: _Cells, products: Floats, pooled: bool) -> _Draws:
        """From the products of the queries."""
        n, log_sizes = len(products), np.log(cells.sizes)
        log_sums, lowest = np.empty(n), 0.0
        mean = np.zeros(len(cells.sizes)) if pooled else None
        for part in _parts(n, len(cells.sizes)):
            logits = _logits(cells, products[part])
            terms, top = _terms(logits, log_sizes)
            sums = terms.sum(axis=1)
            log_sums[part] = np.log(sums) + top
            lowest = min(lowest, float((logits.min(axis=1) - log_sums[part]).min()))
            if mean is not None:
                mean += (1 / sums) @ terms / n
        if mean is not None:
            return cls(cells, products, log_sums, float((mean / cells.sizes).min()), mean)
        return cls(cells, products, log_sums, float(np.exp(lowest)), None)

    def ids(self, n_draws: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        """The ids (rows, n_draws) of independent draws."""
        sizes = self.cells.sizes
        if self.pooled is not None:
            return self._drawn(np.cumsum(self.pooled)[None], generator.random((1, 2, n_draws)))
        drawn, log_sizes = np.empty((len(self.products), n_draws), np.int32), np.log(sizes)
        for part in _parts(len(drawn), len(sizes)):
            terms, _ = _terms(_logits(self.cells, self.products[part]), log_sizes)
            numbers = generator.random((len(terms), 2, n_draws))
            drawn[part] = self._drawn(np.cumsum(terms, axis=1), numbers)
        return drawn

    def _drawn(self, above: Floats, numbers: Floats) -> npt.NDArray[np.int32]:
        """Draws by cumulative sums (rows, cells): of two random numbers, one each for a cell and its id."""
        points = numbers[:, 0] * above[:, -1:]
        cell = np.stack(
            [np.searchsorted(row, point, side="right") for row, point in zip(above, points, strict=True)]
        )
        cell = np.minimum(cell, above.shape[1] - 1)  # rounding may reach the sum itself
        within = (numbers[:, 1] * self.cells.sizes[cell]).astype(np.int64)
        return np.asarray(self.cells.ids[self.cells.indptr[cell] + within])

    def probability(self, rows: Ints, ids: npt.NDArray[np.int32]) -> Floats:
        """Probability (n,) that one draw of a row is an id."""
        cell = self.cells.cell_of[ids]
        if self.pooled is not None:
            each = self.pooled[cell] / self.cells.sizes[cell]
        else:
            values = self.cells.values[:, cell]
            logits = sum(self.products[rows, k, value] for k, value in enumerate(values))
            each = np.exp(logits - self.log_sums[rows])
        return np.where(cell < 0, 0.0, np.minimum(each, 1.0))


def _parts(n: int, width: int) -> list[slice]:
    size = max(_BLOCK // max(width, 1), 1)
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


def _logits(cells: _Cells, products: Floats) -> Floats:
    """Inner products (n, cells) of queries with the sums of the cells' centroids."""
    logits = products[:, 0, cells.values[0]]
    for k in range(1, len(cells.values)):
        logits += products[:, k, cells.values[k]]
    return np.asarray(logits)


def _terms(logits: Floats, log_sizes: Floats) -> tuple[Floats, Floats]:
    """size exp(logit) of each cell, divided by the largest; and the logarithm of the largest."""
    weighed = logits + log_sizes
    top = weighed.max(axis=1)
    return np.exp(weighed - top[:, None]), top


@builtin
@attrs.frozen
class MIDX(SamplerStage):
    """Adds the ids of ``n`` independent draws from a softmax over quantized items.

    Parameters
    ----------
    n : int
        Number of draws with replacement: at most ``n`` different ids per query; pooled, in total.
    tables : TableReader, optional
        Tables (a single one) of a family with codebooks, such as ``product-quantization``; by default those
        that the sampler is bound to. They are rebuilt, and the codebooks with them, as the vectors change.

    Notes
    -----
    MIDX (Chen et al. 2025, arXiv 2501.08563) replaces each item by the sum of its K centroids, one of each
    codebook (of two half vectors, in the paper), and draws from the softmax of a query's inner products with
    these sums: first a cell, which is a combination of centroids, then an item of the cell uniformly. One
    draw is the item j of the cell c with probability

        p_j(q) = exp(sum_k q.c_k) / sum over cells c' of size(c') exp(sum_k q.c'_k),

    and it is among n draws with probability 1 - (1 - p_j)^n; pi becomes 1 - (1 - pi)(1 - p_j)^n. This is
    exact given the tables. Pooled, each draw is by the mean of the queries' distributions. The paper draws
    the centroids one after the other, which is the same distribution.

    Cost: inner products with all centroids, and K additions and an exponential for each query and each of the
    cells that have items: at most ``2**(K bits)``, and not more than there are items.
    """

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))
    tables: TableReader | None = attrs.field(default=None, validator=tables_or_none, metadata=UNPLAIN)

    def needs(self) -> frozenset[str]:
        """Queries, and tables unless it holds them itself."""
        return frozenset({"queries"} if self.tables is not None else {"queries", "tables"})

    def tables_of(self) -> TableReader | None:
        """The tables that it holds itself."""
        return self.tables

    def check_family(self, family: HashFamily) -> None:
        """The family has codebooks, for one table."""
        name = type(family).__name__
        if not isinstance(family, QuantizingFamily):
            wanted = "of a family with codebooks, such as family='product-quantization'"
            raise ArgumentError("tables", f"tables of {name}", wanted)
        if family.n_tables != 1 or family.code_bits > _MOST_BITS:
            given = f"n_tables={family.n_tables} and codes of {family.code_bits} bits"
            raise ArgumentError("tables", given, f"one table, with codes of at most {_MOST_BITS} bits")

    def size(self, n_items: int) -> int:
        """``n``."""
        return self.n

    def _draws(self, batch: Batch) -> _Draws:
        def computed() -> _Draws:
            state: TableReader = (
                batch.state_of(self.tables)
                if self.tables is not None
                else required(batch.state, "tables", self)
            )
            self.check_family(state.family)
            queries = required(batch.queries, "queries", self)
            family: QuantizingFamily = state.family  # type: ignore[assignment]
            products = family.products(queries)[:, 0].astype(np.float64)
            return _Draws.of(_cells(state, batch.n_items), products, batch.pooled)

        return batch.once((type(self), id(self.tables)), computed)

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The set with the drawn ids added."""
        draws = self._draws(batch)
        if batch.n_queries == 0:
            return active
        return active.join(draws.ids(self.n, batch.generator()))

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with 1 - (1 - p_j)^n."""
        draws, batch = self._draws(pairs.batch), pairs.batch
        drawn = laws.frequency_inclusion(draws.probability(pairs.rows, pairs.ids), self.n)
        everywhere = batch.n_queries > 0 and draws.lowest > 0 and bool((draws.cells.cell_of >= 0).all())
        state = self.tables if self.tables is not None else batch.state
        family = None if state is None else state.family
        return so_far.mix(drawn, everywhere=everywhere, uses_functions=True, family=family)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """As for ``n`` distinct uniform draws: the largest set that the draws can add."""
        return so_far.draw(min(self.n, so_far.n_items))

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"{self.n:,} draws by the products with centroids"
