"""Ready-made benchmarks of hash families, for pytest-benchmark: import them into a ``bench_*.py``.

.. code-block:: python

    from lshsample.compare.benchmarks import test_build, test_hash, test_query  # noqa: F401

    LSHSAMPLE_FAMILIES = ["my-family", "simhash", "dwta"]

``pytest --benchmark-only`` then compares the times of hashing, building and querying for these families.
Recall of the true top 10, memory, candidates and the error of estimated softmax normalisers are in
``extra_info``, in the JSON (``--benchmark-json FILE``).
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lshsample import hashing
from lshsample.compare.measure import ComparisonSettings, Contender, estimator_error
from lshsample.compare.workloads import Workload
from lshsample.errors import LshsampleError
from lshsample.family import HashFamily
from lshsample.metrics import sampler_recall
from lshsample.sampling import Retrieve, Top, Uniform
from lshsample.tables import HashTables

__all__ = ["test_build", "test_hash", "test_query"]

#: Length of the codes that are timed, in bits.
BITS = 8


def _tables(contender: Contender, workload: Workload, settings: ComparisonSettings) -> HashTables:
    """Tables that are not built yet; the benchmark is skipped if the family refuses the workload."""
    try:
        family: HashFamily = contender.make(workload.dim, BITS, settings.n_tables, settings.seed)
        hashing.hash_rows(family, workload.items[:2], threads=settings.threads)
    except LshsampleError as error:
        pytest.skip(f"{contender.label}: {error}")
    return HashTables(family, threads=settings.threads)


@pytest.mark.benchmark(group="hash all items")
def test_hash(
    benchmark: Any,
    lshsample_contender: Contender,
    lshsample_workload: Workload,
    lshsample_settings: ComparisonSettings,
) -> None:
    """Time of hashing all items."""
    tables = _tables(lshsample_contender, lshsample_workload, lshsample_settings)
    call = functools.partial(
        hashing.hash_rows, tables.family, lshsample_workload.items, threads=lshsample_settings.threads
    )
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    benchmark.extra_info["rows"] = lshsample_workload.n_items


@pytest.mark.benchmark(group="build tables of all items")
def test_build(
    benchmark: Any,
    lshsample_contender: Contender,
    lshsample_workload: Workload,
    lshsample_settings: ComparisonSettings,
) -> None:
    """Time of building the tables, hashing included."""
    tables = _tables(lshsample_contender, lshsample_workload, lshsample_settings)
    benchmark.pedantic(tables.build, (lshsample_workload.items,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["memory_bytes"] = tables.memory_bytes


@pytest.mark.benchmark(group="query: the 5 % of items with the most collisions")
def test_query(
    benchmark: Any,
    lshsample_contender: Contender,
    lshsample_workload: Workload,
    lshsample_settings: ComparisonSettings,
) -> None:
    """Time of all queries as one batch, with their recall and the error of estimates."""
    workload, settings = lshsample_workload, lshsample_settings
    tables = _tables(lshsample_contender, workload, settings).build(workload.items)
    budget = max(workload.truth.shape[1], workload.n_items // 20)
    sampler = (Retrieve() | Top(budget)).bind(tables=tables)
    sample = functools.partial(sampler.sample, workload.queries, threads=settings.threads)
    active = benchmark.pedantic(sample, rounds=5, warmup_rounds=1)
    drawn = max(1, budget // 4)
    weighted = Retrieve() | Top(max(1, budget - drawn)) | Uniform(drawn)
    benchmark.extra_info.update(
        queries=workload.queries.shape[0],
        candidates=len(active.ids) / workload.queries.shape[0],
        recall=sampler_recall(active, workload.truth),
        estimator_error=estimator_error(weighted, workload, settings, tables=tables),
    )
