"""Isotonic calibration: a rising function from the log odds that a model gives to those that come true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError

__all__ = ["Isotonic"]

Float64 = npt.NDArray[np.float64]

#: Scores of a bin, at least, and bins, at most.
_BIN, _BINS = 400, 50


def _numbers(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


@attrs.frozen(kw_only=True)
class Isotonic:
    """A rising function of log odds, linear between knots and of slope 1 outside of them.

    Attributes
    ----------
    given, true : tuple of float
        The knots, ascending: log odds as a model gives them, and what they become. Without knots nothing
        changes.

    Notes
    -----
    Isotonic regression of bins of equally many scores (Zadrozny and Elkan, "Transforming classifier scores
    into accurate multiclass probability estimates", KDD 2002), by pooling adjacent violators. Linear
    interpolation between the bins keeps the order of different scores.

    Examples
    --------
    >>> chances = np.linspace(-4, 4, 4000)
    >>> hits = np.random.default_rng(0).random(4000) < 1 / (1 + np.exp(-chances / 2))
    >>> bool(Isotonic.fit(chances, hits)(np.array([3.0]))[0] < 2)  # the model was too sure
    True
    """

    given: tuple[float, ...] = attrs.field(default=(), converter=_numbers)
    true: tuple[float, ...] = attrs.field(default=(), converter=_numbers)

    def __attrs_post_init__(self) -> None:
        given, true = np.asarray(self.given), np.asarray(self.true)
        if given.size != true.size or not ((np.diff(given) > 0).all() and (np.diff(true) > 0).all()):
            raise ArgumentError("given", f"{given.size} numbers, with {true.size}", "as many rising numbers")

    @classmethod
    def fit(cls, logits: npt.ArrayLike, hits: npt.ArrayLike) -> Self:
        """From log odds of held-out cases, and whether they came true; without knots below 800 cases."""
        x, y = np.asarray(logits, np.float64), np.asarray(hits, np.float64)
        n_bins = min(_BINS, x.size // _BIN)
        if n_bins < 2:
            return cls()
        blocks: list[Float64] = []  # sums of log odds and of hits, and cases
        for cases in np.array_split(np.argsort(x, kind="stable"), n_bins):
            block = np.array([x[cases].sum(), y[cases].sum(), len(cases)])
            while blocks and not (_knot(blocks[-1]) < _knot(block)).all():
                block = block + blocks.pop()
            blocks.append(block)
        given, true = np.array([_knot(block) for block in blocks]).T
        return cls(given=given, true=true)

    def __call__(self, logits: npt.ArrayLike) -> Float64:
        """The calibrated log odds."""
        x: Float64 = np.asarray(logits, np.float64)
        if not self.given:
            return x
        inside: Float64 = np.clip(x, self.given[0], self.given[-1])
        true: Float64 = np.interp(inside, self.given, self.true) + (x - inside)
        return true


def _knot(block: Float64) -> Float64:
    """The mean log odds of a block's cases, and the log odds of a hit, finite by half a case of each kind."""
    total, hits, cases = block
    return np.array([total / cases, np.log((hits + 0.5) / (cases - hits + 0.5))])
