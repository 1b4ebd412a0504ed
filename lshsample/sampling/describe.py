"""What a sampler will do, before any table is built: sizes, recall by similarity, and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy import special

from lshsample import hashing, laws
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily, Rows
from lshsample.sampling.stages import AtLeast, Cap, Fill, Frequency, Full, Retrieve, Top, Uniform
from lshsample.sampling.stages.exact_top import ExactTop
from lshsample.tables import HashTables, TableReader

if TYPE_CHECKING:
    from lshsample.sampling.pipeline import Pipeline
    from lshsample.sampling.stage import Stage

__all__ = [
    "Description",
    "Pairs",
    "describe_pipeline",
    "expected_inclusion",
    "isotropic_pairs",
    "measured_pairs",
]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True)
class Pairs:
    """A sample of pairs of a query and an item, the same ones for every retrieval of a pipeline.

    Attributes
    ----------
    similarity : (n,) float64 array
        The similarity of the first retrieval's family.
    chances : mapping of int to (n,) or (n, n_tables) float64 array
        By a retrieval's place in the pipeline, the probability that a table's buckets hold the pair.
    """

    similarity: Floats
    chances: Mapping[int, Floats]


#: By its place in the pipeline, a retrieval with the tables that it looks into.
Retrievals = Mapping[int, tuple[Retrieve, TableReader]]


def _probes(stage: Retrieve, family: HashFamily) -> int:
    return family.default_probes if stage.probes is None else stage.probes


def isotropic_pairs(retrievals: Retrievals, n: int = 4096) -> Pairs:
    """Pairs of independent directions without a preferred one: quantiles of their cosine.

    (cos + 1) / 2 has the Beta distribution with both parameters (dim - 1) / 2 (Cai, Fan & Jiang 2013).
    """
    cosine, chances = np.zeros(1), {}
    for place, (stage, tables) in retrievals.items():
        family = tables.family
        if family.similarity != "cosine" or family.law_of_norms:
            wanted = f"rows to measure {family.similarity!r} on, for {type(family).__name__}"
            raise ArgumentError("vectors", "nothing", wanted)
        if _probes(stage, family) > 1:
            raise ArgumentError("vectors", "nothing", "rows to measure the law of probes on")
        half = max((family.dim - 1) / 2, 0.5)
        cosine = 2 * special.betaincinv(half, half, (np.arange(n) + 0.5) / n) - 1
        chances[place] = family.code_probability(cosine)
    return Pairs(similarity=cosine, chances=chances)


def measured_pairs(
    retrievals: Retrievals, queries: Rows, vectors: Rows, n: int = 20_000, seed: int = 0
) -> Pairs:
    """Random pairs of these rows, with the law of a code or of the probes given the query."""
    rng = np.random.default_rng(seed)
    # Probes have a law for one query and many items.
    probing = any(_probes(stage, tables.family) > 1 for stage, tables in retrievals.values())
    rows = rng.permutation(queries.shape[0])[:64] if probing else rng.integers(0, queries.shape[0], n)
    each = max(1, n // len(rows))
    rows, items = np.repeat(rows, each), rng.integers(0, vectors.shape[0], len(rows) * each)
    first = next(iter(retrievals.values()))[1].family
    chances = {}
    for place, (stage, tables) in retrievals.items():
        probes = _probes(stage, tables.family)
        step = len(rows) if probes == 1 else each
        parts = [
            hashing.pair_probabilities(
                tables.family,
                queries[rows[i : i + step]] if probes == 1 else queries[rows[i : i + 1]],
                vectors[items[i : i + step]],
                probes,
            )
            for i in range(0, len(rows), step)
        ]
        chances[place] = np.concatenate(parts)
    return Pairs(similarity=first.similarity_of(queries[rows], vectors[items]), chances=chances)


def _by_table(stage: Retrieve, tables: TableReader, chance: Floats, n_items: int) -> Floats:
    """Probability of each pair in each table that is looked into (n, tables): as many as meet a budget."""
    if tables.bucket_size is not None:
        held = chance.mean(axis=0) * n_items
        chance = chance * np.minimum(1, tables.bucket_size / np.maximum(held, 1e-300))
    if chance.ndim == 1:
        chance = np.broadcast_to(chance[:, None], (len(chance), tables.n_tables))
    if stage.budget is not None:
        for visited in range(1, tables.n_tables + 1):
            if laws.tables_inclusion(chance[:, :visited]).mean() * n_items >= stage.budget:
                return chance[:, :visited]
    return chance


def expected_inclusion(
    stages: Sequence[Stage], n_items: int, retrievals: Retrievals, pairs: Pairs, frequencies: Floats | None
) -> tuple[Floats, list[float]]:
    """Inclusion probability of each pair (n,) over everything random, and the expected size after each stage.

    Exact for retrievals, AtLeast straight after them, and uniform draws; a cap, a top, a fill, a budget and
    bounded buckets are taken at the expected size of the set before them. Ids that Include names and stages
    of one's own are left out.
    """
    pi, sizes = np.zeros(len(pairs.similarity)), []
    looked: list[Floats] = []
    for place, stage in enumerate(stages):
        size = float(pi.mean()) * n_items
        if isinstance(stage, Retrieve):
            looked.append(_by_table(stage, retrievals[place][1], pairs.chances[place], n_items))
            pi = laws.mixture_inclusion(pi, laws.tables_inclusion(looked[-1]))
        elif isinstance(stage, AtLeast):
            # Counts add up over retrievals; ids that came another way have none.
            pi = np.minimum(pi, laws.tables_inclusion(np.hstack(looked), stage.m)) if looked else pi * 0
        elif isinstance(stage, Cap | Top):
            pi = pi * min(1.0, stage.k / max(size, 1e-300))
        elif isinstance(stage, Uniform):
            pi = laws.mixture_inclusion(pi, min(stage.n / n_items, 1.0))
        elif isinstance(stage, Frequency) and frequencies is not None:
            pi = laws.mixture_inclusion(pi, laws.frequency_inclusion(frequencies, stage.n).mean())
        elif isinstance(stage, Fill) and size < stage.k:
            pi = laws.mixture_inclusion(pi, (stage.k - size) / (n_items - size))
        elif isinstance(stage, ExactTop):
            pi = laws.mixture_inclusion(pi, stage.k / n_items)
        elif isinstance(stage, Full):
            pi = np.ones_like(pi)
        sizes.append(float(pi.mean()) * n_items)
    return pi, sizes


@attrs.frozen(eq=False, kw_only=True)
class Description:
    """What to expect of a sampler.

    Attributes
    ----------
    pipeline : str
        Its stages.
    n_items : int
        Items.
    expected_sizes : tuple of float
        Ids per query after each stage, without those that the caller names; a stage of one's own is taken to
        leave the set as it is.
    similarity, recall : (20,) float64 arrays
        Levels of similarity, and the mean probability that an item of about that similarity is in the set.
    memory_bytes : int
        Of the tables; 0 without any.
    peak_bytes : int
        While they are built.
    """

    pipeline: str
    n_items: int
    expected_sizes: tuple[float, ...]
    similarity: Floats
    recall: Floats
    memory_bytes: int
    peak_bytes: int

    @property
    def expected_size(self) -> float:
        """Ids per query at the end."""
        return self.expected_sizes[-1]

    def __str__(self) -> str:
        sizes = " -> ".join(f"{size:,.1f}" for size in self.expected_sizes)
        curve = ", ".join(
            f"{s:.2f}: {r:.3f}" for s, r in zip(self.similarity[::3], self.recall[::3], strict=True)
        )
        return (
            f"{self.pipeline} over {self.n_items:,} items\n"
            f"expected ids: {sizes}\n"
            f"tables: {self.memory_bytes / 2**20:,.1f} MiB, {self.peak_bytes / 2**20:,.1f} MiB at the build\n"
            f"recall by similarity: {curve}"
        )


def _recall_curve(pairs: Pairs, pi: Floats, levels: int = 20) -> tuple[Floats, Floats]:
    """Mean similarity and mean probability of ``levels`` bins of equal width of the similarity."""
    edges = np.linspace(pairs.similarity.min(), pairs.similarity.max(), levels + 1)
    place = np.clip(np.searchsorted(edges, pairs.similarity, side="right") - 1, 0, levels - 1)
    number = np.bincount(place, minlength=levels)
    middle = (edges[:-1] + edges[1:]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place, weights=pi, minlength=levels) / number
    filled = number > 0
    return middle, np.interp(middle, middle[filled], mean[filled])


def _checked_rows(retrievals: Retrievals, rows: Any, argument: str) -> Rows:
    """Rows that every retrieval's family takes, at least one."""
    checked: Rows = rows
    for _, tables in retrievals.values():
        checked = hashing.checked_rows(tables.family, rows, argument)
    if checked.shape[0] == 0:
        raise ArgumentError(argument, "0 rows", "at least one row")
    return checked


