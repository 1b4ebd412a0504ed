"""Layers whose tables, draws, loss and update are tensor operations, beside those of the C core."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.torch import (
    ParameterSampler,
    RowAdam,
    SampledLinearCrossEntropy,
    SampledLinearSigmoid,
    SamplingOptions,
)

D, CLASSES, ROWS = 12, 60, 7
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
KINDS = [SampledLinearCrossEntropy, SampledLinearSigmoid]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def pair_of(kind=SampledLinearCrossEntropy, device="cpu", *, arguments=None, **options):
    """A layer of the core and one of tensor operations, with the same parameters and codes."""
    torch.manual_seed(0)
    options = {"sampler": "lsh", "n_active": 30, "n_hashes": 3, "rehash": 2, **options}
    core = kind(D, CLASSES, options=SamplingOptions(**options), **(arguments or {}))
    other = kind(
        D, CLASSES, options=SamplingOptions(**options, backend="torch", hashing="core"), **(arguments or {})
    )
    other.load_state_dict(core.state_dict())
    return core, other.to(device)


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, D, generator=generator)
    return hidden, torch.randint(CLASSES, (ROWS,), generator=generator)


def assert_same_step(core, other, hidden, target, device):
    """Equal active sets, losses and gradients."""
    given = hidden.clone().requires_grad_(), hidden.clone().to(device).requires_grad_()
    own = target.to(device) if isinstance(target, torch.Tensor) else target
    losses = core(given[0], target), other(given[1], own)
    torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=1e-5, atol=1e-5)
    if core.training:
        wanted, found = core.sampler.last, other.sampler.last
        for name in ("indptr", "ids", "counts"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        if not wanted.is_biased and not found.is_biased:
            np.testing.assert_array_max_ulp(found.log_inclusion, wanted.log_inclusion, 1)
        assert other.active_size == core.active_size
    for layer, loss, rows in zip((core, other), losses, given, strict=True):
        (loss * torch.arange(1, loss.numel() + 1, device=loss.device).reshape(loss.shape)).sum().backward()
        layer.found = [rows.grad.cpu(), *(p.grad.to_dense().cpu() for p in layer.parameters())]
        layer.zero_grad()
    for first, second in zip(core.found, other.found, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [
    {},
    {"active_set": "sample", "sparse": True},
    {"sampler": "Retrieve(budget=15) | Uniform(9)", "n_active": None, "sparse": True},
    {"sampler": "slide-topk", "importance": "off"},
    {"sampler": "full", "n_active": None},
], ids=["batch", "sample", "budget", "off", "full"])  # fmt: skip
@pytest.mark.parametrize("arguments", [
    {},
    {"reduction": "none", "label_smoothing": 0.2, "bias": False},
    {"reduction": "sum", "weight": torch.arange(CLASSES) / 7},
], ids=["mean", "smoothing", "weight"])  # fmt: skip
def test_steps_are_those_of_the_core(kind, options, arguments, device):
    core, other = pair_of(kind, device, arguments=arguments, **options)
    for step in range(3):  # with a rebuild
        hidden, target = inputs(step)
        target[2] = -100
        assert_same_step(core, other, hidden, target, device)
    assert_same_step(core.eval(), other.eval(), hidden, target, device)


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels_a_row(kind, device):
    core, other = pair_of(kind, device)
    hidden, _ = inputs()
    padded = torch.tensor(
        [[3, 7, 3], [5, -100, -100], [-100] * 3, [59, 0, 12], [1, -100, 2], [2, 3, 9], [8, 8, 8]]
    )
    indicator = np.zeros((ROWS, CLASSES), np.float32)
    for row, ids in enumerate(padded):
        indicator[row, ids[ids >= 0]] = 1
    for target in (padded, sp.csr_array(indicator)):
        assert_same_step(core, other, hidden, target, device)


def test_training_with_the_row_optimizer_ends_at_the_same_weights(device):
    core, other = pair_of(device=device, sparse=True)
    optimizers = RowAdam(core.parameters(), lr=0.05), RowAdam(other.parameters(), lr=0.05)
    for step in range(5):
        hidden, target = inputs(step)
        for layer, optimizer in zip((core, other), optimizers, strict=True):
            optimizer.zero_grad()
            layer(hidden.to(layer.weight.device), target.to(layer.weight.device)).backward()
            optimizer.step()
    torch.testing.assert_close(other.weight.cpu(), core.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.bias.cpu(), core.bias, rtol=1e-4, atol=1e-5)


def test_prediction(device):
    core, other = pair_of(device=device)
    hidden, target = inputs()
    for exact in (True, False):
        wanted = core.topk(hidden, 5, exact=exact)
        found = other.topk(hidden.to(device).reshape(1, ROWS, D), 5, exact=exact)
        torch.testing.assert_close(found[0][0].cpu(), wanted[0])
        assert found[1][0].cpu().equal(wanted[1])
    assert other.predict(hidden.to(device)).cpu().equal(core.predict(hidden))
    other(hidden.to(device), target.to(device))
    again = copy.deepcopy(other)
    assert again.sampler.number != other.sampler.number
    assert again.sampler.tables is None
    plain = SampledLinearCrossEntropy(
        D, CLASSES, options=SamplingOptions(sampler="uniform", n_active=9, backend="torch")
    )
    with pytest.raises(UnsupportedError, match="does not retrieve from tables"):
        plain.topk(hidden, 5, exact=False)


@pytest.mark.parametrize("options", [
    {},
    {"active_set": "sample"},
    {"sampler": "slide-topk", "importance": "off"},
], ids=["batch", "sample", "off"])  # fmt: skip
def test_samples_of_a_parameter_are_those_of_the_core(options, device):
    options = {"sampler": "lsh", "n_active": 30, "n_hashes": 3, "rehash": 2, **options}
    items = torch.randn(CLASSES, D, generator=torch.Generator().manual_seed(5))
    core = ParameterSampler(items.clone(), SamplingOptions(**options))
    own = torch.nn.Parameter(items.to(device))
    other = ParameterSampler(own, SamplingOptions(**options, backend="torch", hashing="core"))
    for step in range(3):  # with a rebuild
        queries, include = inputs(step)
        include = None if step == 0 else include[:, None]
        wanted = core.sample(queries, include=include)
        found = other.sample(queries.to(device), include=None if include is None else include.to(device))
        assert found.ids.device.type == device
        assert found.ids.cpu().equal(wanted.ids)
        assert found.indptr.cpu().equal(wanted.indptr)
        if wanted.log_inclusion is None:
            assert found.log_inclusion is None
        else:
            ulp = np.testing.assert_array_max_ulp
            ulp(found.log_inclusion.cpu().numpy(), wanted.log_inclusion.numpy(), 1)
        own.data += 0.1
        core.parameter += 0.1
    wanted, found = core.search(queries, 4), other.search(queries.to(device), 4)
    torch.testing.assert_close(found[0].cpu(), wanted[0])
    assert found[1].cpu().equal(wanted[1])
    with pytest.raises(ArgumentError, match=r"include must be ids from 0 to 59.*got 60"):
        other.sample(queries.to(device), include=torch.full((ROWS,), 60, device=device))


def test_queries_in_autocast_are_hashed_as_rows_are(device):
    codes = {"n_hashes": 24, "n_tables": 1}
    options = SamplingOptions(sampler="Retrieve()", importance="off", backend="torch", **codes)
    items = torch.randn(2000, D, generator=torch.Generator().manual_seed(5)).to(device)
    sampler = ParameterSampler(items, options)
    sampler.sample(items[:1])
    with torch.autocast(device, torch.bfloat16):
        assert len(sampler.sample(items).ids) == len(items)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # by PyTorch's own tracing
def test_compiled_and_in_autocast(device):
    _, layer = pair_of(device=device)
    _, same = pair_of(device=device)
    hidden, target = (part.to(device) for part in inputs())
    with torch.autocast(device, torch.bfloat16):
        loss = same(hidden.bfloat16(), target)
    assert loss.dtype == torch.float32
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(hidden, target), loss, rtol=1e-2, atol=1e-2)


def test_hashing_on_the_device_finds_what_the_core_finds(device):
    torch.manual_seed(0)
    options = SamplingOptions(sampler="Retrieve() | Uniform(1)", n_hashes=4, rehash=0, backend="torch")
    layer = SampledLinearCrossEntropy(D, CLASSES, options=options).to(device)
    hidden, target = (part.to(device) for part in inputs())
    layer.weight.data[:ROWS] = hidden
    layer(hidden, target)
    assert set(range(ROWS)) <= set(layer.sampler.last.ids.tolist()), "equal rows have equal codes"
    assert layer.sampler.tables.device.type == device


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "gpu"}, ArgumentError, "backend must be one of 'core', 'torch'"),
        ({"hashing": "matmul"}, ArgumentError, 'hashing must be left out with backend="core"'),
        (
            {"backend": "torch", "sampler": "slide-topk", "n_active": 9},
            BiasedSampleError,
            "probability 0 given",
        ),
        ({"backend": "torch", "sampler": "midx", "n_active": 9}, UnsupportedError, r"MIDX\(9\) \(stage 2 of"),
        (
            {"backend": "torch", "rehash": {"first": 5, "strategy": "drift"}, "n_active": 9},
            UnsupportedError,
            "Drift.* updates tables of the C core",
        ),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        SampledLinearCrossEntropy(D, CLASSES, options=SamplingOptions(**options))


def test_bad_inputs():
    _, layer = pair_of()
    hidden, target = inputs()
    with pytest.raises(ArgumentError, match=r"target must be ids from 0 to 59.*got 65 at \(3,\)"):
        layer(hidden, torch.where(torch.arange(ROWS) == 3, 65, target))
    with pytest.raises(ArgumentError, match="hidden must be on 'cpu', where the hash tables are"):
        layer(hidden.to("meta"), target)
    with pytest.raises(ArgumentError, match="queries must be finite"):
        layer(hidden * torch.nan, target)
