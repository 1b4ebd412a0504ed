"""Prediction row by row through tables, in turns with exact prediction, on a trained network.

``LSHSAMPLE_MODEL=run/ LSHSAMPLE_DATA=test.txt.gz pytest benchmarks/bench_serve.py --benchmark-only`` runs it,
on 2 threads, over the first 200 rows of the data. ``extra_info`` has P@1 of both, and the time to read
every weight once, which is the lower bound for exact prediction of a single row.
"""

import os

import pytest
from turns import in_turns

from lshsample import HashTables, Network, data, make_family, parse_pipeline

MODEL, DATA = os.environ.get("LSHSAMPLE_MODEL"), os.environ.get("LSHSAMPLE_DATA")
N_ROWS, THREADS = 200, 2
CROSS_POLYTOPE = {"n_hashes": 2, "dimension": 64, "n_tables": 50}

pytestmark = pytest.mark.skipif(not (MODEL and DATA), reason="LSHSAMPLE_MODEL and LSHSAMPLE_DATA are not set")


@pytest.fixture(scope="module")
def served():
    network, rows = Network.load(MODEL), data.load(DATA).take(slice(0, N_ROWS))
    network.predict(rows.x, threads=THREADS)
    units = network.output.unit_vectors()
    family = make_family("cross-polytope", dim=units.shape[1], **CROSS_POLYTOPE)
    return network, rows, HashTables(family, threads=THREADS).build(units)


@pytest.mark.benchmark(group="20 single rows through tables, in turns with exact prediction")
@pytest.mark.parametrize("pipeline", [f"Retrieve(probes={n})" for n in (4, 8, 16, 32)])
def test_one_row(benchmark, served, pipeline):
    network, rows, tables = served
    sampler = parse_pipeline(pipeline).bind(tables=tables)
    ways = {"sampled": {"mode": "sampled", "sampler": sampler}, "exact": {"mode": "exact"}}
    for way, options in ways.items():
        benchmark.extra_info[f"{way} p@1"] = network.evaluate(rows.x, rows.y, (1,), **options)["p@1"]
    queries = [rows.x[[row]] for row in range(20)]

    def run(options):
        return lambda: [network.predict(row, threads=THREADS, **options) for row in queries]

    exact = "exact prediction of the same single rows"
    in_turns(benchmark, run(ways["sampled"]), run(ways["exact"]), rounds=9, against=exact)
    benchmark.extra_info["ms_a_row"] = round(1e3 * benchmark.stats.stats.median / len(queries), 2)
    benchmark.extra_info["floor_mb_exact"] = network.output.unit_vectors().size * 4 >> 20
