"""Samplers: pipelines of small immutable stages; see :class:`Pipeline` and :class:`ActiveSet`.

The stages are exported as their folder lists them, so that a new one is listed once.
"""

from lshsample.sampling import stages as _built_in
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
from lshsample.sampling.stages import *  # noqa: F403
from lshsample.sampling.strategies import (
    STRATEGIES,
    Background,
    Drift,
    Maintenance,
    Rebuild,
    Sliced,
    Strategy,
)
from lshsample.sampling.text import builtin_stages, stages

__all__ = [
    "NAMED_PIPELINES",
    "STRATEGIES",
    "ActiveSet",
    "Background",
    "Batch",
    "Description",
    "Drift",
    "Expected",
    "Explanation",
    "Inclusion",
    "MaintainedSampler",
    "Maintenance",
    "Pairs",
    "Pipeline",
    "Population",
    "Rebuild",
    "Rehash",
    "Sampler",
    "SamplerStage",
    "Sliced",
    "Stage",
    "StageReport",
    "Strategy",
    "builtin_stages",
    "make_pipeline",
    "named_pipeline",
    "parse_pipeline",
    "stages",
]
__all__ += _built_in.__all__
