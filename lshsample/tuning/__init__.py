"""Choosing hashes, tables, probes and a cap for a target recall, set size or error, by predictions."""

from __future__ import annotations

from lshsample.tuning.choose import tune
from lshsample.tuning.goal import Goal, Measures, Tuned

__all__ = ["Goal", "Measures", "Tuned", "tune"]
