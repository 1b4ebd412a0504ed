"""Convolutions and feed-forward blocks with an active set of units, beside the dense ones."""

import pytest
import torch
from torch.nn import functional

from lshsample.errors import ArgumentError
from lshsample.torch import RowAdam, SampledConv2d, SampledFeedForward, SamplingOptions

BACKENDS = ["core", "torch"]


def options_of(backend="core", **changes):
    return SamplingOptions(
        **{"n_active": 6, "n_hashes": 3, "importance": "off", "rehash": 3, "backend": backend, **changes}
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_active_channels_and_their_gradients_are_exact(backend):
    torch.manual_seed(0)
    layer = SampledConv2d(3, 40, 3, stride=2, padding=1, options=options_of(backend))
    images = torch.randn(4, 3, 9, 9, requires_grad=True)
    outputs = layer(images)
    active = (outputs != 0).any(3).any(2).any(0)
    assert 4 <= active.sum() < 12
    wanted = functional.conv2d(images, layer.weight, layer.bias, stride=2, padding=1)
    wanted = wanted * active[None, :, None, None]
    torch.testing.assert_close(outputs, wanted)
    factors = torch.randn(outputs.shape)
    parameters = images, layer.weight, layer.bias
    found, exact = (torch.autograd.grad((y * factors).sum(), parameters) for y in (outputs, wanted))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)
    plain = torch.nn.Conv2d(3, 40, 3, stride=2, padding=1)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.eval()(images), plain(images))


def test_moved_parameters_get_new_tables():
    layer = SampledConv2d(2, 40, 3, options=options_of("torch"))
    layer(torch.randn(2, 2, 5, 5))
    assert layer.units.sampler.n_builds == 1
    layer.to("cpu")
    assert layer.units.sampler.tables is None


def test_the_filters_of_the_patches_are_found():
    torch.manual_seed(0)
    options = options_of(sampler="Retrieve() | Top(3)", n_active=None, n_hashes=6, rehash=0)
    layer = SampledConv2d(2, 50, 3, options=options)
    image = torch.randn(1, 2, 3, 3)  # one patch
    with torch.no_grad():
        layer.weight[17] = image[0]
    assert 17 in layer.active(image)[1]


def test_an_active_set_may_be_empty():
    options = options_of(sampler="Retrieve() | Top(3)", n_active=None, n_hashes=14, n_tables=1)
    layer = SampledConv2d(2, 4, 3, options=options)
    images = torch.randn(1, 2, 3, 3, requires_grad=True)
    with torch.no_grad():
        layer.weight.copy_(-images[0])  # the patch falls into no bucket of these filters
    outputs, channels = layer.active(images)
    assert outputs.shape == (1, 0, 1, 1)
    assert len(channels) == 0
    outputs = layer(images)
    assert outputs.shape == (1, 4, 1, 1)
    assert not outputs.any()
    outputs.sum().backward()
    assert not layer.weight.grad.any()
    assert not images.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_corrected_channels_estimate_the_sums_of_all_without_bias(backend):
    torch.manual_seed(0)
    options = options_of(backend, n_active=20, importance="on", rehash=0)
    layer = SampledConv2d(2, 60, 3, options=options, sampled_in_evaluation=True).eval()
    above = torch.nn.Linear(60 * 4, 3)
    images = torch.randn(2, 2, 6, 6)

    def sums(channels):
        return above(functional.max_pool2d(channels.relu(), 2).flatten(1))

    with torch.no_grad():
        exact = sums(functional.conv2d(images, layer.weight, layer.bias))
        draws = torch.stack([sums(layer(images)) for _ in range(400)])
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 4.5 * error).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_feed_forward_block(backend):
    torch.manual_seed(0)
    block = SampledFeedForward(8, 60, options=options_of(backend, sparse=True))
    inputs = torch.randn(2, 5, 8, requires_grad=True)
    outputs = block(inputs)
    ids = torch.from_numpy(block.units.sampler.last.ids).long()
    assert 4 <= len(ids) < 12
    units = functional.gelu(functional.linear(inputs, block.up_weight[ids], block.up_bias[ids]))
    wanted = units @ block.down_weight[ids] + block.down_bias
    torch.testing.assert_close(outputs, wanted)
    parameters = (inputs, *block.parameters())
    found, exact = (
        torch.autograd.grad(y.square().sum(), parameters, retain_graph=True) for y in (outputs, wanted)
    )
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.to_dense(), other)
    outputs.square().sum().backward()
    before = block.up_weight.detach().clone()
    RowAdam(block.parameters()).step()
    assert (block.up_weight != before).any(1).nonzero().ravel().equal(ids)
    every = functional.gelu(functional.linear(inputs, block.up_weight, block.up_bias))
    torch.testing.assert_close(block.eval()(inputs), every @ block.down_weight + block.down_bias)


def test_corrected_units_estimate_the_dense_output_without_bias():
    torch.manual_seed(0)
    options = options_of(n_active=20, importance="on", rehash=0)
    block = SampledFeedForward(6, 60, options=options, sampled_in_evaluation=True)
    inputs = torch.randn(3, 6)
    exact = functional.gelu(functional.linear(inputs, block.up_weight, block.up_bias))
    exact = exact @ block.down_weight + block.down_bias
    with torch.no_grad():
        draws = torch.stack([block.eval()(inputs) for _ in range(400)])
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 4.5 * error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SampledConv2d(3, 8, 3, options={}), "options must be SamplingOptions, or None"),
        (
            lambda: SampledConv2d(3, 8, 3, options=SamplingOptions(n_active=2, sparse=True)),
            "options must be sparse=False",
        ),
        (lambda: SampledConv2d(3, 8, 3)(torch.zeros(3, 5, 5)), r"images must be of shape \(n, 3, height"),
        (lambda: SampledFeedForward(0, 8), "features must be an integer from 1"),
        (lambda: SampledFeedForward(4, 8, activation="relu"), "activation must be a function of tensors"),
        (lambda: SampledFeedForward(4, 8)(torch.zeros(2, 3)), r"inputs must be of shape \(..., 4\)"),
        (lambda: SampledFeedForward(4, 8, n_queries=0), "n_queries must be an integer from 1"),
        (
            lambda: SampledFeedForward(4, 8, options=SamplingOptions(active_set="sample", n_active=2)),
            "options must be one set: active_set='batch'",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
