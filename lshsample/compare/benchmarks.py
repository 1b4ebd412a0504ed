"""Ready-made benchmarks of hash families, for pytest-benchmark: import them into a ``bench_*.py``.

.. code-block:: python

    from lshsample.compare.benchmarks import test_build, test_hash, test_query  # noqa: F401

    LSHSAMPLE_FAMILIES = ["my-family", "simhash", "dwta"]

``pytest --benchmark-only`` then compares the times of hashing, building and querying for these families, with
the recall beside the names of the queries. Recall, index size, candidates and the error of estimated softmax
normalisers are in ``extra_info``, in the JSON (``--benchmark-json FILE``), with all that the run depends on
under ``run``.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lshsample import hashing
from lshsample.compare.contenders import ComparisonSettings, Contender
from lshsample.compare.environment import describe_machine, describe_workload
from lshsample.compare.measure import estimator_error
from lshsample.compare.workloads import Workload
from lshsample.errors import LshsampleError
from lshsample.metrics import sampler_recall
from lshsample.sampling import Retrieve, Top, Uniform
from lshsample.tables import HashTables

__all__ = ["test_build", "test_hash", "test_query"]


def _tables(contender: Contender, workload: Workload, settings: ComparisonSettings) -> HashTables:
    """Tables that are not built yet; the benchmark is skipped if the family refuses the workload."""
    try:
        family = contender.shapes(workload.dim, settings)[0][0]
        hashing.hash_rows(family, workload.items[:2], threads=settings.threads)
    except LshsampleError as error:
        if contender.is_to_blame(error):
            pytest.fail(f"{contender.label}: {error}", pytrace=False)
        pytest.skip(f"{contender.label}: {error}")
    return HashTables(family, threads=settings.threads)


def _describe(
    benchmark: Any, contender: Contender, tables: HashTables, workload: Workload, settings: ComparisonSettings
) -> None:
    """Store what the figures depend on."""
    family = tables.family
    benchmark.extra_info["run"] = {
        "family": contender.label,
        "n_hashes": family.n_hashes,
        "n_tables": family.n_tables,
        "n_probes": settings.probes_of(family)[0],
        "seed": settings.seed,
        **describe_workload(workload),
        **describe_machine(settings.threads, ["pytest-benchmark"]),
    }


@pytest.mark.benchmark(group="hash all items")
def test_hash(
    benchmark: Any,
    lshsample_contender: Contender,
    lshsample_workload: Workload,
    lshsample_settings: ComparisonSettings,
) -> None:
    """Time of hashing all items."""
    tables = _tables(lshsample_contender, lshsample_workload, lshsample_settings)
    _describe(benchmark, lshsample_contender, tables, lshsample_workload, lshsample_settings)
    call = functools.partial(
        hashing.hash_rows, tables.family, lshsample_workload.items, threads=lshsample_settings.threads
    )
    benchmark.pedantic(call, rounds=lshsample_settings.rounds, warmup_rounds=1)


@pytest.mark.benchmark(group="build tables of all items")
def test_build(
    benchmark: Any,
    lshsample_contender: Contender,
    lshsample_workload: Workload,
    lshsample_settings: ComparisonSettings,
) -> None:
    """Time of building the tables, hashing included."""
    tables = _tables(lshsample_contender, lshsample_workload, lshsample_settings)
    _describe(benchmark, lshsample_contender, tables, lshsample_workload, lshsample_settings)
    rounds = lshsample_settings.rounds
    benchmark.pedantic(tables.build, (lshsample_workload.items,), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["index_bytes"] = tables.memory_bytes


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
    _describe(benchmark, lshsample_contender, tables, workload, settings)
    budget = max(workload.k, workload.n_items // 20)
    retrieve = Retrieve(probes=settings.probes_of(tables.family)[0])
    sampler = (retrieve | Top(budget)).bind(tables=tables)
    sample = functools.partial(sampler.sample, workload.queries, threads=settings.threads)
    active = benchmark.pedantic(sample, rounds=settings.rounds, warmup_rounds=1)
    drawn = max(1, budget // 4)
    weighted = retrieve | Top(max(1, budget - drawn)) | Uniform(drawn)
    benchmark.extra_info.update(
        candidates=len(active.ids) / workload.n_queries,
        recall=sampler_recall(active, workload.truth_of(tables.family)),
        index_bytes=tables.memory_bytes,
        estimator_error=estimator_error(weighted, workload, settings, tables=tables),
    )
