"""Comparisons of hash families on one workload: time, memory, recall and estimator error."""

from __future__ import annotations

from lshsample.compare.contenders import ComparisonSettings, Contender
from lshsample.compare.measure import Figures, Plan, Point, Timing, compare, plan
from lshsample.compare.workloads import Workload

__all__ = [
    "ComparisonSettings",
    "Contender",
    "Figures",
    "Plan",
    "Point",
    "Timing",
    "Workload",
    "compare",
    "plan",
]
