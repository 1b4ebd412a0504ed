"""Validation of what a pipeline is bound to: consistent sizes, frequencies, what the stages need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.sampling.contract import check_fit
from lshsample.sampling.frequencies import ItemFrequencies
from lshsample.sampling.stage import Stages
from lshsample.tables import TableReader

__all__ = ["check_stages", "item_frequencies", "number_of_items"]

_MAX_SAME = 16


def _length(frequencies: npt.ArrayLike) -> int:
    if np.ndim(frequencies) != 1 or np.asarray(frequencies).dtype.kind not in "biuf":
        given = f"{np.asarray(frequencies).dtype} of shape {np.shape(frequencies)}"
        raise ArgumentError("frequencies", given, "a 1-D array of numbers, one per item")
    return len(np.asarray(frequencies))


def item_frequencies(frequencies: npt.ArrayLike, n_items: int) -> ItemFrequencies:
    """The relative frequencies of all items, given in any unit."""
    values = np.array(frequencies, dtype=np.float64)
    if values.shape != (n_items,):
        raise ArgumentError("frequencies", f"shape {values.shape}", f"{n_items} numbers, one per item")
    if not np.all(np.isfinite(values)) or values.min() < 0 or values.sum() <= 0:
        raise ArgumentError(
            "frequencies", "negative, NaN, infinite or only zeros", "finite numbers >= 0, not all 0"
        )
    return ItemFrequencies(values / values.sum())


def number_of_items(
    pipeline: Stages, n_items: int | None, tables: TableReader | None, vectors: Any, frequencies: Any
) -> int:
    """The number of items, on which all arguments must agree; tables may have fewer ids."""
    if tables is not None and not isinstance(tables, TableReader):
        raise ArgumentError("tables", type(tables).__name__, "HashTables or another TableReader")
    if vectors is not None and getattr(vectors, "ndim", 0) != 2:
        raise ArgumentError("vectors", type(vectors).__name__, "a 2-D array or a sparse matrix")
    sizes: dict[str, int | None] = {
        "n_items": n_items,
        "tables": tables.n_ids if tables is not None and tables.is_built else None,
        "vectors": None if vectors is None else vectors.shape[0],
        "frequencies": None if frequencies is None else _length(frequencies),
    }
    for stage in pipeline:
        held = stage.tables_of()
        if held is not None and held.is_built:
            sizes[f"the tables of {stage}"] = held.n_ids
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        wanted = "the number of items, unless built tables, vectors or frequencies are given"
        raise ArgumentError("n_items", "nothing", wanted)
    first, count = next(iter(known.items()))
    for name, size in known.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size < 2**31 - 1:
            raise ArgumentError(name, repr(size), "an integer from 1 to 2**31 - 2")
        may_grow = "tables" in name and size < count
        if size != count and not may_grow:
            raise ArgumentError(name, f"{size} items", f"for {count} items, as given by {first}")
    return int(count)


def check_stages(pipeline: Stages, n_items: int, given: Mapping[str, Any]) -> None:
    """Raise ArgumentError for stages that do not fit the number of items, or need an argument not given."""
    seen: dict[str, int] = {}
    for stage in pipeline:
        check_fit(stage, n_items, given["tables"])
        seen[stage.name] = seen.get(stage.name, 0) + 1
        if seen[stage.name] > _MAX_SAME:
            raise ArgumentError(
                str(stage), f"{seen[stage.name]} of them", f"one of at most {_MAX_SAME} stages of its class"
            )
        for need in sorted(stage.needs() - {"queries"}):
            if given[need] is None:
                wanted = f"given, since {stage} requires them: bind(..., {need}=...)"
                raise ArgumentError(need, "nothing", wanted)
