"""Binding a pipeline to tables, vectors and frequencies, with everything checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample._native.sample import AliasTable, Workspaces, alias_table
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Stage
from lshsample.tables import TableReader

if TYPE_CHECKING:
    from lshsample.sampling.pipeline import Pipeline

__all__ = ["bind_sampler"]

_MAX_SAME = 16


def _length(frequencies: npt.ArrayLike) -> int:
    if np.ndim(frequencies) != 1 or np.asarray(frequencies).dtype.kind not in "biuf":
        given = f"{np.asarray(frequencies).dtype} of shape {np.shape(frequencies)}"
        raise ArgumentError("frequencies", given, "a 1-D array of numbers, one per item")
    return len(np.asarray(frequencies))


def _checked_frequencies(frequencies: npt.ArrayLike, n_items: int) -> AliasTable:
    values = np.array(frequencies, dtype=np.float64)
    if values.shape != (n_items,):
        raise ArgumentError("frequencies", f"shape {values.shape}", f"one number per item, {n_items}")
    if not np.all(np.isfinite(values)) or values.min() < 0 or values.sum() <= 0:
        raise ArgumentError(
            "frequencies", "negative, NaN, infinite or all zero", "finite numbers >= 0, not all 0"
        )
    return alias_table(values / values.sum())


def _bound_size(stages: Sequence[Stage], places: dict[str, int | None]) -> int:
    for stage in stages:
        tables = stage.tables_of()
        if tables is not None and tables.is_built:
            places[f"the tables of {stage}"] = tables.n_ids
    known = {name: size for name, size in places.items() if size is not None}
    if not known:
        raise ArgumentError("n_items", "nothing", "the number of items, or tables that are built")
    first, n_items = next(iter(known.items()))
    for name, size in known.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size < 2**31 - 1:
            raise ArgumentError(name, repr(size), "an integer from 1 to 2**31 - 2")
        may_grow = "tables" in name and size < n_items
        if size != n_items and not may_grow:
            raise ArgumentError(name, f"{size} items", f"{n_items} items, as {first} has")
    return int(n_items)


def bind_sampler(
    pipeline: Pipeline,
    *,
    n_items: int | None,
    tables: TableReader | None,
    vectors: Rows | None,
    frequencies: npt.ArrayLike | None,
) -> Sampler:
    """As :meth:`Pipeline.bind`."""
    if tables is not None and not isinstance(tables, TableReader):
        raise ArgumentError("tables", type(tables).__name__, "HashTables or another TableReader")
    if vectors is not None and getattr(vectors, "ndim", 0) != 2:
        raise ArgumentError("vectors", type(vectors).__name__, "a 2-D array or a sparse matrix")
    places = {
        "n_items": n_items,
        "tables": tables.n_ids if tables is not None and tables.is_built else None,
        "vectors": None if vectors is None else vectors.shape[0],
        "frequencies": None if frequencies is None else _length(frequencies),
    }
    size = _bound_size(pipeline.stages, places)
    given = {"tables": tables, "frequencies": frequencies}
    seen: dict[str, int] = {}
    for stage in pipeline.stages:
        stage.check(size)
        seen[stage.name] = seen.get(stage.name, 0) + 1
        if seen[stage.name] > _MAX_SAME:
            raise ArgumentError(
                str(stage), f"{seen[stage.name]} times", f"at most {_MAX_SAME} stages of one kind"
            )
        for need in sorted(stage.needs() - {"queries"}):
            if given[need] is None:
                raise ArgumentError(need, "nothing", f"a value for {stage}: bind(..., {need}=...)")
    alias = None if frequencies is None else _checked_frequencies(frequencies, size)
    return Sampler(
        pipeline=pipeline,
        n_items=size,
        tables=tables,
        vectors=vectors,
        alias=alias,
        workspaces=Workspaces(size),
    )
