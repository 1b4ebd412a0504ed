"""Weights in fewer bits: what a stored model keeps of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lshsample._native import convert
from lshsample._native.byterows import ByteRows
from lshsample._native.core import threads_or_default
from lshsample._native.dtypes import BFLOAT16
from lshsample.errors import CheckpointError
from lshsample.nn import Network
from lshsample.nn.sampled import SampledLayer
from lshsample.nn.tensorfile import under

__all__ = ["StoredNetwork", "pack", "unpack"]

Arrays = dict[str, npt.NDArray[Any]]
Float32 = npt.NDArray[np.float32]
_TYPES = (np.dtype(np.float32), BFLOAT16.numpy, np.dtype(np.int8))


def pack(weights: Float32, storage: str) -> Arrays:
    """The arrays in which weights are stored.

    Parameters
    ----------
    weights : (n, d) float32 array
    storage : str
        ``"float32"``; ``"bfloat16"``; or ``"int8"``: integers from -127 to 127 and one factor a row, for
        matrices of more than one column.

    Returns
    -------
    dict of arrays
        ``values``, and ``scales`` with ``"int8"``.
    """
    rows = np.ascontiguousarray(weights)
    if storage == "float32" or rows.shape[1] == 1:
        return {"values": rows}
    if storage == "bfloat16":
        return {"values": convert.from_float32(rows, BFLOAT16)}
    scales = np.abs(rows).max(axis=1, initial=0.0, keepdims=True) / np.float32(127)
    scales[scales == 0] = 1
    values = np.rint(rows / scales).astype(np.int8)
    return {"values": values, "scales": scales.astype(np.float32)}


def unpack(arrays: Mapping[str, npt.NDArray[Any]]) -> Float32:
    """The weights that :func:`pack` stored, rounded as they are there."""
    values = arrays["values"]
    if "scales" in arrays:
        out: Float32 = values.astype(np.float32)
        out *= arrays["scales"]
        return out
    return values if values.dtype == np.float32 else convert.to_float32(values)


class PackedRows:
    """Weights in the arrays of :func:`pack`, which may be mapped files.

    Raises
    ------
    CheckpointError
        The arrays are not those of weights of this shape.
    """

    def __init__(self, arrays: Arrays, rows: int, columns: int) -> None:
        values, scales = arrays.get("values"), arrays.get("scales")
        sound = values is not None and values.shape == (rows, columns) and values.dtype in _TYPES
        if sound and values is not None and values.dtype == np.int8:
            sound = scales is not None and scales.shape == (rows, 1) and scales.dtype == np.float32
        if not sound:
            raise CheckpointError(f"stored weights are not ({rows}, {columns}) in a known type")
        self.arrays = arrays

    def rows(self, ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """The weights of some rows."""
        return unpack({name: array[ids] for name, array in self.arrays.items()})

    def whole(self) -> Float32:
        """All weights."""
        return np.array(unpack(self.arrays))


class StoredNetwork:
    """A network whose weights are what a file stores of them, and the 8-bit copy of its last layer.

    Made by :meth:`round` or :meth:`open`.

    Attributes
    ----------
    network : Network
    arrays : dict of arrays
        What is stored: for each parameter the arrays of :func:`pack`, by its name, and ``copy/...``, the
        8-bit copy, which with ``"int8"`` is all there is of the weights of a sampled last layer.
    copy : ByteRows
        Finds the best labels of hidden vectors.
    """

    def __init__(self, network: Network, arrays: Arrays, copy: ByteRows) -> None:
        self.network, self.arrays, self.copy = network, arrays, copy

    @classmethod
    def round(cls, network: Network, storage: str, *, threads: int | None = None) -> Self:
        """Round the weights of a network to what is stored of them."""
        arrays, last, copy = dict[str, npt.NDArray[Any]](), network.output, None
        for parameter in network.parameters:
            packed = pack(parameter.weights, storage)
            parameter.weights[...] = unpack(packed)
            if isinstance(last, SampledLayer) and parameter is last.weights and "scales" in packed:
                bias = None if last.bias is None else last.bias.vector
                scales = np.ascontiguousarray(packed["scales"][:, 0])
                copy = ByteRows.of_int8(packed["values"], scales, bias, threads=threads)
            else:
                arrays |= {f"{parameter.name}/{key}": array for key, array in packed.items()}
        for layer in network.layers:
            layer.forget()
        copy = last.byte_rows(threads_or_default(threads)) if copy is None else copy
        return cls(network, arrays | {f"copy/{key}": array for key, array in copy.arrays.items()}, copy)

    @classmethod
    def open(cls, network: Network, arrays: Arrays) -> Self:
        """A network without weights, with those that are stored in arrays, which may be mapped files.

        Raises
        ------
        ArgumentError, CheckpointError
            The arrays do not fit the network.
        """
        last, packed = network.output, dict[str, PackedRows]()
        for parameter in network.parameters:
            own = under(arrays, f"{parameter.name}/")
            if own or not (isinstance(last, SampledLayer) and parameter is last.weights):
                packed[parameter.name] = PackedRows(own, parameter.rows, parameter.columns)
                parameter.lend(packed[parameter.name])
        if not isinstance(last, SampledLayer):
            return cls(network, arrays, last.byte_rows(threads_or_default(None)))
        bias = None if last.bias is None else packed[last.bias.name].arrays["values"][:, 0]
        vectors = packed[last.weights.name].arrays["values"] if last.weights.name in packed else None
        shape = last.weights.rows, last.weights.columns
        copy = ByteRows.from_arrays(under(arrays, "copy/"), shape, vectors, bias)
        if vectors is None:
            last.weights.lend(_RowsOfCopy(copy))
        return cls(network, arrays, copy)


class _RowsOfCopy:
    """Weights that are those of an 8-bit copy."""

    def __init__(self, copy: ByteRows) -> None:
        self._copy = copy

    def rows(self, ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """The weights of some rows."""
        return self._copy.rows(ids)

    def whole(self) -> Float32:
        """All weights."""
        return self._copy.rows(np.arange(self._copy.shape[0]))
