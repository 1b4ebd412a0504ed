"""Two things timed in turns, so that a slow minute of the machine hits both."""

import time

import numpy as np


def in_turns(benchmark, ours, peer, rounds, scale=1.0):
    """Times ``ours`` with the fixture and ``peer`` before each round of it.

    ``extra_info`` gets ``peer_ms``, the peer's median, and ``ratio_quartiles``, of the peer over ours,
    turn by turn, times ``scale`` where the two do different amounts of work. A pause lets threads that the
    peer leaves spinning, as OpenMP's do, go to sleep.
    """
    times = []

    def turn():
        begin = time.perf_counter()
        peer()
        times.append(time.perf_counter() - begin)
        time.sleep(0.05)

    benchmark.pedantic(ours, setup=turn, rounds=rounds, warmup_rounds=2)
    times = np.array(times[-rounds:])
    benchmark.extra_info["peer_ms"] = round(1e3 * float(np.median(times)), 2)
    ratios = scale * times / benchmark.stats.stats.data
    benchmark.extra_info["ratio_quartiles"] = np.percentile(ratios, [25, 50, 75]).round(2).tolist()
