"""Predictions for a sampler before any table is built: sizes, recall by similarity, and memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing
from lshsample._native import core
from lshsample.display import html_table
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.memory import mebibytes
from lshsample.sampling.effects import (
    Probed,
    effect_warnings,
    expected_sets,
    probed_tables,
    repetitions,
    retrieval_warnings,
)
from lshsample.sampling.expected import Population
from lshsample.sampling.similarities import Retrieval, Sample, isotropic_sample, measured_sample
from lshsample.sampling.stage import Stages
from lshsample.tables import HashTables, TableReader

__all__ = ["Description", "describe_stages"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Description:
    """Predicted sizes, recall and memory of a sampler.

    Attributes
    ----------
    pipeline : str
        The stages, as text.
    n_items : int
        Number of items.
    expected_sizes : tuple of float
        Expected number of ids per query after each stage, without included ids (true labels). A stage
        without an ``expected`` method is assumed to leave the set unchanged.
    similarity, recall : (20,) float64 arrays
        Bins of similarity (their centres), and the mean probability that an item of the bin is in the set.
    memory_bytes : int
        Bytes of the tables; 0 without tables.
    peak_bytes : int
        Peak bytes while the tables are built.
    warnings : tuple of str
        Stages that have no effect or remove every id, and retrievals that find most of all items.
    """

    pipeline: str
    n_items: int
    expected_sizes: tuple[float, ...]
    similarity: Floats
    recall: Floats
    memory_bytes: int
    peak_bytes: int
    warnings: tuple[str, ...] = ()

    @property
    def expected_size(self) -> float:
        """Expected number of ids per query after the last stage."""
        return self.expected_sizes[-1]

    def __str__(self) -> str:
        sizes = " -> ".join(f"{size:,.1f}" for size in self.expected_sizes)
        curve = ", ".join(
            f"{s:.2f}: {r:.3f}" for s, r in zip(self.similarity[::3], self.recall[::3], strict=True)
        )
        tables, peak = (mebibytes(size, 1) for size in (self.memory_bytes, self.peak_bytes))
        lines = [
            f"{self.pipeline} over {self.n_items:,} items",
            f"expected ids: {sizes}",
            f"tables: {tables} (peak {peak})",
            f"recall by similarity: {curve}",
            *(f"warning: {text}" for text in self.warnings),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        ids = f"{self.expected_size:,.1f} of {self.n_items:,} ids expected"
        return f"Description({self.pipeline}: {ids}{warned})"

    def _repr_html_(self) -> str:
        lines = [line.partition(": ") for line in str(self).split("\n")[1:]]
        return html_table(
            f"{self.pipeline} over {self.n_items:,} items", ["", ""], [(a, b) for a, _, b in lines]
        )


#: Populations from which stages without an effect are found.
_JUDGED = 12


def _recall_curve(similarity: Floats, recall: Floats, levels: int = 20) -> tuple[Floats, Floats]:
    """Mean recall of ``levels`` bins of equal width of the similarity of pairs."""
    edges = np.linspace(similarity.min(), similarity.max(), levels + 1)
    place = np.clip(np.searchsorted(edges, similarity, side="right") - 1, 0, levels - 1)
    number = np.bincount(place, minlength=levels)
    middle = (edges[:-1] + edges[1:]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(place, weights=recall, minlength=levels) / number
    filled = number > 0
    return middle, np.interp(middle, middle[filled], mean[filled])


def _checked_rows(probed: Probed, rows: Any, argument: str) -> Rows:
    """At least one row, valid for the family of every retrieval."""
    checked: Rows = core.csr_rows(rows, argument) if sp.issparse(rows) else core.dense_rows(rows, argument)
    for tables, _ in probed.values():
        hashing.checked_rows(tables.family, checked, argument, finite=False)
    if checked.shape[0] == 0:
        raise ArgumentError(argument, "0 rows", "a matrix with at least one row")
    return checked


def _retrievals(pipeline: Stages, probed: Probed, vectors: Rows | None) -> dict[int, Retrieval]:
    """The retrievals by position; equal ones of the same tables are measured once."""
    found: dict[int, Retrieval] = {}
    repeated = repetitions(pipeline, probed)
    for place, (tables, probes) in probed.items():
        if place in repeated:
            found[place] = attrs.evolve(found[repeated[place]], repeats=True)
        else:
            found[place] = Retrieval.of(tables, probes, vectors)
    return found


def _sample(pipeline: Stages, probed: Probed, queries: Any, vectors: Any, n_items: int, seed: int) -> Sample:
    if vectors is None:
        if queries is not None and probed:
            raise ArgumentError("vectors", "nothing", "given, since there are queries")
        return isotropic_sample(_retrievals(pipeline, probed, None), n_items, seed)
    items = _checked_rows(probed, vectors, "vectors")
    rows = items if queries is None else _checked_rows(probed, queries, "queries")
    return measured_sample(_retrievals(pipeline, probed, items), rows, items, n_items, seed)


def _memory(tables: Iterable[TableReader], n_items: int) -> tuple[int, int]:
    """Bytes of the tables, and the peak while they are built one after the other."""
    needs = [HashTables.memory_needed(t.family, n_items, bucket_size=t.bucket_size) for t in tables]
    done = sum(need.tables for need in needs)
    return done, done + max((need.peak - need.tables for need in needs), default=0)


def describe_stages(
    pipeline: Stages,
    n_items: int,
    *,
    bound: TableReader | None = None,
    frequencies: Floats | None = None,
    queries: Any = None,
    vectors: Any = None,
    seed: int = 0,
) -> Description:
    """As :meth:`Sampler.describe`, for a pipeline over tables that need not be built."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ArgumentError("seed", repr(seed), "an integer from 0 to 2**63 - 1")
    used = {id(tables): tables for tables in (*pipeline.held_tables, *([bound] if bound else []))}
    if vectors is None:
        vectors = next((t.vectors for t in used.values() if t.is_built and t.vectors is not None), None)
    probed, stages = probed_tables(pipeline, bound), list(enumerate(pipeline))
    sample = _sample(pipeline, probed, queries, vectors, n_items, int(seed))
    sizes = np.zeros(len(pipeline))
    recall = []
    for query in sample.queries:
        probability = np.zeros(len(query.population.weights))
        for share, population in query.nodes(frequencies):
            for place, expected in enumerate(expected_sets(stages, population)):
                sizes[place] += share * expected.size / len(sample.queries)
            probability += share * expected.probability
        recall.append(probability[query.group])
    similarity, curve = _recall_curve(
        np.concatenate([query.similarity for query in sample.queries]), np.concatenate(recall)
    )
    memory, peak = _memory(used.values(), n_items)
    populations = [population for query in sample.queries for _, population in query.nodes(frequencies)]
    return Description(
        pipeline=str(pipeline),
        n_items=n_items,
        expected_sizes=tuple(sizes.tolist()),
        similarity=similarity,
        recall=curve,
        memory_bytes=memory,
        peak_bytes=peak,
        warnings=(
            *effect_warnings(pipeline, _spread(populations, _JUDGED), probed),
            *retrieval_warnings(pipeline, populations),
        ),
    )


def _spread(populations: list[Population], most: int) -> list[Population]:
    """At most ``most`` of the populations, at equal distances."""
    return populations[:: -(-len(populations) // most)]
