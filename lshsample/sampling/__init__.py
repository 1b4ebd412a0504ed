"""Samplers: pipelines of small immutable stages; see :class:`Pipeline` and :class:`ActiveSet`."""

from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.batch import Batch
from lshsample.sampling.describe import Description
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.explain import Explanation, StageReport
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.maintained import MaintainedSampler
from lshsample.sampling.named import NAMED_PIPELINES, make_pipeline, named_pipeline
from lshsample.sampling.pipeline import Pipeline, SamplerStage, parse_pipeline
from lshsample.sampling.rehash import Rehash
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Stage
from lshsample.sampling.stages import (
    AtLeast,
    Cap,
    ExactTop,
    Fill,
    Frequency,
    Full,
    Include,
    Retrieve,
    Top,
    Uniform,
)
from lshsample.sampling.strategies import STRATEGIES, Background, Drift, Maintenance, Rebuild, Strategy
from lshsample.sampling.text import builtin_stages, stages

__all__ = [
    "NAMED_PIPELINES",
    "STRATEGIES",
    "ActiveSet",
    "AtLeast",
    "Background",
    "Batch",
    "Cap",
    "Description",
    "Drift",
    "ExactTop",
    "Expected",
    "Explanation",
    "Fill",
    "Frequency",
    "Full",
    "Include",
    "Inclusion",
    "MaintainedSampler",
    "Maintenance",
    "Pairs",
    "Pipeline",
    "Population",
    "Rebuild",
    "Rehash",
    "Retrieve",
    "Sampler",
    "SamplerStage",
    "Stage",
    "StageReport",
    "Strategy",
    "Top",
    "Uniform",
    "builtin_stages",
    "make_pipeline",
    "named_pipeline",
    "parse_pipeline",
    "stages",
]
