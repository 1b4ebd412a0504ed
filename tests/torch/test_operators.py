"""The operators in PyTorch's own checks, under its compiler and its transforms."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lshsample.errors import UnsupportedError
from lshsample.torch import SampledLinearCrossEntropy, SampledLinearSigmoid, SamplingOptions
from lshsample.torch.active import draw_active_set
from lshsample.torch.loss import sampled_loss

D, CLASSES, ROWS = 6, 40, 5
OPTIONS = {"sampler": "lsh", "n_active": 20, "n_hashes": 3, "rehash": 0}


def layer_of(kind=SampledLinearCrossEntropy, reduction="mean", **options):
    torch.manual_seed(0)
    return kind(D, CLASSES, reduction=reduction, options=SamplingOptions(**{**OPTIONS, **options}))


def inputs():
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(ROWS, D, generator=generator)
    return hidden.requires_grad_(), torch.randint(CLASSES, (ROWS,), generator=generator)


def arguments_of(layer, hidden, target, gradients=True):
    """The arguments of both operators."""
    drawing = (
        hidden.detach(),
        layer.weight.detach(),
        target,
        None,
        torch.tensor(1),
        layer.sampler.number,
        0,
        -100,
    )
    shape = "sigmoid" if isinstance(layer, SampledLinearSigmoid) else "softmax", layer.reduction, 0.0, False
    loss = (
        hidden,
        layer.weight,
        layer.bias,
        *draw_active_set(*drawing),
        None,
        None,
        *shape,
        gradients,
        gradients,
    )
    return drawing, loss


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_operators_are_as_pytorch_expects(active_set, reduction):
    layer = layer_of(reduction=reduction, active_set=active_set)
    drawing, loss = arguments_of(layer, *inputs(), gradients=reduction != "none")
    torch.library.opcheck(draw_active_set, drawing)
    torch.library.opcheck(sampled_loss, loss)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
@pytest.mark.parametrize("kind", [SampledLinearCrossEntropy, SampledLinearSigmoid])
@pytest.mark.filterwarnings("ignore:Input #. requires gradient and is not a double precision")
def test_gradients_are_those_of_differences(kind, active_set, reduction):
    """On the kernels themselves, which are float32: with large differences, and tolerances of its errors."""
    layer = layer_of(kind, reduction, active_set=active_set)
    hidden, target = inputs()
    _, arguments = arguments_of(layer, hidden, target, gradients=reduction != "none")

    def loss(*differentiable):
        return sampled_loss(*differentiable, *arguments[3:])[0]

    points = hidden, layer.weight, layer.bias
    assert torch.autograd.gradcheck(loss, points, eps=1e-2, atol=5e-3, rtol=2e-2, nondet_tol=0.0)


@pytest.mark.parametrize(("reduction", "sparse"), [("mean", False), ("mean", True), ("none", False)])
def test_compiled_without_a_break_the_loss_is_the_same(reduction, sparse):
    layer, plain = (layer_of(reduction=reduction, sparse=sparse) for _ in range(2))
    body, (hidden, target) = torch.nn.Linear(D, D), inputs()
    # The compiler's front ends; the last one, which makes C++ of other operators, takes a minute.
    compiled = torch.compile(lambda h, t: layer(body(h).relu(), t), fullgraph=True, backend="aot_eager")
    for _ in range(3):
        loss, wanted = compiled(hidden, target).sum(), plain(body(hidden).relu(), target).sum()
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
        given, expected = (
            torch.autograd.grad(value, (body.weight, own.weight, own.bias))
            for value, own in ((loss, layer), (wanted, plain))
        )
        torch.testing.assert_close([one.to_dense() for one in given], [one.to_dense() for one in expected])
    assert int(layer.step) == 3


def test_gradients_accumulate():
    layer, (hidden, target) = layer_of(sparse=True), inputs()
    halves = [(hidden[:3], target[:3]), (hidden[3:], target[3:])]
    for step, (rows, labels) in enumerate(halves, 1):
        (layer(rows, labels, step=step) / 2).backward()
    total = layer.weight.grad.to_dense()
    layer.zero_grad()
    parts = []
    for step, (rows, labels) in enumerate(halves, 1):
        (gradient,) = torch.autograd.grad(layer(rows, labels, step=step), layer.weight)
        parts.append(gradient.to_dense() / 2)
    torch.testing.assert_close(total, sum(parts))


def test_checkpointing_needs_the_step():
    layer, (hidden, target) = layer_of(), inputs()
    loss = checkpoint(layer, hidden, target, use_reentrant=False)
    with pytest.raises(UnsupportedError, match="would draw another active set; give the number of the step"):
        loss.backward()
    loss = checkpoint(lambda h: layer(h, target, step=4), hidden, use_reentrant=False)
    (given,) = torch.autograd.grad(loss, hidden)
    (wanted,) = torch.autograd.grad(layer(hidden, target, step=4), hidden)
    torch.testing.assert_close(given, wanted)


def test_what_is_not_supported_is_refused():
    layer, (hidden, target) = layer_of(), inputs()
    (gradient,) = torch.autograd.grad(layer(hidden, target), hidden, retain_graph=True)
    assert gradient.shape == hidden.shape
    with pytest.raises(UnsupportedError, match="no second derivatives: leave out create_graph=True"):
        torch.autograd.grad(layer(hidden, target), hidden, create_graph=True)
    with pytest.raises(UnsupportedError, match="vmap"):
        torch.func.vmap(layer, randomness="same")(hidden[:, None], target[:, None])
    loss = layer(hidden, target)
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_no_gradients_are_computed_that_nobody_wants():
    layer, (hidden, target) = layer_of(), inputs()
    layer.requires_grad_(False)
    loss = layer(hidden, target)
    (given,) = torch.autograd.grad(loss, hidden)
    layer.requires_grad_(True)
    (wanted,) = torch.autograd.grad(layer(hidden, target, step=1), hidden)
    torch.testing.assert_close(given, wanted)
    with torch.no_grad():
        assert not layer(hidden, target).requires_grad
    layer(hidden.detach(), target).backward()
    assert layer.bias.grad is not None
    assert layer.weight.grad.abs().sum() > 0
