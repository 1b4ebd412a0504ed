"""What the machine does at the moment: a copy and a matrix product, timed before each benchmark.

Both are NumPy's, so that they do not change with the code that is measured. Their rates turn the bytes and
the operations of a benchmark into its floor; the geometric mean of their times is the unit by which runs
compare.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sizes import sized
from threadpoolctl import ThreadpoolController

#: Beyond the caches; read once and written once.
COPIED = sized(64 << 20, 1 << 16)
SIDE = sized(512, 32)
REPEATS = sized(3, 1)


def least_seconds(call):
    """The least of several times, after one call that is not counted."""
    call()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


class Calibration:
    """The arrays of the two kernels, kept between benchmarks."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.given, self.out = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
        self.pools = ThreadpoolController()
        self.a, self.b = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32)

    def __call__(self, threads):
        """The rates on a number of threads now, and the unit of time, in seconds."""
        parts = list(zip(np.array_split(self.out, threads), np.array_split(self.given, threads), strict=True))
        with ThreadPoolExecutor(threads) as pool:
            copy = least_seconds(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
        with self.pools.limit(limits=threads):
            product = least_seconds(lambda: self.a @ self.b)
        return {
            "threads": threads,
            "bytes_per_second": 2 * COPIED / copy,
            "flop_per_second": 2 * SIDE**3 / product,
            "unit_seconds": (copy * product) ** 0.5,
        }
