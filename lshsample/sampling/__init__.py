"""Samplers as pipelines of small frozen stages; see :class:`Pipeline` and :class:`ActiveSet`."""

from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.describe import Description
from lshsample.sampling.explain import Explanation, StageReport
from lshsample.sampling.maintained import MaintainedSampler
from lshsample.sampling.named import NAMED_PIPELINES, make_pipeline, named_pipeline
from lshsample.sampling.pipeline import Pipeline, parse_pipeline
from lshsample.sampling.rehash import Rehash
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Batch, SamplerStage, Stage
from lshsample.sampling.stages import AtLeast, Cap, Fill, Frequency, Full, Include, Retrieve, Top, Uniform
from lshsample.sampling.stages.exact_top import ExactTop
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
    "Explanation",
    "Fill",
    "Frequency",
    "Full",
    "Include",
    "MaintainedSampler",
    "Maintenance",
    "Pipeline",
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
