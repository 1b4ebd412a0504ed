"""Results over several seeds: as text, and as pictures."""

from typing import Any

import numpy as np

__all__ = ["pyplot", "spread", "whole"]


def spread(values: Any, form: str) -> str:
    """Mean and standard deviation of the seeds."""
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form}}"


def whole(history: Any, *ends: str) -> Any:
    """The history of a run that ended by itself, ``"finished"`` or by one of ``ends``; a run that a signal
    stopped is no result, and ends the script.
    """
    if history.stopped not in ("finished", *ends):
        raise SystemExit(f"the run was stopped by {history.stopped}")
    return history


def pyplot() -> Any:
    """matplotlib's, that writes the same SVG for the same data."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lshsample"
    from matplotlib import pyplot as plt

    return plt
