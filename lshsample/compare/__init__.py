"""Comparisons of hash families on one workload: time, memory, recall and estimator error."""

from __future__ import annotations

from lshsample.compare.measure import ComparisonSettings, Contender, Figures, compare
from lshsample.compare.workloads import Workload

__all__ = ["ComparisonSettings", "Contender", "Figures", "Workload", "compare"]
