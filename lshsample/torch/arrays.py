"""Tensors as NumPy arrays over the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lshsample._native import convert
from lshsample._native.dtypes import BFLOAT16
from lshsample.errors import ArgumentError, UnsupportedError

__all__ = [
    "PARAMETER_DTYPES",
    "check_cpu",
    "check_device",
    "check_parameter",
    "float32_rows",
    "in_large_pages",
    "view_of",
]

#: Types of parameters; sums are float32 for both.
PARAMETER_DTYPES = (torch.float32, torch.bfloat16)


def check_cpu(tensor: torch.Tensor, argument: str) -> None:
    """Refuse tensors on other devices, and those that are no dense arrays."""
    check_device(tensor, argument, torch.device("cpu"))


def check_device(tensor: torch.Tensor, argument: str, device: torch.device) -> None:
    """Refuse tensors on other devices than the tables', and those that are no dense arrays."""
    if tensor.device != device:
        wanted = f"on {str(device)!r}, where the hash tables are"
        raise ArgumentError(argument, f"on {str(tensor.device)!r}", wanted)
    if tensor.layout != torch.strided:
        raise ArgumentError(argument, f"of layout {tensor.layout}", "a dense tensor")


def check_parameter(tensor: torch.Tensor, argument: str, backend: str = "core") -> None:
    """Refuse parameters whose memory the C core cannot use as it is, or of other types."""
    if backend == "core":
        check_cpu(tensor, argument)
    if tensor.dtype not in PARAMETER_DTYPES:
        wanted = "of dtype torch.float32 or torch.bfloat16"
        raise ArgumentError(argument, str(tensor.dtype), wanted)


def view_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The memory of a tensor on the CPU as an array; writing to it changes the tensor.

    Raises
    ------
    UnsupportedError
        The tensor has no memory, as inside of ``torch.func.vmap`` and other transforms.
    """
    plain = tensor.detach()
    try:
        if tensor.dtype == torch.bfloat16:
            return plain.view(torch.uint16).numpy().view(BFLOAT16.numpy)
        return plain.numpy()
    except RuntimeError as error:
        raise UnsupportedError(f"a {type(tensor).__name__} has no memory of its own: {error}") from error


def float32_rows(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """A matrix as float32 rows: a view of a float32 tensor, a copy of any other."""
    if tensor.dtype == torch.bfloat16:
        return convert.to_float32(view_of(tensor), threads=torch.get_num_threads())
    return view_of(tensor.to(torch.float32))


def in_large_pages(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor like a new one: on the CPU in memory from NumPy, which asks the system for large pages.

    Rows of a large parameter are read and written in no order. With small pages most of them are first looked
    up in the tables of pages: updates of 5,000 rows of 670,000 took twice as long.
    """
    if tensor.device.type != "cpu":
        return tensor
    return torch.from_numpy(np.zeros(tensor.nbytes, np.uint8)).view(tensor.dtype).view(tensor.shape)
