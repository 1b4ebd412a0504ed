"""Networks of dense and sampled layers: the builder, its layers, losses, optimizers and schedules."""

from __future__ import annotations

from lshsample.nn.activations import ACTIVATIONS, Activation, Linear, Relu, Tanh
from lshsample.nn.batches import Batch, FeatureRows
from lshsample.nn.dense import Dense
from lshsample.nn.inputs import Input, Sparse
from lshsample.nn.layer import LAYERS, BuildContext, BuiltLayer, InputLayer, Layer, OutputLayer
from lshsample.nn.losses import LOSSES, Logits, Loss, Sigmoid, Softmax, loss_in_parts
from lshsample.nn.names import NameTable
from lshsample.nn.network import Network, StepReport
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, Optimizer
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.sampled import Sampled
from lshsample.nn.schedules import SCHEDULES, LearningRate, Schedule
from lshsample.nn.signals import Block, LossGradient, Run
from lshsample.sampling import Rehash

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "Batch",
    "Block",
    "BuildContext",
    "BuiltLayer",
    "Dense",
    "FeatureRows",
    "Input",
    "InputLayer",
    "Layer",
    "LearningRate",
    "Linear",
    "Logits",
    "Loss",
    "LossGradient",
    "NameTable",
    "Network",
    "NetworkSpec",
    "Optimizer",
    "OutputLayer",
    "Parameter",
    "Rehash",
    "Relu",
    "Run",
    "Sampled",
    "Schedule",
    "Sigmoid",
    "Softmax",
    "Sparse",
    "StepReport",
    "Tanh",
    "Update",
    "loss_in_parts",
]
