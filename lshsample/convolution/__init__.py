"""Convolutions with sparse filters, directly and through Winograd's transforms, and what they cost."""

from __future__ import annotations

from lshsample.convolution.cost import METHODS, ConvolutionCost
from lshsample.convolution.filters import Filters, SparseFilters, WinogradFilters

__all__ = ["METHODS", "ConvolutionCost", "Filters", "SparseFilters", "WinogradFilters"]
