"""Optimizers over row stores, and learning-rate schedules: frozen specs with one method that works.

A parameter and its optimizer state are one array (rows, slots, columns): slot 0 is the weight, the others the
state, so that updating a row is one streak of memory. Only the rows of a gradient are touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native import optim
from lshsample.errors import ArgumentError

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "LearningRate",
    "Optimizer",
    "optimizer_from",
    "optimizer_to_dict",
]

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32] | None


@attrs.frozen(kw_only=True)
class SGD:
    """Stochastic gradient descent: ``w -= lr * g``. One number a weight."""

    slots: ClassVar[int] = 1

    def update(
        self, store: Float32, rows: Rows, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update the named rows (None for all) of a store in place.

        Parameters
        ----------
        store : (n, slots, d) float32 array
            Weights and state; changed.
        rows : (m,) int32 array or None
            Rows with a gradient, each once; None for all n.
        gradient : (m, d) float32 array
            Their gradient.
        lr : float
            Learning rate.
        step : int
            Steps so far, this one included.
        threads : int
            At most so many threads.
        """
        optim.sgd_rows(store, rows, gradient, lr, threads=threads)


@attrs.frozen(kw_only=True)
class Adagrad:
    """Adagrad (Duchi et al. 2011): ``s += g²; w -= lr * g / (sqrt(s) + eps)``. Two numbers a weight.

    Attributes
    ----------
    eps : float
        Keeps the first steps finite.
    """

    eps: float = attrs.field(default=1e-8, validator=specs.at_least(0.0))
    slots: ClassVar[int] = 2

    def update(
        self, store: Float32, rows: Rows, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update the named rows (None for all) of a store in place.

        Parameters
        ----------
        store : (n, slots, d) float32 array
            Weights and state; changed.
        rows : (m,) int32 array or None
            Rows with a gradient, each once; None for all n.
        gradient : (m, d) float32 array
            Their gradient.
        lr : float
            Learning rate.
        step : int
            Steps so far, this one included.
        threads : int
            At most so many threads.
        """
        optim.adagrad_rows(store, rows, gradient, lr, self.eps, threads=threads)


@attrs.frozen(kw_only=True)
class Adam:
    """Lazy Adam (Kingma & Ba 2015): moments of the rows with a gradient move, the others stay; bias
    correction by the global step. A step costs what it touches. Three numbers a weight.

    Attributes
    ----------
    beta1, beta2 : float
        What is kept of the moments at each step, in [0, 1).
    eps : float
        Added to the root of the second moment.
    """

    beta1: float = attrs.field(default=0.9, validator=specs.number(0.0, 1.0, open_high=True))
    beta2: float = attrs.field(default=0.999, validator=specs.number(0.0, 1.0, open_high=True))
    eps: float = attrs.field(default=1e-8, validator=specs.at_least(0.0))
    slots: ClassVar[int] = 3

    def update(
        self, store: Float32, rows: Rows, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update the named rows (None for all) of a store in place.

        Parameters
        ----------
        store : (n, slots, d) float32 array
            Weights and state; changed.
        rows : (m,) int32 array or None
            Rows with a gradient, each once; None for all n.
        gradient : (m, d) float32 array
            Their gradient.
        lr : float
            Learning rate.
        step : int
            Steps so far, this one included.
        threads : int
            At most so many threads.
        """
        optim.adam_rows(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads=threads)


Optimizer = SGD | Adagrad | Adam
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adagrad": Adagrad, "adam": Adam}


def optimizer_from(value: Optimizer | str | Mapping[str, Any]) -> Optimizer:
    """An optimizer from itself, its name, or plain data with its name under ``"optimizer"``."""
    if isinstance(value, Optimizer):
        return value
    options: dict[str, Any] = {"optimizer": value} if isinstance(value, str) else {}
    if isinstance(value, Mapping):
        options = dict(value)
    name = options.pop("optimizer", None)
    if name not in OPTIMIZERS:
        raise ArgumentError("optimizer", repr(value), f"one of {', '.join(OPTIMIZERS)} or an instance of one")
    return specs.from_dict(OPTIMIZERS[name], options)


def optimizer_to_dict(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer as plain data."""
    names = {cls: name for name, cls in OPTIMIZERS.items()}
    return {"optimizer": names[type(optimizer)], **specs.to_dict(optimizer)}


_KINDS = ("constant", "linear", "cosine")


@attrs.frozen
class LearningRate:
    """A factor on the learning rate over the run's steps.

    Attributes
    ----------
    kind : str
        ``"constant"``, ``"linear"`` (down to ``final`` at the end) or ``"cosine"``.
    warmup : int
        Steps over which it rises linearly from 0 first.
    final : float
        The factor at the end of ``"linear"`` and ``"cosine"``.

    Examples
    --------
    >>> [round(LearningRate("linear", warmup=2).factor(step, 6), 2) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    kind: str = attrs.field(default="linear", validator=specs.one_of(*_KINDS))
    warmup: int = attrs.field(default=0, validator=specs.integer(0), kw_only=True)
    final: float = attrs.field(default=0.0, validator=specs.number(0.0, 1.0), kw_only=True)

    @classmethod
    def of(cls, value: LearningRate | str | Mapping[str, Any]) -> LearningRate:
        """A schedule from itself, its kind, or plain data."""
        if isinstance(value, LearningRate):
            return value
        if isinstance(value, Mapping):
            return specs.from_dict(cls, value)
        if value not in _KINDS:
            wanted = f"one of {', '.join(_KINDS)}, or a LearningRate"
            raise ArgumentError("schedule", repr(value), wanted)
        return cls(value)

    def factor(self, step: int, total: int) -> float:
        """The factor, 0 to 1, at ``step`` (from 1) of ``total`` steps."""
        if step <= self.warmup:
            return step / self.warmup
        if self.kind == "constant":
            return 1.0
        done = (step - self.warmup - 1) / max(total - self.warmup, 1)
        shape = 1.0 - done if self.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        return self.final + (1.0 - self.final) * max(shape, 0.0)
