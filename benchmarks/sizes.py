"""Sizes of the benchmarks, or small ones with ``--smoke``, by which a test shows that they still run."""

#: Set by ``--smoke``, before the benchmarks are imported.
SMOKE = False


def sized(full, smoke):
    """The size of a benchmark: ``smoke`` with ``--smoke``."""
    return smoke if SMOKE else full


def rounds(full):
    """The number of rounds: one with ``--smoke``."""
    return sized(full, 1)