def _pairs(retrievals: Retrievals, queries: Any, vectors: Any, seed: int) -> Pairs:
    if not retrievals:
        return Pairs(similarity=np.zeros(1), chances={})
    if vectors is None:
        if queries is not None:
            raise ArgumentError("vectors", "nothing", "rows of items, since there are queries")
        return isotropic_pairs(retrievals)
    items = _checked_rows(retrievals, vectors, "vectors")
    asked = items if queries is None else _checked_rows(retrievals, queries, "queries")
    return measured_pairs(retrievals, asked, items, seed=seed)


def _memory(tables: Iterable[TableReader], n_items: int) -> tuple[int, int]:
    """Bytes of the tables, and at the peak when they are built one after the other."""
    needs = [HashTables.memory_needed(t.family, n_items, bucket_size=t.bucket_size) for t in tables]
    done = sum(need.tables for need in needs)
    return done, done + max((need.peak - need.tables for need in needs), default=0)


def describe_pipeline(
    pipeline: Pipeline,
    n_items: int,
    bound: TableReader | None,
    frequencies: Floats | None,
    queries: Any,
    vectors: Any,
    seed: int,
) -> Description:
    """As :meth:`Sampler.describe`, of a pipeline over tables that need not be built."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ArgumentError("seed", repr(seed), "an integer from 0 to 2**63 - 1")
    retrievals, used = {}, {} if bound is None else {id(bound): bound}
    for place, stage in enumerate(pipeline.stages):
        tables = stage.tables_of() or bound
        if tables is not None:
            used[id(tables)] = tables
        if isinstance(stage, Retrieve) and tables is not None:
            retrievals[place] = (stage, tables)
    if vectors is None:
        vectors = next((t.vectors for t in used.values() if t.is_built and t.vectors is not None), None)
    pairs = _pairs(retrievals, queries, vectors, int(seed))
    pi, sizes = expected_inclusion(pipeline.stages, n_items, retrievals, pairs, frequencies)
    similarity, recall = _recall_curve(pairs, pi)
    memory, peak = _memory(used.values(), n_items)
    return Description(
        pipeline=str(pipeline),
        n_items=n_items,
        expected_sizes=tuple(sizes),
        similarity=similarity,
        recall=recall,
        memory_bytes=memory,
        peak_bytes=peak,
    )
