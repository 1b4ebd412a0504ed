"""The built-in stages with their laws, one per module."""

from __future__ import annotations

from lshsample.sampling.stages.at_least import AtLeast
from lshsample.sampling.stages.cap import Cap
from lshsample.sampling.stages.exact_top import ExactTop
from lshsample.sampling.stages.fill import Fill
from lshsample.sampling.stages.frequency import Frequency, LogUniform
from lshsample.sampling.stages.full import Full
from lshsample.sampling.stages.include import Include
from lshsample.sampling.stages.midx import MIDX
from lshsample.sampling.stages.retrieve import Retrieve
from lshsample.sampling.stages.top import Top
from lshsample.sampling.stages.uniform import Uniform

__all__ = [
    "MIDX",
    "AtLeast",
    "Cap",
    "ExactTop",
    "Fill",
    "Frequency",
    "Full",
    "Include",
    "LogUniform",
    "Retrieve",
    "Top",
    "Uniform",
]
