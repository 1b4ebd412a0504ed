"""Optimizers over parameters whose state is interleaved by row: frozen values with one method that works.

A row of a parameter is its slots one after another: slot 0 the weights, the others the optimizer's state, so
that an update of a row reads and writes one piece of memory. Only the rows of a gradient are touched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native import optim
from lshsample._native.slots import Slots
from lshsample.nn.names import NameTable

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "Optimizer"]

Float32 = npt.NDArray[np.float32]
RowIds = npt.NDArray[np.int32] | None


class Optimizer(ABC):
    """Base class of optimizers.

    An optimizer is a frozen attrs class of plain values; its state lies beside the weights. An instance can
    be given to a :class:`~lshsample.Trainer`. Give the class a name, ``OPTIMIZERS.add("name")``, to write
    checkpoints of a run.
    """

    #: Values kept for each weight, the weight itself included.
    slots: ClassVar[int]

    @abstractmethod
    def update(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update the named rows (None for all) of a parameter in place.

        Parameters
        ----------
        store : Slots
            Weights and state, which is 0 before the first step; changed. ``store.weights`` and
            ``store.slot(i)``, for i from 1, are views (n, d) of them.
        rows : (m,) int32 array or None
            Rows with a gradient, each once; None for all n.
        gradient : (m, d) float32 array
            Their gradient.
        lr : float
            Learning rate.
        step : int
            Steps so far, this one included.
        threads : int
            Threads; the result may not depend on it.
        """

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """:meth:`update` for arguments that are known to be right, as those of a network are; by default the
        same.
        """
        self.update(store, rows, gradient, lr, step, threads)


#: Optimizers by the names that files and the command line use.
OPTIMIZERS: NameTable[Optimizer] = NameTable("optimizer", Optimizer)


@OPTIMIZERS.add("sgd")
@attrs.frozen(kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``w -= lr * g``. One number a weight."""

    slots = 1

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; an array (n, slots, d) of float32 is taken too."""
        optim.sgd_rows(store, rows, gradient, lr, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.sgd_unchecked(store, rows, gradient, lr, threads)


@OPTIMIZERS.add("adagrad")
@attrs.frozen(kw_only=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): ``s += g²; w -= lr * g / (sqrt(s) + eps)``. Two numbers a weight.

    Attributes
    ----------
    eps : float
        Keeps the first steps finite.
    """

    eps: float = attrs.field(default=1e-8, validator=specs.at_least(0.0))
    slots = 2

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; an array (n, slots, d) of float32 is taken too."""
        optim.adagrad_rows(store, rows, gradient, lr, self.eps, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.adagrad_unchecked(store, rows, gradient, lr, self.eps, threads)


@OPTIMIZERS.add("adam")
@attrs.frozen(kw_only=True)
class Adam(Optimizer):
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
    slots = 3

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; an array (n, slots, d) of float32 is taken too."""
        optim.adam_rows(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.adam_unchecked(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads)
