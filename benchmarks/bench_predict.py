"""Exact prediction of a batch through 8-bit bounds, in turns with all scores in float32.

``pytest benchmarks/bench_predict.py --benchmark-only`` runs it, on 2 threads. The results are the same, to
the bit; ``extra_info`` has the labels of a row that were scored in float32, and the milliseconds that making
the 8-bit copy took. ``test_like_a_trained_layer`` has an order in which most of the copy is not read: a part
of the rows of weights has larger norms than the others, and rows of input have a large mean.
"""

import time

import numpy as np
import pytest
from sizes import sized
from turns import in_turns

from lshsample._native import layers
from lshsample._native.byterows import ByteRows

THREADS, ROWS = 2, 256


@pytest.mark.benchmark(group="exact top 5 through 8-bit bounds, in turns with float32")
@pytest.mark.parametrize(("labels", "hidden"), [(670_091, 128), (21_000, 1024)])
def test_batch(benchmark, labels, hidden):
    rng, labels = np.random.default_rng(0), sized(labels, 1000)
    weights = rng.standard_normal((labels, hidden), np.float32)
    # Rows near some labels, as those of a trained layer are.
    near = weights[rng.integers(0, labels, (ROWS, 5))].sum(axis=1)
    h = np.maximum(near + rng.standard_normal((ROWS, hidden), np.float32), 0)
    began = time.perf_counter()
    copy = ByteRows(weights, None, threads=THREADS)
    benchmark.extra_info["copy_ms"] = round(1e3 * (time.perf_counter() - began), 1)
    ids, scores, scored = copy.top_k(h, 5)
    for found, wanted in zip((ids, scores), layers.top_k(h, weights, None, 5), strict=True):
        np.testing.assert_array_equal(found, wanted)
    benchmark.extra_info["scored"] = scored / ROWS
    benchmark.extra_info["bytes"] = labels * hidden + 4 * hidden * scored
    in_turns(
        benchmark,
        lambda: copy.top_k(h, 5, threads=THREADS),
        lambda: layers.top_k(h, weights, None, 5, threads=THREADS),
        rounds=9,
        against="all scores in float32, the same results",
    )


@pytest.mark.parametrize("rows", [1, 256])
@pytest.mark.parametrize("top", [1, 5])
def test_like_a_trained_layer(benchmark, rows, top):
    benchmark.group = (
        f"top {top} of {rows} rows through ordered 8-bit bounds, in turns with float32 (peer_ms)"
    )
    rng, labels, hidden = np.random.default_rng(0), sized(670_091, 1000), 128
    weights = rng.standard_normal((labels, hidden), np.float32) / np.float32(np.sqrt(hidden))
    trained = rng.integers(0, labels, labels // 50)
    weights[trained] *= rng.uniform(1, 4, (len(trained), 1)).astype(np.float32)
    h = np.abs(rng.standard_normal((1024, hidden), np.float32))
    h += 1.2 * np.maximum(weights[rng.choice(trained, 1024)], 0)
    copy, h = ByteRows(weights, None, like=h, threads=THREADS), h[:rows]
    ids, scores, scored = copy.top_k(h, top)
    for found, wanted in zip((ids, scores), layers.top_k(h, weights, None, top), strict=True):
        np.testing.assert_array_equal(found, wanted)
    benchmark.extra_info["scored"] = scored / rows
    in_turns(
        benchmark,
        lambda: copy.top_k(h, top, threads=THREADS),
        lambda: layers.top_k(h, weights, None, top, threads=THREADS),
        rounds=9,
        against="all scores in float32, the same results",
    )
