"""Validation of what layers of other packages return, so that the kernels need not validate it.

The kernels of a training step do not check their arguments. The layers of this package return valid arrays by
construction; what any other layer returns is checked by a :class:`Guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core, optim
from lshsample.errors import ArgumentError, PluginError
from lshsample.nn.layer import Backward, BuiltLayer, OutputBackward, OutputLayer
from lshsample.nn.losses import Loss
from lshsample.nn.parameter import Update
from lshsample.nn.signals import Block, LossGradient, Run, Signal, values_of, with_values

__all__ = ["Guard", "guarded", "is_own"]

Float32 = npt.NDArray[np.float32]


def is_own(part: BuiltLayer | Loss) -> bool:
    """Whether a layer's or a loss's class belongs to this package, so that its arrays need no check."""
    return type(part).__module__.startswith("lshsample.")


def guarded(layer: BuiltLayer) -> BuiltLayer | Guard:
    """A layer, in a guard if it is one of another package."""
    return layer if is_own(layer) else Guard(layer)


class Guard:
    """Wraps a layer of another package and validates what it returns.

    Arrays of another float type are converted to float32; arrays that are not contiguous are copied.

    Parameters
    ----------
    layer : BuiltLayer
        The layer.

    Raises
    ------
    PluginError
        From each method, if something has another shape or type than the contract requires; the message
        names the layer.
    """

    def __init__(self, layer: BuiltLayer) -> None:
        self.layer = layer

    def _refuse(self, what: str, given: object, wanted: str) -> NoReturn:
        name = type(self.layer).__qualname__
        raise PluginError(f"layer {self.layer.index} ({name}): {what} must be {wanted} (got {given})")

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """As the layer's :meth:`BuiltLayer.forward`."""
        y, backward = self._pair(self.layer.forward(x, run), 2, "what forward returns")
        return self._output(y, _rows(x)), self._guarded(x, backward)

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, OutputBackward]:
        """As the layer's :meth:`OutputLayer.logits`."""
        assert isinstance(self.layer, OutputLayer)
        y, inclusion, backward = self._pair(self.layer.logits(x, run), 3, "what logits returns")
        signal = self._output(y, _rows(x))
        if inclusion is not None:
            values = values_of(signal)
            inclusion = self._floats("log_inclusion", inclusion, (values.shape[-1],))
        return signal, inclusion, self._guarded(x, backward)

    def _pair(self, returned: Any, n: int, what: str) -> Any:
        if not isinstance(returned, tuple) or len(returned) != n:
            self._refuse(what, type(returned).__name__, f"a tuple of {n}")
        if not callable(returned[-1]):
            self._refuse(f"the last of {what}", type(returned[-1]).__name__, "the function backward")
        return returned

    def _guarded(self, x: Signal, backward: Callable[[Any], Any]) -> Any:
        def checked(gradient: Signal | LossGradient) -> tuple[Signal | None, list[Update]]:
            returned = backward(gradient)
            if not isinstance(returned, tuple) or len(returned) != 2:
                self._refuse("what backward returns", type(returned).__name__, "a tuple of 2")
            below, updates = returned
            return self._gradient(below, x), [self._update(update) for update in updates]

        return checked

    def _output(self, y: Any, rows: int) -> Signal:
        units = self.layer.units
        if isinstance(y, Block):
            if y.width != units:
                self._refuse("the output's width", y.width, f"{units}, its units")
            columns = units if y.ids is None else len(y.ids)
            return Block(self._floats("the output", y.values, (rows, columns)), units, self._ids(y.ids))
        if not isinstance(y, sp.csr_array) or y.shape != (rows, units):
            self._refuse("the output", _described(y), f"a Block or a csr_array of {rows} rows")
        try:
            return core.csr_rows(y, "the output", units, finite=False, keep_zeros=True)
        except ArgumentError as error:
            self._refuse(error.argument, error.given, error.wanted)

    def _ids(self, ids: Any) -> Any:
        if ids is None:
            return None
        given = np.ascontiguousarray(ids)
        units = self.layer.units
        right = given.ndim == 1 and given.dtype.kind == "i" and (given[1:] > given[:-1]).all()
        if not right or (given.size and not 0 <= given[0] <= given[-1] < units):
            self._refuse("the output's ids", _described(given), f"ascending integers from 0 to {units - 1}")
        return given.astype(np.int32, copy=False)

    def _gradient(self, below: Any, x: Signal) -> Signal | None:
        if below is None:
            if self.layer.context.needs_input_gradient:
                self._refuse("the gradient of the input", "None", "an array, as a layer below needs it")
            return None
        if not isinstance(below, Block | sp.csr_array):
            self._refuse("the gradient of the input", type(below).__name__, "a Block or a csr_array")
        return with_values(x, self._floats("the gradient", values_of(below), values_of(x).shape))

    def _update(self, update: Any) -> Update:
        if not isinstance(update, Update) or not any(update.parameter is p for p in self.layer.parameters):
            self._refuse("an update", _described(update), "an Update of one of its parameters")
        parameter, rows = update.parameter, update.rows
        n = parameter.rows if rows is None else len(rows)
        gradient = self._floats("the gradient of a parameter", update.gradient, (n, parameter.columns))
        if rows is not None:
            rows = np.ascontiguousarray(rows).astype(np.int32, casting="same_kind", copy=False)
        try:
            optim.check_update(rows, gradient, parameter.rows, parameter.columns)
        except ArgumentError as error:
            self._refuse(f"the update's {error.argument}", error.given, error.wanted)
        return Update(parameter, rows, gradient)

    def _floats(self, what: str, array: Any, shape: tuple[int, ...]) -> Float32:
        right = isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.shape == shape
        if not right:
            self._refuse(what, _described(array), f"floats of shape {shape}")
        return np.ascontiguousarray(array, np.float32)


def _rows(x: Signal) -> int:
    return len(x.values) if isinstance(x, Block) else len(x.indptr) - 1


def _described(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return type(given).__name__ if shape is None else f"{given.dtype} of shape {shape}"
