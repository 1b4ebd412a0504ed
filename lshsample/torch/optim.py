"""An optimizer of the rows that have a gradient: the kernels of the C core on the memory of the tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from lshsample._native import optim
from lshsample._native.convert import Rounding
from lshsample._native.slots import ArraySlots
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer, checked_number
from lshsample.torch.arrays import check_parameter, in_large_pages, view_of

__all__ = ["RowAdam"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


class RowAdam(torch.optim.Optimizer):
    """Lazy Adam: only the rows that have a gradient are updated, and only their moments decay.

    For sparse gradients, as those of :class:`SampledLinearCrossEntropy` with ``sparse=True`` and of
    ``torch.nn.Embedding(sparse=True)``, a step costs what these rows cost, however large the parameter is.
    A dense gradient updates all rows.

    Parameters
    ----------
    params : iterable
        Contiguous parameters of float32 or bfloat16 on the CPU, or of float32 on another device, or dicts of
        groups.
    lr : float
        Learning rate.
    betas : tuple of two floats
        Decay rates of the moments, in [0, 1).
    eps : float
        Added to the square root of the second moment.
    seed : int
        Of the stochastic rounding of parameters in bfloat16 and of their moments.
    process_group : ProcessGroup, optional
        Processes that train together: their gradients are averaged in each step, where a process without a
        gradient counts as one of zeros, and they begin with the parameters of the first. For sparse
        gradients, which ``DistributedDataParallel`` takes from embeddings alone; a model below it gives its
        other gradients to optimizers without a group.

    Raises
    ------
    ArgumentError
        A bad argument, or a parameter of another dtype, device or layout.

    Notes
    -----
    Kingma & Ba 2015; the correction of bias is by the number of all steps. ``torch.optim.SparseAdam`` does
    the same up to the place of eps, about an order of magnitude slower. Parameters and moments, which are of
    the same type, are updated in place, without a copy; those of bfloat16 are rounded stochastically, so that
    small updates are not lost. Gradients that were accumulated over several backward
    passes are added by row first. A parameter of one column or of one axis has rows of one number.

    Examples
    --------
    >>> embedding = torch.nn.Embedding(1000, 8, sparse=True)
    >>> optimizer = RowAdam(embedding.parameters(), lr=0.1)
    >>> embedding(torch.tensor([3, 5])).sum().backward()
    >>> before = embedding.weight.detach().clone()
    >>> optimizer.step()
    >>> (embedding.weight != before).any(1).nonzero().ravel()
    tensor([3, 5])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        seed: int = 0,
        process_group: Any = None,
    ) -> None:
        checked_number("lr", lr, 0.0, float("inf"))
        checked_number("eps", eps, 0.0, float("inf"))
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ArgumentError("betas", repr(betas), "a pair of numbers in [0, 1)")
        for beta in betas:
            checked_number("betas", beta, 0.0, 1.0, open_high=True)
        self._seed = checked_integer("seed", seed, 0, 2**64 - 1)
        self._processes = process_group
        self._held: dict[torch.Tensor, tuple[tuple[int, ...], ArraySlots]] = {}
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._processes, self._held = None, {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, all of which must be contiguous and of float32 or bfloat16."""
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            check_parameter(parameter, "params", "torch")
            if parameter.device.type != "cpu" and parameter.dtype != torch.float32:
                given = f"{parameter.dtype} on {str(parameter.device)!r}"
                raise ArgumentError("params", given, "torch.float32 on devices other than the CPU")
            if not parameter.is_contiguous():
                raise ArgumentError("params", f"strides {parameter.stride()}", "contiguous parameters")
            if self._processes is not None:
                dist.broadcast(parameter.data, group=self._processes, group_src=0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict()`` returned; moments get the type of their parameter."""
        super().load_state_dict(state_dict)
        saved = [key for group in state_dict["param_groups"] for key in group["params"]]
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        for key, parameter in zip(saved, own, strict=True):
            if parameter in self.state:
                moments = _new_moments(parameter)
                for name, moment in moments.items():
                    moment.copy_(state_dict["state"][key][name])
                self.state[parameter] |= moments

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the rows that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss again, as for all optimizers of PyTorch.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad if self._processes is None else self._averaged(parameter)
                if gradient is not None:
                    self._update(parameter, gradient, group)
        return loss

    def _averaged(self, parameter: torch.Tensor) -> torch.Tensor:
        """The mean of the gradients of all processes."""
        gradient = parameter.grad
        if gradient is not None and gradient.layout != torch.sparse_coo:
            given = "a dense gradient in a group of processes"
            raise ArgumentError("params", given, "sparse gradients; dense ones are averaged by DDP")
        if gradient is None:
            rows = parameter.new_empty((1, 0), dtype=torch.int64)
            values = parameter.new_empty((0, *parameter.shape[1:]))
            gradient = torch.sparse_coo_tensor(rows, values, parameter.shape, check_invariants=False)
        work = dist.all_reduce(gradient.coalesce(), group=self._processes, async_op=True)
        work.wait()
        total: torch.Tensor = work.result()[0]
        return total / dist.get_world_size(self._processes)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state |= _new_moments(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        if parameter.device.type != "cpu":
            tensors = parameter, state[_MOMENTS[0]], state[_MOMENTS[1]]
            adam_in_tensors(
                tensors, gradient, float(group["lr"]), group["betas"], group["eps"], state["step"]
            )
            return
        rows, values = _rows_of(gradient)
        slots = self._slots(parameter)
        rounding = None if slots.seed is None else Rounding(slots.seed, state["step"])
        optim.adam_rows(
            slots,
            rows,
            values,
            float(group["lr"]),
            beta1,
            beta2,
            group["eps"],
            state["step"],
            rounding=rounding,
            threads=torch.get_num_threads(),
        )
        # The kernels write to the memory itself: graphs that need the old values must find out.
        torch.autograd.graph.increment_version(parameter)

    def _slots(self, parameter: torch.Tensor) -> ArraySlots:
        """The memory of a parameter and its moments, looked up again when it is elsewhere."""
        tensors = parameter, *(self.state[parameter][name] for name in _MOMENTS)
        places = tuple(tensor.data_ptr() for tensor in tensors)
        held = self._held.get(parameter)
        if held is None or held[0] != places:
            slots = ArraySlots.over(*(_matrix(view_of(tensor)) for tensor in tensors))
            if parameter.dtype == torch.bfloat16:
                slots = attrs.evolve(slots, seed=self._seed_of(parameter))
            held = self._held[parameter] = places, slots
        return held[1]

    def _seed_of(self, parameter: torch.Tensor) -> int:
        """A parameter's own seed, by its place in the groups."""
        own = [one for group in self.param_groups for one in group["params"]]
        place = next(i for i, one in enumerate(own) if one is parameter)
        stream = np.random.SeedSequence((self._seed, place))
        return int(stream.generate_state(1, np.uint64)[0])


def adam_in_tensors(
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    gradient: torch.Tensor,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    step: int,
) -> None:
    """The update of :class:`RowAdam` by tensor operations, in place, for a parameter that is not on the CPU.

    Parameters
    ----------
    tensors : tuple of three tensors
        The parameter and its moments.
    gradient : tensor
        Dense, or sparse by rows.
    lr, betas, eps : float
        As of the optimizer.
    step : int
        Number of the step, from 1.
    """
    places: Any = ...
    if gradient.layout != torch.strided:
        _check_by_rows(gradient)
        gradient = gradient.coalesce()
        places, gradient = gradient.indices()[0], gradient.values()
    parameter, mean, square = tensors
    first = mean[places] * betas[0] + gradient * (1 - betas[0])
    second = square[places] * betas[1] + gradient.square() * (1 - betas[1])
    size = (second / (1 - betas[1] ** step)).sqrt() + eps
    parameter[places] -= lr / (1 - betas[0] ** step) * first / size
    mean[places], square[places] = first, second


def _new_moments(parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Moments of 0, interleaved by row, so that a row's are together in memory."""
    size = len(parameter) if parameter.dim() else 1, len(_MOMENTS), *parameter.shape[1:]
    both = in_large_pages(torch.zeros(size, dtype=parameter.dtype, device=parameter.device))
    return {name: both[:, place].view(parameter.shape) for place, name in enumerate(_MOMENTS)}


def _matrix(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array as rows: those of its first axis, each contiguous."""
    return array.reshape(len(array) if array.ndim else 1, -1)


def _check_by_rows(gradient: torch.Tensor) -> None:
    if gradient.layout != torch.sparse_coo or gradient.sparse_dim() != 1:
        raise ArgumentError("params", f"a gradient of layout {gradient.layout}", "dense, or sparse by rows")


def _rows_of(gradient: torch.Tensor) -> tuple[npt.NDArray[np.int32] | None, Any]:
    """The rows with a gradient, None for all, and their gradient in float32."""
    if gradient.layout == torch.strided:
        return None, np.ascontiguousarray(_matrix(view_of(gradient.to(torch.float32))))
    _check_by_rows(gradient)
    rows, values = view_of(gradient._indices()[0]), gradient._values()
    # A gradient of one pass has ascending rows; the kernel's own check refuses repeated ones.
    if not (gradient.is_coalesced() or np.all(rows[1:] > rows[:-1])):
        summed = gradient.coalesce()
        rows, values = view_of(summed.indices()[0]), summed.values()
    return rows.astype(np.int32), np.ascontiguousarray(_matrix(view_of(values.to(torch.float32))))
