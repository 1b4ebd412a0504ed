"""The active units of a sampled layer: its family, its tables, and the pipeline over them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.nn.signals import Run
from lshsample.nn.specs import LOSSES, Sampled
from lshsample.plugin import HashFamily
from lshsample.registry import make_family
from lshsample.tables import HashTables

__all__ = ["ActiveUnits"]
