"""Sampled output layers, hash tables and samplers for PyTorch (``pip install 'lshsample[torch]'``)."""

from __future__ import annotations

from lshsample.errors import needs_extra

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise needs_extra("lshsample.torch", "torch", error) from error

from lshsample.torch.attention import SampledAttention
from lshsample.torch.convolution import SparseConv2d
from lshsample.torch.diagnosing import diagnose
from lshsample.torch.linear import SampledLinearCrossEntropy, SampledLinearSigmoid
from lshsample.torch.optim import RowAdam
from lshsample.torch.options import SamplingOptions
from lshsample.torch.retrieval import contrastive_loss
from lshsample.torch.sampler import ParameterSampler, SampledRows
from lshsample.torch.tables import TorchCandidates, TorchTables
from lshsample.torch.units import SampledConv2d, SampledFeedForward

__all__ = [
    "ParameterSampler",
    "RowAdam",
    "SampledAttention",
    "SampledConv2d",
    "SampledFeedForward",
    "SampledLinearCrossEntropy",
    "SampledLinearSigmoid",
    "SampledRows",
    "SamplingOptions",
    "SparseConv2d",
    "TorchCandidates",
    "TorchTables",
    "contrastive_loss",
    "diagnose",
]
