"""lshsample: locality-sensitive hashing samplers, and wide networks trained and served through them.

The names and modules below are the public surface; each is imported when it is first used, so that
``import lshsample`` is cheap.
"""

from __future__ import annotations

# It and logging, which it imports, act before and after a fork, and must do both: no fork imports them.
import concurrent.futures.thread  # noqa: F401
import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What is logged is shown only where the program that uses the package asks for it.
logging.getLogger("lshsample").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    # isort: off
    from lshsample import (
        compare as compare,
        config as config,
        data as data,
        errors as errors,
        estimates as estimates,
        laws as laws,
        metrics as metrics,
        nn as nn,
        plugin as plugin,
        registry as registry,
        sampling as sampling,
        tables as tables,
        testing as testing,
        training as training,
        tuning as tuning,
    )
    from lshsample.hashing import hash_rows as hash_rows
    from lshsample.nn import (
        SGD as SGD,
        Adagrad as Adagrad,
        Adam as Adam,
        Dense as Dense,
        Input as Input,
        LearningRate as LearningRate,
        Network as Network,
        Sampled as Sampled,
        Sparse as Sparse,
    )
    from lshsample.registry import families as families, make_family as make_family
    from lshsample.sampling import (
        MIDX as MIDX,
        ActiveSet as ActiveSet,
        AtLeast as AtLeast,
        Cap as Cap,
        ExactTop as ExactTop,
        Fill as Fill,
        Frequency as Frequency,
        Full as Full,
        Include as Include,
        LogUniform as LogUniform,
        MaintainedSampler as MaintainedSampler,
        Rehash as Rehash,
        Retrieve as Retrieve,
        Top as Top,
        Uniform as Uniform,
        parse_pipeline as parse_pipeline,
    )
    from lshsample.tables import HashTables as HashTables
    from lshsample.training import (
        Callback as Callback,
        EarlyStop as EarlyStop,
        History as History,
        ProgressBar as ProgressBar,
        Trainer as Trainer,
    )
    # isort: on

#: The modules of the public surface.
_MODULES = (
    "compare",
    "config",
    "data",
    "errors",
    "estimates",
    "laws",
    "metrics",
    "nn",
    "plugin",
    "registry",
    "sampling",
    "tables",
    "testing",
    "training",
    "tuning",
)
#: The module of each public name. Type checkers read the same from the imports above; a test compares them.
_HOMES = {
    "lshsample.hashing": ("hash_rows",),
    "lshsample.registry": ("families", "make_family"),
    "lshsample.tables": ("HashTables",),
    "lshsample.sampling": (
        "MIDX",
        "ActiveSet",
        "AtLeast",
        "Cap",
        "ExactTop",
        "Fill",
        "Frequency",
        "Full",
        "Include",
        "LogUniform",
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

__all__ = sorted(["__version__", *_HOME_OF])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"lshsample.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lshsample' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def _finish_imports() -> None:
    """Before a fork: import the names above, and wait for modules that another thread is importing.

    A child would wait for ever for the import lock of a module that only a thread of its parent imports.
    """
    for module in [*_HOMES, *(name for name in list(sys.modules) if name.startswith("lshsample."))]:
        try:
            import_module(module)
        except Exception:  # a core that is not built: who uses the name is told
            return


os.register_at_fork(before=_finish_imports)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
