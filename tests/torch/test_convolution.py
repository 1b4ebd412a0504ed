"""Sparse convolution layers beside torch.nn.Conv2d with the same weights."""

from __future__ import annotations

import pytest
import torch

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.torch import SparseConv2d


def dense_twin(layer, conv):
    """The dense layer with the sparse one's weights."""
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(layer.filters.dense()))
    return conv


@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2, "padding": (1, 0), "dilation": (1, 2)}]
)
def test_output_and_gradients_are_those_of_a_dense_layer(options):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 6, 3, **options)
    layer = SparseConv2d.from_conv(conv, 0.3)
    conv = dense_twin(layer, conv)
    images = torch.randn(18, 4, 9, 8)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    out, wanted = layer(ours), conv(theirs)
    torch.testing.assert_close(out, wanted)
    gradient = torch.randn_like(out)
    out.backward(gradient)
    wanted.backward(gradient)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.bias.grad, conv.bias.grad, rtol=1e-4, atol=1e-4)
    places = torch.from_numpy(layer.filters.dense() != 0)
    torch.testing.assert_close(layer.values.grad, conv.weight.grad[places], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("method", ["direct", "winograd2", "winograd4"])
def test_a_layer_is_trained_and_pruned(method):
    torch.manual_seed(0)
    target = torch.nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():  # nine of ten weights are small
        target.weight *= (torch.rand_like(target.weight) < 0.1) * 0.97 + 0.03
    layer = SparseConv2d(3, 4, 3, padding=1, density=1.0, method=method)
    images = torch.randn(16, 3, 6, 6)
    wanted = target(images).detach()

    def fit():
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
        losses = []
        for _ in range(120):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(layer(images), wanted)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    whole = fit()
    assert whole[-1] < 0.2 * whole[0]
    assert layer.prune(0.5) == len(layer.values)
    pruned = fit()
    assert pruned[-1] < min(pruned[0], 0.4 * whole[0])


def test_state_dicts_hold_the_places_too():
    first, second = (SparseConv2d(3, 5, 3, density=density) for density in (0.2, 0.4))
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 6, 6)
    assert torch.equal(first(images), second(images))
    assert "density=0.2" in repr(second)


def test_bad_layers_and_images_are_refused():
    with pytest.raises(ArgumentError, match="groups"):
        SparseConv2d.from_conv(torch.nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ArgumentError, match="padding"):
        SparseConv2d.from_conv(torch.nn.Conv2d(4, 4, 3, padding_mode="circular"))
    with pytest.raises(ArgumentError, match="method"):
        SparseConv2d(4, 4, 3, method="fft")
    with pytest.raises(ArgumentError, match="stride"):
        SparseConv2d(4, 4, 3, stride=2, method="winograd2")
    layer = SparseConv2d(4, 4, 3)
    with pytest.raises(ArgumentError, match="density"):
        layer.prune(0.9)
    with pytest.raises(UnsupportedError, match="float64"):
        layer(torch.ones(1, 4, 5, 5, dtype=torch.float64))
