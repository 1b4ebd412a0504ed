"""What a sampler will do, before any table is built: sizes, recall by similarity, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy import stats

from lshsample import laws
from lshsample._native import family as door
from lshsample.errors import ArgumentError
from lshsample.plugin import HashFamily
from lshsample.sampling.exact_top import ExactTop
from lshsample.sampling.filters import AtLeast, Cap, Top
from lshsample.sampling.retrieve import Retrieve
from lshsample.sampling.sources import Fill, Frequency, Full, Uniform
from lshsample.tables import HashTables

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
    """A sample of pairs of a query and an item.

    Attributes
    ----------
    similarity : (n,) float64 array
        The family's similarity.
    chance : (n,) or (n, n_tables) float64 array
        Probability that a table's buckets hold the pair.
    """

    similarity: Floats
    chance: Floats


def isotropic_pairs(family: HashFamily, n: int = 4096) -> Pairs:
    """Pairs of independent directions without a preferred one: quantiles of their cosine.

    (cos + 1) / 2 has the Beta distribution with both parameters (dim - 1) / 2 (Cai, Fan & Jiang 2013).
    """
    if family.similarity != "cosine" or family.law_of_norms:
        raise ArgumentError(
            "vectors", "nothing", f"rows to measure {family.similarity!r} on, for {type(family).__name__}"
        )
    half = max((family.dim - 1) / 2, 0.5)
    cosine = 2 * stats.beta.ppf((np.arange(n) + 0.5) / n, half, half) - 1
    return Pairs(similarity=cosine, chance=family.code_probability(cosine))


def measured_pairs(
    family: HashFamily, queries: Any, vectors: Any, probes: int = 1, n: int = 20_000, seed: int = 0
) -> Pairs:
    """Random pairs of these rows, with the law of a code or of the probes given the query."""
    rng = np.random.default_rng(seed)
    if probes == 1:
        q, x = queries[rng.integers(0, queries.shape[0], n)], vectors[rng.integers(0, vectors.shape[0], n)]
        return Pairs(similarity=family.similarity_of(q, x), chance=door.pair_chances(family, q, x))
    similarity, chance = [], []
    chosen = rng.permutation(queries.shape[0])[:64]
    for row in chosen:
        x, q = vectors[rng.integers(0, vectors.shape[0], max(1, n // len(chosen)))], queries[row : row + 1]
        similarity.append(family.similarity_of(q[np.zeros(x.shape[0], np.intp)], x))
        chance.append(door.pair_chances(family, q, x, probes))
    return Pairs(similarity=np.concatenate(similarity), chance=np.concatenate(chance))


def _retrieved(stage: Retrieve, chance: Floats, n_tables: int, n_items: int, least: int) -> Floats:
    """Probability of each pair to be retrieved; with a budget, by as many tables as meet it on average."""
    if chance.ndim == 2:
        return laws.tables_inclusion(chance, least)
    if stage.budget is not None:
        for visited in range(1, n_tables + 1):
            found = laws.union_inclusion(chance, visited)
            if found.mean() * n_items >= stage.budget:
                return found
    return laws.at_least_inclusion(chance, n_tables, least)


def expected_inclusion(
    stages: Sequence[Stage], n_items: int, n_tables: int, chance: Floats
) -> tuple[Floats, list[float]]:
    """Inclusion probability of each pair (n,) over everything random, and the expected size after each stage.

    Exact for retrieval, AtLeast after it, and uniform draws; a cap, a top, a fill and a budget are taken at
    the expected size of the set before them. Ids that Include names and stages of one's own are left out.
    """
    pi, sizes = np.zeros(len(chance)), []
    for place, stage in enumerate(stages):
        size = float(pi.mean()) * n_items
        if isinstance(stage, Retrieve):
            after = stages[place + 1] if place + 1 < len(stages) else None
            least = after.m if isinstance(after, AtLeast) else 1
            sizes.append(_retrieved(stage, chance, n_tables, n_items, 1).mean() * n_items)
            pi = laws.mixture_inclusion(pi, _retrieved(stage, chance, n_tables, n_items, least))
            continue
        if isinstance(stage, Cap | Top):
            pi = pi * min(1.0, stage.k / max(size, 1e-300))
        elif isinstance(stage, Uniform | Frequency):
            pi = laws.mixture_inclusion(pi, min(stage.n / n_items, 1.0))
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
        Ids per query after each stage, without those that the caller names.
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


def _pairs(stages: Sequence[Stage], family: HashFamily, queries: Any, vectors: Any, seed: int) -> Pairs:
    retrievals = [stage for stage in stages if isinstance(stage, Retrieve)]
    probes = max([stage.probes or family.default_probes for stage in retrievals], default=1)
    if vectors is not None:
        return measured_pairs(family, vectors if queries is None else queries, vectors, probes, seed=seed)
    if probes > 1:
        raise ArgumentError("vectors", "nothing", "rows to measure the law of probes on")
    return isotropic_pairs(family)


def describe_pipeline(
    pipeline: Pipeline, n_items: int, tables: HashTables | None, queries: Any, vectors: Any, seed: int
) -> Description:
    """As :meth:`Sampler.describe`, of a pipeline over tables that need not be built."""
    stages, n_tables, memory, peak = pipeline.stages, 1, 0, 0
    pairs = Pairs(similarity=np.zeros(1), chance=np.zeros(1))
    if tables is not None:
        pairs, n_tables = _pairs(stages, tables.family, queries, vectors, seed), tables.n_tables
        need = HashTables.memory_needed(tables.family, n_items)
        memory, peak = need.tables, need.peak
    pi, sizes = expected_inclusion(stages, n_items, n_tables, pairs.chance)
    similarity, recall = _recall_curve(pairs, pi)
    return Description(
        pipeline=str(pipeline),
        n_items=n_items,
        expected_sizes=tuple(sizes),
        similarity=similarity,
        recall=recall,
        memory_bytes=memory,
        peak_bytes=peak,
    )
