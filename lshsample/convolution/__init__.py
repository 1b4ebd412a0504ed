"""Convolutions with sparse filters, directly and through Winograd's transforms, and what they cost."""

from __future__ import annotations

from lshsample.convolution.cost import METHODS, ConvolutionCost
from lshsample.convolution.filters import SparseFilters, WinogradFilters

__all__ = ["METHODS", "ConvolutionCost", "SparseFilters", "WinogradFilters"]
