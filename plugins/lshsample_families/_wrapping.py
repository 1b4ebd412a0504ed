"""The inner families of wrappers: which are accepted, and those for rows with more columns."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lshsample.plugin import ArgumentError, HashFamily

__all__ = ["check_similarity", "of_width"]


def check_similarity(inner: HashFamily, wraps: Sequence[str], why: str = "") -> None:
    """Raise ArgumentError, which says ``why``, for a family whose similarity is none of ``wraps``."""
    if inner.similarity in wraps:
        return
    wanted = " or ".join([", ".join(wraps[:-1]), wraps[-1]] if len(wraps) > 1 else wraps)
    raise ArgumentError(
        "inner",
        f"{type(inner).__name__}, a family of similarity {inner.similarity!r}",
        f"a family of {wanted} similarity{why and f': {why}'}",
    )


def of_width(inner: HashFamily, dim: int) -> HashFamily:
    """The family with the same options for rows of ``dim`` columns."""
    wide: HashFamily = type(inner)(attrs.evolve(inner.spec, dim=dim))
    return wide
