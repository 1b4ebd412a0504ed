"""The inner families of wrappers: which are accepted, and those for rows with more columns."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lshsample.plugin import ArgumentError, HashFamily, WrapperFamily

__all__ = ["check_hashes_rows_as_they_are", "check_similarity", "of_width"]


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


def check_hashes_rows_as_they_are(inner: HashFamily) -> None:
    """Raise ArgumentError for a wrapper that transforms rows: its law is one of the transformed rows."""
    if not isinstance(inner, WrapperFamily):
        return
    cls = type(inner)
    if cls.transform is WrapperFamily.transform and cls.transform_query is WrapperFamily.transform_query:
        return
    wanted = "a family that hashes rows as they are: the law needs the similarity of the augmented rows"
    raise ArgumentError("inner", f"{cls.__name__}, which transforms rows", wanted)


def of_width(inner: HashFamily, dim: int) -> HashFamily:
    """The family with the same options for rows of ``dim`` columns."""
    wide: HashFamily = type(inner)(attrs.evolve(inner.spec, dim=dim))
    return wide
