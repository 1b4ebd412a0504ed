"""Networks of dense and sampled layers: the builder, its layers, optimizers and schedules."""

from __future__ import annotations

from lshsample.nn.network import Network
from lshsample.nn.optimizers import SGD, Adagrad, Adam, LearningRate
from lshsample.nn.specs import Dense, Input, NetworkSpec, Sampled, Sparse
from lshsample.sampling import Rehash

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Dense",
    "Input",
    "LearningRate",
    "Network",
    "NetworkSpec",
    "Rehash",
    "Sampled",
    "Sparse",
]
