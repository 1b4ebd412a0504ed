"""Tuning: hashes, tables, probes and cap for a wanted recall, size or variance, from the laws."""

from __future__ import annotations

from lshsample.tuning.choose import tune
from lshsample.tuning.goal import Goal, Measures, Tuned

__all__ = ["Goal", "Measures", "Tuned", "tune"]
