"""Optimizers over parameters whose state is interleaved by row: frozen values with one method that works.

A parameter and its optimizer state are one array (rows, slots, columns): slot 0 is the weight, the others the
state, so that an update of a row reads and writes one piece of memory. Only the rows of a gradient are
touched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native import optim
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
        self, store: Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update the named rows (None for all) of a parameter in place.

        Parameters
        ----------
        store : (n, slots, d) float32 array
            Weights and state, which is 0 before the first step; changed.
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


#: Optimizers by the names that files and the command line use.
OPTIMIZERS: NameTable[Optimizer] = NameTable("optimizer", Optimizer)


@OPTIMIZERS.add("sgd")
@attrs.frozen(kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``w -= lr * g``. One number a weight."""

    slots = 1

    def update(
        self, store: Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`."""
        optim.sgd_rows(store, rows, gradient, lr, threads=threads)


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
        self, store: Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`."""
        optim.adagrad_rows(store, rows, gradient, lr, self.eps, threads=threads)


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
        self, store: Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`."""
        optim.adam_rows(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads=threads)
