"""With backend="torch" all tensors stay on the device of the parameters: shown on a device made of the CPU's.

A tensor of the class ``Elsewhere`` says that it is on another device. It holds a tensor on the CPU, and each
operation is done with that. As on a GPU, an operation that takes tensors of both devices is refused, and no
NumPy array shares its memory. Unlike on a GPU, copies to the CPU are refused as well.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from lshsample.torch import (
    ParameterSampler,
    RowAdam,
    SampledLinearCrossEntropy,
    SampledLinearSigmoid,
    SamplingOptions,
    TorchTables,
    linear,
)

D, CLASSES, ROWS = 12, 60, 7
#: A type of device that this build of PyTorch knows by name, and whose gradients need no thread of their own.
DEVICE = torch.device("lazy")


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device."""

    @staticmethod
    def __new__(cls, held):
        how = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, **how)

    def __init__(self, held):
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return done(operation, args, kwargs or {})


class Device(TorchDispatchMode):
    """Operations that make new tensors make them on the other device, where they are to be there."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return done(operation, args, kwargs or {})


def is_elsewhere(value):
    return isinstance(value, Elsewhere)


def done(operation, args, kwargs):
    """An operation on what the tensors hold."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    own = any(map(is_elsewhere, tensors))
    device = kwargs.get("device")
    if own and device is not None and device != DEVICE:
        raise AssertionError(f"{operation} copies to {device}")
    if own and any(not is_elsewhere(one) and one.dim() for one in tensors):
        raise AssertionError(f"{operation} takes tensors of two devices")
    if device == DEVICE:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain = tree_map(lambda one: one.held if is_elsewhere(one) else one, (args, kwargs))
    result = operation(*plain[0], **plain[1])
    written = [value for value in (*args[:1], kwargs.get("out")) if is_elsewhere(value)]
    for one in written:
        if one.held is result:
            return one
    if not own and device != DEVICE:
        return result
    return tree_map(lambda one: Elsewhere(one) if isinstance(one, torch.Tensor) else one, result)


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """The device, whose operators are the functions themselves, and which has no autocast."""
    monkeypatch.setattr(linear, "draw_active_set", linear.draw_active_set._init_fn)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    made = torch.tensor  # which makes tensors below the level of operations
    monkeypatch.setattr(
        torch, "tensor", lambda data, device=None, **how: made(data, **how).to(device or "cpu")
    )
    with Device():
        yield


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, D, generator=generator)
    return hidden, torch.randint(CLASSES, (ROWS,), generator=generator)


def test_the_device_refuses_what_a_gpu_refuses():
    rows, other = inputs()[0].to(DEVICE), inputs()[0]
    assert is_elsewhere(rows)
    assert rows.device == DEVICE
    assert (rows + 1).sum().item() == pytest.approx(float(other.sum()) + ROWS * D)
    with pytest.raises(AssertionError, match="two devices"):
        rows + other
    with pytest.raises(AssertionError, match="copies to cpu"):
        rows.cpu()
    with pytest.raises((RuntimeError, TypeError)):
        rows.numpy()


@pytest.mark.parametrize("kind", [SampledLinearCrossEntropy, SampledLinearSigmoid])
@pytest.mark.parametrize(
    "options", [{}, {"active_set": "sample"}, {"sampler": "slide-topk", "importance": "off"}]
)
def test_layer_and_optimizer(kind, options):
    torch.manual_seed(0)
    given = {"sampler": "lsh", "n_active": 30, "n_hashes": 3, "rehash": 2, "backend": "torch", **options}
    layers = [kind(D, CLASSES, options=SamplingOptions(**given)) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].weight, layers[1].bias = (
        torch.nn.Parameter(p.detach().to(DEVICE)) for p in layers[1].parameters()
    )
    optimizers = [RowAdam(layer.parameters(), lr=0.05) for layer in layers]
    losses = [[], []]
    for step in range(4):  # with rebuilds
        hidden, target = inputs(step)
        for found, layer, optimizer in zip(losses, layers, optimizers, strict=True):
            place = layer.weight.device
            optimizer.zero_grad()
            loss = layer(hidden.to(place), target.to(place))
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert is_elsewhere(layers[1].weight.grad)
    values, ids = layers[1].topk(hidden.to(DEVICE), 4, exact=False)
    assert ids.held.equal(layers[0].topk(hidden, 4, exact=False)[1])
    assert is_elsewhere(values)


def test_tables_and_samples_of_a_parameter():
    items = torch.randn(CLASSES, D, generator=torch.Generator().manual_seed(5))
    queries, include = inputs()
    tables = TorchTables.build("simhash:n_hashes=4,n_tables=6", items.to(DEVICE), hashing="matmul")
    found = tables.find(queries.to(DEVICE), 2)
    wanted = TorchTables.build(tables.family, items, hashing="matmul").find(queries, 2)
    for one, other in zip(found, wanted, strict=True):
        assert one.held.equal(other)
    options = SamplingOptions(n_active=30, n_hashes=3, rehash=2, backend="torch")
    samplers = [ParameterSampler(rows, options) for rows in (items, items.to(DEVICE))]
    for _ in range(3):
        wanted, found = (
            one.sample(queries.to(one.parameter.device), include=include.to(one.parameter.device))
            for one in samplers
        )
        assert found.ids.held.equal(wanted.ids)
        assert found.log_inclusion.held.equal(wanted.log_inclusion)
