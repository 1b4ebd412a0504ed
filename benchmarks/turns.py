"""Timing of two functions in turns, so that a slow phase of the machine affects both."""

import time

import numpy as np
from sizes import rounds as sized_rounds


def in_turns(benchmark, ours, peer, rounds, scale=1.0, *, against):
    """Time ``ours`` with the fixture, and ``peer`` before each of its rounds.

    ``extra_info`` gets ``peer``, the text ``against`` that names the peer with its settings; ``peer_ms``, the
    median of the peer for as much work; and ``ratio_quartiles``, the quartiles of the ratio of peer to ours
    in each turn. The peer does a part of the work, of which the whole is ``scale`` times as much. A pause
    ensures that spinning threads of the peer (of OpenMP) are asleep.
    """
    rounds, times = sized_rounds(rounds), []

    def turn():
        begin = time.perf_counter()
        peer()
        times.append(time.perf_counter() - begin)
        time.sleep(0.05)

    benchmark.pedantic(ours, setup=turn, rounds=rounds, warmup_rounds=2)
    times = scale * np.array(times[-rounds:])
    benchmark.extra_info["peer"] = against
    benchmark.extra_info["peer_ms"] = 1e3 * float(np.median(times))
    ratios = times / benchmark.stats.stats.data
    benchmark.extra_info["ratio_quartiles"] = np.percentile(ratios, [25, 50, 75]).round(2).tolist()
