"""lshsample: locality-sensitive hashing samplers, and wide networks trained and served through them.

The names below are the public surface; each is imported when it is first used, so that ``import lshsample``
is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lshsample.hashing import hash_rows
    from lshsample.nn import SGD, Adagrad, Adam, Dense, Input, LearningRate, Network, Sampled, Sparse
    from lshsample.registry import families, make_family
    from lshsample.sampling import (
        ActiveSet,
        AtLeast,
        Cap,
        ExactTop,
        Fill,
        Frequency,
        Full,
        Include,
        MaintainedSampler,
        Rehash,
        Retrieve,
        Top,
        Uniform,
        parse_pipeline,
    )
    from lshsample.tables import HashTables
    from lshsample.training import Callback, EarlyStop, History, ProgressBar, Trainer

_HOMES = {
    "lshsample.hashing": ("hash_rows",),
    "lshsample.registry": ("families", "make_family"),
    "lshsample.tables": ("HashTables",),
    "lshsample.sampling": (
        "ActiveSet",
        "AtLeast",
        "Cap",
        "ExactTop",
        "Fill",
        "Frequency",
        "Full",
        "Include",
        "MaintainedSampler",
        "Rehash",
        "Retrieve",
        "Top",
        "Uniform",
        "parse_pipeline",
    ),
    "lshsample.nn": (
        "SGD",
        "Adagrad",
        "Adam",
        "Dense",
        "Input",
        "LearningRate",
        "Network",
        "Sampled",
        "Sparse",
    ),
    "lshsample.training": ("Callback", "EarlyStop", "History", "ProgressBar", "Trainer"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SGD", "ActiveSet", "Adagrad", "Adam", "AtLeast", "Callback", "Cap", "Dense", "EarlyStop", "ExactTop",
    "Fill", "Frequency", "Full", "HashTables", "History", "Include", "Input", "LearningRate",
    "MaintainedSampler", "Network", "ProgressBar", "Rehash", "Retrieve", "Sampled", "Sparse", "Top",
    "Trainer", "Uniform", "__version__", "families", "hash_rows", "make_family", "parse_pipeline",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lshsample' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
