"""Hyperparameters chosen from the training data.

All data get one relu layer, a loss over one active set per batch, and lazy Adam with a learning rate that
falls to 0. Sizes and rates follow from the shape of the data by simple formulas with bounds.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError

__all__ = ["DataShape", "Defaults", "choose_defaults", "defaults_of"]

#: Largest product of rows and hidden units, a limit on training time.
_ROWS_BY_UNITS = 1_000_000_000
#: Largest number of weights of the hidden and output layers, a limit on memory.
_WEIGHTS = 110_000_000
_WIDTHS = (128, 1024)
#: Mean number of hidden units kept by dropout up to _FEW_ROWS rows.
_KEPT_UNITS = 205
_FEW_ROWS = 20_000
#: Smallest number of steps per epoch.
_STEPS_AN_EPOCH = 150
_BATCHES = (64, 256)
#: Rows processed over all epochs of a run with dropout, up to _FEW_ROWS rows.
_ROWS_SEEN = 200_000
_EPOCHS = (2, 20)
#: Learning rate for batches of 128 rows and 1,024 hidden units.
_RATE = 3e-3
#: Active units per batch, if there are enough labels; half of them beyond _MANY_ROWS.
_ACTIVE = 4096
_MANY_ROWS = 100_000
#: Labels up to which the sigmoid loss is chosen: half of them are active in each batch.
_ONE_VS_ALL = 2 * _ACTIVE
#: Label smoothing with the sigmoid loss.
_SMOOTHING = 0.1
#: With the sigmoid loss and more labels, as many times more units are kept by dropout.
_KEPT_ONE_VS_MANY = 2.5


@attrs.frozen
class DataShape:
    """What :func:`choose_defaults` looks at in training data.

    Attributes
    ----------
    n_rows, n_features, n_labels : int
    is_whole : bool
        Whether all values are integers.
    """

    n_rows: int
    n_features: int
    n_labels: int
    is_whole: bool


@attrs.frozen
class Defaults:
    """Default hyperparameters of a training run; see :class:`lshsample.config.TrainConfig`.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers; one width.
    loss : str
        The name of the loss.
    label_smoothing : float
        Share of the loss's targets that is spread evenly.
    weighting : str
        Weighting of the input rows, ``"l2"`` or ``"idf-l2"``.
    dropout : float
        Dropout rate of the hidden layer.
    batch_size, epochs : int
        Rows per step, passes over the rows.
    lr : float
        Learning rate at the start.
    n_active : int
        Budget of the output layer's pipeline.
    n_hashes, n_tables : int or None
        Hashes per table (K) and tables (L); None for the default of the layer.
    importance : str
        Correction of the loss by inclusion probabilities.
    """

    hidden: tuple[int, ...]
    loss: str
    label_smoothing: float
    weighting: str
    dropout: float
    batch_size: int
    epochs: int
    lr: float
    n_active: int
    n_hashes: int | None
    n_tables: int | None
    importance: str


def choose_defaults(x: Any, y: Any, loss: str | None = None) -> Defaults:
    """Choose hyperparameters from the training data.

    Parameters
    ----------
    x : csr_array or array, shape (rows, n_features)
        Feature rows.
    y : csr_array or array, shape (rows, n_labels), or lists of ids
        Their labels.
    loss : str, optional
        The name of the loss, if it is not to be chosen.

    Returns
    -------
    Defaults

    Raises
    ------
    ArgumentError
        Bad rows or labels; no rows, features or labels; x and y differ in rows.

    Notes
    -----
    With n rows, F features, N labels, H hidden units and batches of B rows; "power of two" rounds down:

    - ``hidden``: H = 1e9 / n, a power of two from 128 to 1,024, halved while (F + N) H > 110e6 (1.3 GB of
      weights and Adam's moments), not below 16.
    - ``dropout``: 1 - 205 s^(1/3) / H, at least 0, with s = max(1, n / 20,000): about 205 units are kept at a
      time, whatever the width, and more if there are enough rows to train them; 2.5 times as many with
      sigmoid and more than 8,192 labels, most of which have few rows to learn from.
    - ``batch_size``: B = n / 150, a power of two from 64 to 256.
    - ``epochs``: 200,000 / n, and 10 / s^(1/3) beyond 20,000 rows; without dropout 100,000 / n; from 2 to 20.
      Without dropout, a third and a fourth epoch overfitted labels with few rows: P@3 fell, though P@1 did
      not. At least 2 log10(n / 10,000), so that 100,000 rows have 2 and a million 4: there accuracy still
      rose.
    - ``loss``: sigmoid up to 8,192 labels, else softmax. On held-out training rows of data with 159, 983 and
      565 labels sigmoid had a P@1 of 66.2, 72.1 and 84.3 %, softmax 64.8, 71.1 and 82.3 %. With 21,000 labels
      the data decide: 64.1 against 63.1 % on one set, 23.0 against 24.6 % on another.
    - ``label_smoothing``: 0.1 with sigmoid, else 0.
    - ``lr``: 3e-3 sqrt(1024 / H) sqrt(B / 128), and with dropout / s^(1/4): Adam changes each weight by about
      lr per step, so that a unit's input changes in proportion to the width; gradient noise falls with B.
    - ``n_active``: 4,096, beyond 100,000 rows 2,048, at most half of the labels. There, time is better spent
      on passes: in the same time, 2 passes over 54,000 short rows with 4,096 units had a P@1 of 7.1 %, 4
      passes with 1,024 units 14.4 %.
    - ``weighting``: "idf-l2" if all values are integers (flags or counts), else "l2": other values have
      already been weighted.
    - ``importance``: off; it ranked as well or better in nearly all measurements.

    Cost: one pass over the values, O(values).

    Examples
    --------
    >>> import numpy as np
    >>> flags = sp.csr_array(np.eye(50, 20, dtype=np.float32))
    >>> chosen = choose_defaults(flags, sp.csr_array(np.eye(50, 8)))
    >>> chosen.hidden, chosen.weighting, chosen.n_active
    ((1024,), 'idf-l2', 4)
    """
    x, y = core.feature_rows(x, "x"), label_rows(y, "y")
    _check(x, y)
    return defaults_of(DataShape(x.shape[0], x.shape[1], y.shape[1], _whole(x)), loss)


def defaults_of(shape: DataShape, loss: str | None = None) -> Defaults:
    """As :func:`choose_defaults`, for data of a shape."""
    n_rows, n_labels = shape.n_rows, shape.n_labels
    hidden, many = _hidden(n_rows, shape.n_features + n_labels), max(1.0, n_rows / _FEW_ROWS)
    loss = ("sigmoid" if n_labels <= _ONE_VS_ALL else "softmax") if loss is None else loss
    kept = _KEPT_UNITS * many ** (1 / 3)
    if loss == "sigmoid" and n_labels > _ONE_VS_ALL:
        kept *= _KEPT_ONE_VS_MANY
    dropout = round(max(0.0, 1.0 - kept / hidden), 2)
    batch_size = _power_of_two(n_rows / _STEPS_AN_EPOCH, *_BATCHES)
    epochs = _ROWS_SEEN / n_rows * (many ** (2 / 3) if dropout else 0.5)
    lr = _RATE * math.sqrt(1024 / hidden * batch_size / 128) / (many**0.25 if dropout else 1.0)
    # Many rows do not overfit: passes grow with their number again.
    epochs = max(epochs, 2.0 * math.log10(n_rows / 10_000))
    n_active = _ACTIVE if n_rows <= _MANY_ROWS else _ACTIVE // 2
    return Defaults(
        hidden=(hidden,),
        loss=loss,
        label_smoothing=_SMOOTHING if loss == "sigmoid" else 0.0,
        weighting="idf-l2" if shape.is_whole else "l2",
        dropout=dropout,
        batch_size=batch_size,
        epochs=_within(round(epochs), *_EPOCHS),
        lr=float(f"{lr:.2g}"),
        n_active=max(1, min(n_active, n_labels // 2)),
        n_hashes=None,
        n_tables=None,
        importance="off",
    )


def _check(x: sp.csr_array, y: sp.csr_array) -> None:
    for argument, rows in (("x", x), ("y", y)):
        if 0 in rows.shape:
            raise ArgumentError(argument, f"shape {rows.shape}", "a matrix with at least one row and column")
    if x.shape[0] != y.shape[0]:
        raise ArgumentError("y", f"{y.shape[0]} rows", f"a matrix of {x.shape[0]} rows, as many as x has")


def _hidden(n_rows: int, columns: int) -> int:
    """Width, limited by the number of rows and by the memory of the weights."""
    width = _power_of_two(_ROWS_BY_UNITS / n_rows, *_WIDTHS)
    while width > 16 and width * columns > _WEIGHTS:
        width //= 2
    return width


def _whole(x: sp.csr_array) -> bool:
    """Whether every stored value is an integer."""
    return bool((x.data == np.floor(x.data)).all())


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _power_of_two(value: float, low: int, high: int) -> int:
    """The largest power of two not above ``value``, within powers of two ``low`` and ``high``."""
    return _within(2 ** math.floor(math.log2(max(value, 1.0))), low, high)
