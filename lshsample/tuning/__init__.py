"""Choosing hashes, tables and probes: for a recall, size or error by predictions; for a layer by its P@1."""

from __future__ import annotations

from lshsample.tuning.choose import tune
from lshsample.tuning.goal import Goal, Measures, Tuned
from lshsample.tuning.layer import LayerMeasures, TunedLayer, tune_layer

__all__ = ["Goal", "LayerMeasures", "Measures", "Tuned", "TunedLayer", "tune", "tune_layer"]
