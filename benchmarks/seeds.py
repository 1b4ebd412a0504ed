"""Results over several seeds: as text, and as pictures."""

from typing import Any

import numpy as np

__all__ = ["pyplot", "spread"]


def spread(values: Any, form: str) -> str:
    """Mean and standard deviation of the seeds."""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form}}"


def pyplot() -> Any:
    """matplotlib's, that writes the same SVG for the same data."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lshsample"
    from matplotlib import pyplot as plt

    return plt
