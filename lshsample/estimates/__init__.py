"""Estimates of sums over all items from samples with known inclusion probabilities, with standard errors."""

from lshsample.estimates.attention import KERNELS, attention, kernel_density
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.lgd import GradientSampler
from lshsample.estimates.samples import DrawOptions, Samples, draw_samples
from lshsample.estimates.softmax import (
    LossGradient,
    log_partition_function,
    partition_function,
    sigmoid_gradient,
    softmax_gradient,
)
from lshsample.estimates.sums import horvitz_thompson, self_normalised, sum_by_tables

__all__ = [
    "KERNELS",
    "DrawOptions",
    "Estimate",
    "GradientSampler",
    "LossGradient",
    "Samples",
    "attention",
    "draw_samples",
    "horvitz_thompson",
    "kernel_density",
    "log_partition_function",
    "partition_function",
    "self_normalised",
    "sigmoid_gradient",
    "softmax_gradient",
    "sum_by_tables",
]
