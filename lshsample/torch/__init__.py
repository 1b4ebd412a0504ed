"""Sampled output layers for PyTorch, and samplers over its tensors (``pip install 'lshsample[torch]'``)."""

from __future__ import annotations

from lshsample.errors import LshsampleError

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    needed = "pip install 'lshsample[torch]'"
    raise LshsampleError(f"lshsample.torch needs {needed} ({error.name} is missing)") from error

from lshsample.torch.linear import SampledLinearCrossEntropy, SampledLinearSigmoid
from lshsample.torch.optim import RowAdam
from lshsample.torch.options import SamplingOptions
from lshsample.torch.retrieval import contrastive_loss
from lshsample.torch.sampler import ParameterSampler, SampledRows

__all__ = [
    "ParameterSampler",
    "RowAdam",
    "SampledLinearCrossEntropy",
    "SampledLinearSigmoid",
    "SampledRows",
    "SamplingOptions",
    "contrastive_loss",
]
