"""Networks of dense and sampled layers: the builder, its layers, losses, optimizers and schedules.

Activations, losses, optimizers and schedules are re-exported from their modules' ``__all__``, so that a new
one is listed only there.
"""

from __future__ import annotations

from lshsample._native.coded import RowCache
from lshsample.nn import activations, losses, optimizers, schedules
from lshsample.nn.activations import *  # noqa: F403
from lshsample.nn.adaptive import AdaptiveSoftmax
from lshsample.nn.batches import Batch, FeatureRows
from lshsample.nn.dense import Dense
from lshsample.nn.exchange import ApproximateActivations, ApproximateGradients, RoundedActivations
from lshsample.nn.inputs import Input, Sparse
from lshsample.nn.layer import LAYERS, BuildContext, BuiltLayer, InputLayer, Layer, OutputLayer
from lshsample.nn.lbfgs import BatchStep, NetworkObjective, ProgressiveLBFGS
from lshsample.nn.losses import *  # noqa: F403
from lshsample.nn.names import NameTable
from lshsample.nn.network import Network, StepReport
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.optimizers import *  # noqa: F403
from lshsample.nn.parallel import DataParallel, Group
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.ranking import Ranker, Ranking
from lshsample.nn.sampled import Sampled
from lshsample.nn.schedules import *  # noqa: F403
from lshsample.nn.sharded import Sharded
from lshsample.nn.sharpness import Sharpness, sharpness
from lshsample.nn.signals import Block, LossGradient, Run
from lshsample.sampling import Rehash

__all__ = [
    "LAYERS",
    "AdaptiveSoftmax",
    "ApproximateActivations",
    "ApproximateGradients",
    "Batch",
    "BatchStep",
    "Block",
    "BuildContext",
    "BuiltLayer",
    "DataParallel",
    "Dense",
    "FeatureRows",
    "Group",
    "Input",
    "InputLayer",
    "Layer",
    "LossGradient",
    "NameTable",
    "Network",
    "NetworkObjective",
    "NetworkSpec",
    "OutputLayer",
    "Parameter",
    "ProgressiveLBFGS",
    "Ranker",
    "Ranking",
    "Rehash",
    "RoundedActivations",
    "RowCache",
    "Run",
    "Sampled",
    "Sharded",
    "Sharpness",
    "Sparse",
    "StepReport",
    "Update",
    "sharpness",
]
__all__ += activations.__all__
__all__ += losses.__all__
__all__ += optimizers.__all__
__all__ += schedules.__all__
