"""Named pipelines, sized by the number of active ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lshsample.errors import ArgumentError
from lshsample.sampling.pipeline import Pipeline, parse_pipeline
from lshsample.sampling.stage import Stage
from lshsample.sampling.stages import AtLeast, ExactTop, Full, Include, Retrieve, Top, Uniform
from lshsample.specs import checked_integer

__all__ = ["NAMED_PIPELINES", "make_pipeline", "named_pipeline"]


def _share(n: int) -> tuple[int, int]:
    """Ids found and ids drawn uniformly: a quarter is found. Trained without correction, this ranked the
    first label as well as three quarters did, or better; uniform draws also bound the importance weights.
    """
    found = max(n // 4, 1)
    return found, max(n - found, 1)


def _lsh(n: int) -> Pipeline:
    found, drawn = _share(n)
    return Retrieve() | Top(found) | Include() | Uniform(drawn)


def _uniform(n: int) -> Pipeline:
    return Include() | Uniform(n)


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


#: Name to a function of the number of active ids.
NAMED_PIPELINES: Mapping[str, Callable[[int], Pipeline]] = {
    "lsh": _lsh,
    "uniform": _uniform,
    "exact-top": _exact_top,
    "full": _full,
    "slide-vanilla": _slide_vanilla,
    "slide-topk": _slide_topk,
    "slide-threshold": _slide_threshold,
}


def named_pipeline(name: str, *, n_active: int, n_items: int) -> Pipeline:
    """A pipeline by name, for about so many active ids.

    Parameters
    ----------
    name : str
        ``lsh``: the ids that collided most for a quarter of the budget, the true labels, and uniform draws,
        which give every item a probability given the tables. ``uniform``: true labels and uniform draws.
        ``exact-top``: as ``lsh``, with the oracle in place of the tables. ``full``: every item.
        ``slide-vanilla``, ``slide-topk``, ``slide-threshold``: SLIDE's three strategies (Chen et al., MLSys
        2020), in which items have probability 0 given the tables.
    n_active : int
        Ids wanted per query, or per batch if pooled; with as many as there are items every name gives
        ``full``. ``slide-threshold`` takes what collides twice, however many.
    n_items : int
        Number of items.

    Raises
    ------
    ArgumentError
        No such name, or sizes below 1.

    Examples
    --------
    >>> named_pipeline("lsh", n_active=4096, n_items=670_091)
    Retrieve() | Top(1024) | Include() | Uniform(3072)
    """
    if name not in NAMED_PIPELINES:
        raise ArgumentError(
            "sampler", repr(name), f"one of {', '.join(NAMED_PIPELINES)}, or a pipeline's text"
        )
    for argument, value in (("n_active", n_active), ("n_items", n_items)):
        checked_integer(argument, value, 1)
    return NAMED_PIPELINES["full" if n_active >= n_items else name](n_active)


def make_pipeline(
    text: str, *, n_active: int, n_items: int, stages: Mapping[str, type[Stage]] | None = None
) -> Pipeline:
    """A pipeline from a name or from its text: what options and configuration files take.

    Parameters
    ----------
    text : str
        One of ``NAMED_PIPELINES``, or stages as :func:`parse_pipeline` takes them.
    n_active, n_items : int
        The size of a named pipeline; see :func:`named_pipeline`.
    stages : mapping of str to Stage class, optional
        Custom stages, beside the built-in ones.

    Examples
    --------
    >>> make_pipeline("uniform", n_active=10, n_items=100)
    Include() | Uniform(10)
    >>> make_pipeline("Retrieve() | Cap(5)", n_active=10, n_items=100)
    Retrieve() | Cap(5)
    """
    if "(" in text:
        return parse_pipeline(text, stages)
    return named_pipeline(text.strip(), n_active=n_active, n_items=n_items)
