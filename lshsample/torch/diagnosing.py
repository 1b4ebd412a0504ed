"""The diagnosis of a model of PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from lshsample.diagnosis import Diagnosis
from lshsample.diagnosis.lookups import (
    FRACTIONS,
    UnitTables,
    best_of,
    checked_fractions,
    checked_settings,
    largest,
    looked_up,
)
from lshsample.errors import ArgumentError

__all__ = ["diagnose"]

#: A logit of a unit that is not active: its exponential is 0.
_INACTIVE = -1e4
#: Inputs of the layer that lookups are timed with.
_TIMED = 1024

Batch = tuple[Any, Tensor]
Choice = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]


@torch.no_grad()
def diagnose(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    layer: str | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    settings: Sequence[tuple[int, int]] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Whether it pays to sample the units of a linear layer of a trained model on the CPU.

    The model is run as it is; then with only the largest outputs of the layer, all others being 0; then with
    those that hash tables over its units find. In the last layer, whose output is that of the model, others
    have no part in the loss, and the units of the targets always have one.

    Parameters
    ----------
    model : Module
        A trained model on the CPU; it is run in evaluation mode.
    batches : iterable of (inputs, targets)
        Inputs are a tensor, or a tuple of arguments. All are kept in memory.
    layer : str, optional
        Name of an ``nn.Linear`` as in ``model.named_modules()``; by default the slowest one.
    loss : callable, optional
        ``loss(output, targets)``, a mean; by default cross-entropy for integer targets (class ids; -100 is
        ignored), and the mean binary cross-entropy for others.
    fractions, settings, seed
        As for :func:`lshsample.diagnosis.diagnose`.

    Raises
    ------
    ArgumentError
        Bad batches or options, a model that is not on the CPU or has no such layer.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 300))
    >>> found = diagnose(model, [(torch.randn(32, 8), torch.randint(300, (32,)))], layer="2")
    >>> found, list(found.layers)
    (Diagnosis('2', 300 units, 32 rows), ['0', '1', '2'])
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError("model", type(model).__name__, "an nn.Module")
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise ArgumentError("model", "a model on another device", "on the CPU, where the tables are")
    shares, data = checked_fractions(fractions), _checked_batches(batches)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if layer is not None and layer not in linear:
        raise ArgumentError(
            "layer", repr(layer), f"the name of an nn.Linear: {', '.join(linear) or 'there is none'}"
        )
    if not linear:
        raise ArgumentError("model", "no nn.Linear", "a model with a linear layer")
    run, was_training = _Runs(model, data, loss or _default_loss), model.training
    model.eval()
    try:
        seconds = run.profile()
        called = [name for name in linear if name in seconds]
        if not called or (layer is not None and layer not in called):
            raise ArgumentError("layer", layer, "a layer that the model calls")
        name = max(called, key=lambda each: seconds[each]) if layer is None else layer
        module = linear[name]
        tried = checked_settings(settings, module.out_features)
        full, h = run.inputs_of(module)
        weights = module.weight.float().numpy()
        bias = None if module.bias is None else module.bias.float().numpy()
        outputs = functional.linear(torch.from_numpy(h), module.weight.float()).numpy()
        outputs = outputs if bias is None else outputs + bias
        sizes = {f: max(round(f * module.out_features), 1) for f in shares}
        masks = {f: largest(outputs, k) for f, k in sizes.items()}

        def loss_of(tables: UnitTables, _: Any) -> float:
            return run.loss_with(module, lambda x, _: tables.found(x))

        threads = torch.get_num_threads()
        lookups = looked_up(weights, bias, h, masks, tried, loss_of, seed=seed, threads=threads)
        rows = torch.from_numpy(h)
        return Diagnosis(
            layers=seconds,
            layer=name,
            n_units=module.out_features,
            n_rows=run.n_rows,
            loss=full,
            oracle={f: run.loss_with(module, lambda _, z, k=k: largest(z, k)) for f, k in sizes.items()},  # type: ignore[misc]
            exact_seconds=best_of(lambda: module(rows.to(module.weight.dtype))),
            lookups=lookups,
        )
    finally:
        model.train(was_training)


class _Runs:
    """Runs of a model over the same batches."""

    def __init__(self, model: nn.Module, data: list[Batch], loss: Callable[[Any, Tensor], Tensor]) -> None:
        self.model, self.data, self.loss = model, data, loss
        self.n_rows, self.is_output = 0, False
        self._targets: Tensor = data[0][1]

    def _losses(self) -> Iterator[float]:
        for inputs, targets in self.data:
            self._targets = targets
            output = self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs)
            self.output = output
            value = self.loss(output, targets)
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ArgumentError(
                    "loss", f"a loss that returns {type(value).__name__}", "a mean, one number"
                )
            yield float(value)

    def _mean(self) -> float:
        return float(np.average(list(self._losses()), weights=[len(targets) for _, targets in self.data]))

    def profile(self) -> dict[str, float]:
        """Seconds of each module without children, in the order of their calls: the faster of two passes."""
        passes = []
        for _ in range(3):
            seconds: dict[str, float] = {}
            begun: dict[str, float] = {}

            def before(name: str, begun: dict[str, float]) -> Callable[..., None]:
                return lambda *_: begun.__setitem__(name, time.perf_counter())

            def after(name: str, begun: dict[str, float], seconds: dict[str, float]) -> Callable[..., None]:
                def add(*_: Any) -> None:
                    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begun[name]

                return add

            handles = []
            for name, module in self.model.named_modules():
                if not list(module.children()):
                    handles.append(module.register_forward_pre_hook(before(name, begun)))
                    handles.append(module.register_forward_hook(after(name, begun, seconds)))
            with _removed(handles):
                self._mean()
            passes.append(seconds)
        return {name: min(each[name] for each in passes[1:]) for name in passes[0]}

    def inputs_of(self, module: nn.Linear) -> tuple[float, npt.NDArray[np.float32]]:
        """The loss of the model as it is, and the first 1,024 inputs of a layer."""
        kept: list[Tensor] = []
        outputs: list[Tensor] = []

        def keep(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            rows = given[0].detach().reshape(-1, module.in_features)
            self.n_rows += len(rows)
            kept.append(rows[: max(_TIMED - sum(map(len, kept)), 0)].float())
            outputs[:] = [output]

        with _removed([module.register_forward_hook(keep)]):
            full = self._mean()
        self.is_output = self.output is outputs[0]
        return full, torch.cat(kept).numpy()

    def loss_with(self, module: nn.Linear, choose: Choice) -> float:
        """The loss where a choice of the layer's outputs is kept."""

        def replace(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            flat = output.reshape(-1, module.out_features)
            rows = given[0].reshape(-1, module.in_features)
            mask = torch.from_numpy(choose(rows.float().numpy(), flat.float().numpy())).reshape(output.shape)
            if self.is_output:
                mask |= self._of_targets(output)
            return torch.where(mask, output, torch.full_like(output, _INACTIVE if self.is_output else 0.0))

        with _removed([module.register_forward_hook(replace)]):
            return self._mean()

    def _of_targets(self, output: Tensor) -> Tensor:
        """The units of the targets."""
        targets, mask = self._targets, torch.zeros(output.shape, dtype=torch.bool)
        if targets.shape == output.shape:
            return targets > 0
        if targets.shape != output.shape[:-1] or targets.is_floating_point():
            wanted = f"class ids of shape {tuple(output.shape[:-1])}, or a number for each output"
            raise ArgumentError("batches", f"targets of shape {tuple(targets.shape)}", wanted)
        ids = targets.long().unsqueeze(-1)
        return mask.scatter_(-1, ids.clamp_min(0), ids >= 0)


@contextmanager
def _removed(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _checked_batches(batches: Any) -> list[Batch]:
    wanted = "an iterable of (inputs, targets), targets being a tensor with rows"
    if isinstance(batches, (Tensor, str)) or not isinstance(batches, Iterable):
        raise ArgumentError("batches", type(batches).__name__, wanted)
    data = list(batches)
    if not data:
        raise ArgumentError("batches", "no batch", wanted)
    for batch in data:
        is_pair = isinstance(batch, (tuple, list)) and len(batch) == 2
        if not is_pair or not isinstance(batch[1], Tensor) or batch[1].ndim == 0 or not len(batch[1]):
            raise ArgumentError("batches", f"a batch of {type(batch).__name__}", wanted)
    return data


def _default_loss(output: Any, targets: Tensor) -> Tensor:
    if not isinstance(output, Tensor):
        raise ArgumentError("loss", "nothing", f"a function, as the model returns {type(output).__name__}")
    if targets.is_floating_point() or targets.shape == output.shape:
        return functional.binary_cross_entropy_with_logits(output, targets.to(output.dtype))
    return functional.cross_entropy(output.reshape(-1, output.shape[-1]), targets.reshape(-1).long())
