"""Optimizers of parameters whose optimizer state is interleaved by row.

A row of a parameter is its slots one after another: slot 0 holds the weights, the others the optimizer's
state, so that the update of a row reads and writes contiguous memory. Only rows with a gradient are updated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native import optim
from lshsample._native.coded import CodedRows, CodedStep
from lshsample._native.slots import Slots
from lshsample._native.unchecked import RowSums
from lshsample.errors import UnsupportedError
from lshsample.nn.names import NameTable
from lshsample.nn.parameter import Update

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "Optimizer"]

Float32 = npt.NDArray[np.float32]
RowIds = npt.NDArray[np.int32] | None


class Optimizer(ABC):
    """Base class of optimizers.

    An optimizer is a frozen attrs class of plain values; its state is stored in the parameters. An instance
    can be given to a :class:`~lshsample.Trainer`. To write checkpoints of a run, register the class under a
    name, ``OPTIMIZERS.add("name")``.
    """

    #: Numbers stored per weight, the weight itself included.
    slots: ClassVar[int]
    #: Decoupled weight decay (Loshchilov & Hutter 2019): each step multiplies every weight by ``1 - lr *
    #: weight_decay``, biases excepted. A network does this for all rows in O(1)
    #: (:class:`~lshsample.nn.parameter.Parameter`), by stored weights that it scales; hence an optimizer with
    #: weight decay must not read the weights, and its update must be proportional to ``lr``.
    weight_decay: float = 0.0
    #: The precisions of networks that it can train: the types of the slots that :meth:`update` changes. Slots
    #: in bfloat16 are read and written by :mod:`lshsample._native.convert`.
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    #: Whether :meth:`update_checked` takes gradients as sums (:class:`~lshsample._native.unchecked.RowSums`).
    takes_sums: ClassVar[bool] = False
    #: Whether :meth:`update` changes state in 8 bits (``Network(moments="float8")``).
    takes_float8: ClassVar[bool] = False

    @abstractmethod
    def update(
        self, store: Slots, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """Update rows of a parameter in place.

        Parameters
        ----------
        store : Slots
            Weights and optimizer state (0 before the first step), changed in place. ``store.weights`` and
            ``store.slot(i)``, i from 1, are views of shape (n, d).
        rows : (m,) int32 array or None
            Rows with a gradient, without duplicates; None for all n.
        gradient : (m, d) float32 array
            Their gradient.
        lr : float
            Learning rate.
        step : int
            Number of this step, from 1.
        threads : int
            Number of threads; the result must not depend on it.
        """

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Any, lr: float, step: int, threads: int
    ) -> None:
        """:meth:`update` without validation, for the arguments that a network gives; by default the same."""
        self.update(store, rows, gradient, lr, step, threads)

    def coded_step(self, lr: float, step: int) -> CodedStep:
        """The numbers of a step on rows in few bits, for ``precisions`` that have such."""
        raise UnsupportedError(f"{self} does not train rows in few bits")

    def apply(self, updates: Iterable[Update], lr: float, step: int, threads: int) -> None:
        """Update parameters by their gradients, for the arguments that a network gives."""
        for one in updates:
            store = one.parameter.raw
            # Stored weights are the weights divided by the factor of weight decay, and so are their changes.
            rate = lr / one.parameter.factor
            if isinstance(store, CodedRows):
                store.update(one.rows, one.stored, self.coded_step(rate, step), step, threads)
            else:
                gradient = one.stored if self.takes_sums else one.gradient
                self.update_checked(store, one.rows, gradient, rate, step, threads)


def _decay() -> Any:
    return attrs.field(default=0.0, validator=specs.number(0.0, 1e6))


#: Optimizers by the names used in files and on the command line.
OPTIMIZERS: NameTable[Optimizer] = NameTable("optimizer", Optimizer)


@OPTIMIZERS.add("sgd")
@attrs.frozen(kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``w -= lr * g``. One number per weight.

    Attributes
    ----------
    weight_decay : float
        Rate of decoupled weight decay: each step multiplies all weights by ``1 - lr * weight_decay``.
    """

    weight_decay: float = _decay()
    slots = 1
    precisions = ("float32", "bfloat16", "int8", "int4")
    takes_sums = True
    takes_float8 = True

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; ``store`` may be a float32 array of shape (n, slots, d)."""
        optim.sgd_rows(store, rows, gradient, lr, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32 | RowSums, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.sgd_unchecked(store, rows, gradient, lr, step, threads)

    def coded_step(self, lr: float, step: int) -> CodedStep:
        """As :meth:`Optimizer.coded_step`."""
        return CodedStep(lr)


@OPTIMIZERS.add("adagrad")
@attrs.frozen(kw_only=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): ``s += g²; w -= lr * g / (sqrt(s) + eps)``. Two numbers per weight.

    Attributes
    ----------
    eps : float
        Added to the denominator.
    weight_decay : float
        As in :class:`SGD`.
    """

    eps: float = attrs.field(default=1e-8, validator=specs.at_least(0.0))
    weight_decay: float = _decay()
    slots = 2
    precisions = ("float32", "bfloat16", "int8", "int4")
    takes_sums = True
    takes_float8 = True

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; ``store`` may be a float32 array of shape (n, slots, d)."""
        optim.adagrad_rows(store, rows, gradient, lr, self.eps, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32 | RowSums, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.adagrad_unchecked(store, rows, gradient, lr, self.eps, step, threads)

    def coded_step(self, lr: float, step: int) -> CodedStep:
        """As :meth:`Optimizer.coded_step`."""
        return CodedStep(lr, eps=self.eps)


@OPTIMIZERS.add("adam")
@attrs.frozen(kw_only=True)
class Adam(Optimizer):
    """Lazy Adam (Kingma & Ba 2015), with weight decay AdamW (Loshchilov & Hutter 2019).

    Only the moments of rows with a gradient are updated; bias correction by the global step. The cost is that
    of the rows with a gradient. Three numbers per weight.

    Attributes
    ----------
    beta1, beta2 : float
        Decay rates of the moments per step, in [0, 1).
    eps : float
        Added to the square root of the second moment.
    weight_decay : float
        As in :class:`SGD`; rows without a gradient decay too.
    """

    beta1: float = attrs.field(default=0.9, validator=specs.number(0.0, 1.0, open_high=True))
    beta2: float = attrs.field(default=0.999, validator=specs.number(0.0, 1.0, open_high=True))
    eps: float = attrs.field(default=1e-8, validator=specs.at_least(0.0))
    weight_decay: float = _decay()
    slots = 3
    precisions = ("float32", "bfloat16", "int8", "int4")
    takes_sums = True
    takes_float8 = True

    def update(
        self, store: Slots | Float32, rows: RowIds, gradient: Float32, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`; ``store`` may be a float32 array of shape (n, slots, d)."""
        optim.adam_rows(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads=threads)

    def update_checked(
        self, store: Slots, rows: RowIds, gradient: Float32 | RowSums, lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update_checked`."""
        optim.adam_unchecked(store, rows, gradient, lr, self.beta1, self.beta2, self.eps, step, threads)

    def coded_step(self, lr: float, step: int) -> CodedStep:
        """As :meth:`Optimizer.coded_step`."""
        beta1, beta2 = self.beta1, self.beta2
        return CodedStep(
            rate=lr / (1 - beta1**step),
            beta1=beta1,
            rest1=1 - beta1,
            beta2=beta2,
            rest2=1 - beta2,
            scale=(1 - beta2**step) ** -0.5,
            eps=self.eps,
        )
