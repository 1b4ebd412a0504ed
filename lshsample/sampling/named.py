"""Named pipelines, for a given number of active ids."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from lshsample.errors import ArgumentError, did_you_mean
from lshsample.sampling.pipeline import Pipeline, parse_pipeline
from lshsample.sampling.stage import Stage
from lshsample.sampling.stages import (
    MIDX,
    AtLeast,
    ExactTop,
    Frequency,
    Full,
    Include,
    LogUniform,
    Retrieve,
    Top,
    Uniform,
)
from lshsample.sampling.text import stages as all_stages
from lshsample.specs import checked_integer

__all__ = ["NAMED_PIPELINES", "make_pipeline", "named_pipeline"]


def _share(n: int) -> tuple[int, int]:
    """Numbers of retrieved and of uniformly drawn ids: a quarter is retrieved. Trained without correction,
    this gave at least the P@1 of three quarters; uniform draws also bound the importance weights.
    """
    found = max(n // 4, 1)
    return found, max(n - found, 1)


def _lsh(n: int) -> Pipeline:
    found, drawn = _share(n)
    return Retrieve() | Top(found) | Include() | Uniform(drawn)


def _lsh_frequency(n: int) -> Pipeline:
    found, drawn = _share(n)
    return Retrieve() | Top(found) | Include() | Frequency(drawn, power=0.75)


def _uniform(n: int) -> Pipeline:
    return Include() | Uniform(n)


def _frequency(n: int) -> Pipeline:
    return Include() | Frequency(n, power=0.75)


def _log_uniform(n: int) -> Pipeline:
    return Include() | LogUniform(n)


def _midx(n: int) -> Pipeline:
    return Include() | MIDX(n)


def _exact_top(n: int) -> Pipeline:
    found, drawn = _share(n)
    return ExactTop(found) | Include() | Uniform(drawn)


def _full(n: int) -> Pipeline:
    return Pipeline((Full(),))


def _slide_vanilla(n: int) -> Pipeline:
    return Retrieve(budget=n) | Include()


def _slide_topk(n: int) -> Pipeline:
    return Retrieve() | Top(n) | Include()


def _slide_threshold(n: int) -> Pipeline:
    return Retrieve() | AtLeast(2) | Include()


#: Functions of the number of active ids, by name.
NAMED_PIPELINES: Mapping[str, Callable[[int], Pipeline]] = {
    "lsh": _lsh,
    "lsh-frequency": _lsh_frequency,
    "uniform": _uniform,
    "frequency": _frequency,
    "log-uniform": _log_uniform,
    "midx": _midx,
    "exact-top": _exact_top,
    "full": _full,
    "slide-vanilla": _slide_vanilla,
    "slide-topk": _slide_topk,
    "slide-threshold": _slide_threshold,
}


def named_pipeline(name: str, *, n_active: int, n_items: int) -> Pipeline:
    """A pipeline by name, for a given number of active ids.

    Parameters
    ----------
    name : str
        ``lsh``: a quarter of the budget for the ids with the most collisions, the true labels, and uniform
        draws, which make every item possible given the tables. ``lsh-frequency``: the same with the draws
        of ``frequency``. ``uniform``: true labels and uniform draws.
        ``frequency``: true labels and draws in proportion to frequency^0.75, as in word2vec.
        ``log-uniform``: true labels and draws that are log-uniform in the rank by frequency.
        ``midx``: true labels and draws from a softmax over quantized items, for tables of a family with
        codebooks (``product-quantization``).
        ``exact-top``: as ``lsh``, with exact search instead of tables. ``full``: every item.
        ``slide-vanilla``, ``slide-topk``, ``slide-threshold``: SLIDE's three strategies (Chen et al., MLSys
        2020), in which items have probability 0 given the tables.
    n_active : int
        Number of ids per query, or per batch if pooled; if it is at least ``n_items`` every name gives
        ``full``. ``slide-threshold`` ignores it: its ids are all that collide twice.
    n_items : int
        Number of items.

    Raises
    ------
    ArgumentError
        Unknown name, or sizes below 1.

    Examples
    --------
    >>> named_pipeline("lsh", n_active=4096, n_items=670_091)
    Retrieve() | Top(1024) | Include() | Uniform(3072)
    """
    if name not in NAMED_PIPELINES:
        raise ArgumentError(
            "sampler",
            repr(name),
            f"one of {', '.join(NAMED_PIPELINES)}, or a pipeline as text such as 'Retrieve() | Cap(100)'"
            f"{did_you_mean(name, NAMED_PIPELINES)}",
        )
    for argument, value in (("n_active", n_active), ("n_items", n_items)):
        checked_integer(argument, value, 1)
    return NAMED_PIPELINES["full" if n_active >= n_items else name](n_active)


def make_pipeline(
    text: str, *, n_active: int, n_items: int, stages: Mapping[str, type[Stage]] | None = None
) -> Pipeline:
    """A pipeline from a name or from its text, as in options and configuration files.

    Parameters
    ----------
    text : str
        One of ``NAMED_PIPELINES``, or stages in the syntax of :func:`parse_pipeline`.
    n_active, n_items : int
        The size of a named pipeline; see :func:`named_pipeline`.
    stages : mapping of str to Stage class, optional
        Custom stages, in addition to the built-in ones.

    Warns
    -----
    UserWarning
        A named pipeline other than ``full`` whose ``n_active`` covers all items, so that it samples nothing.

    Examples
    --------
    >>> make_pipeline("uniform", n_active=10, n_items=100)
    Include() | Uniform(10)
    >>> make_pipeline("Retrieve() | Cap(5)", n_active=10, n_items=100)
    Retrieve() | Cap(5)
    """
    if not isinstance(text, str):
        raise ArgumentError("sampler", repr(text), "the name of a pipeline, or a pipeline as text")
    if "(" in text or "|" in text or text.strip() in all_stages() | dict(stages or {}):
        return parse_pipeline(text, stages)
    name = text.strip()
    pipeline = named_pipeline(name, n_active=n_active, n_items=n_items)
    if n_active >= n_items and name != "full":
        warnings.warn(
            f"sampler {name!r} with n_active={n_active} for {n_items} items samples nothing: all of them are "
            f"active, as with 'full'; to sample, set n_active below {n_items}",
            stacklevel=2,
        )
    return pipeline
