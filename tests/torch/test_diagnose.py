"""The diagnosis of a model of PyTorch."""

from __future__ import annotations

import pytest

from lshsample.errors import ArgumentError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lshsample.torch import diagnose  # noqa: E402


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 300))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 8, generator=generator), torch.randint(300, (n,), generator=generator))
        for n in (32, 16)
    ]


def kept_loss(logits, targets, k):
    kept = torch.full_like(logits, -torch.inf)
    top = logits.topk(k).indices
    for ids in (top, targets[:, None]):
        kept.scatter_(1, ids, logits.gather(1, ids))
    return functional.cross_entropy(kept, targets, reduction="sum")


def test_the_output_layer(model, batches):
    model.train()
    found = diagnose(model, iter(batches), layer="2", fractions=[0.05, 1], settings=[(2, 60)])
    with torch.no_grad():
        logits = [model(x) for x, _ in batches]
    for k, loss in ((15, found.oracle[0.05]), (300, found.loss), (300, found.oracle[1])):
        total = sum(kept_loss(z, y, k) for z, (_, y) in zip(logits, batches, strict=True))
        assert loss == pytest.approx(float(total) / 48, rel=1e-5)
    assert (found.n_units, found.n_rows, list(found.layers)) == (300, 48, ["0", "1", "2"])
    assert found.lookups[0].recall[0.05] > 0.95
    assert found.lookups[0].loss == pytest.approx(found.loss, rel=0.01)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_hidden_layer(model, batches):
    found = diagnose(model, batches, layer="0", fractions=[0.25, 1], settings=[(1, 1)])
    with torch.no_grad():
        total = 0.0
        for x, y in batches:
            z = model[0](x)
            z = torch.where(z >= z.topk(10).values[:, -1:], z, 0)
            total += float(functional.cross_entropy(model[2](z.relu()), y, reduction="sum"))
    assert found.oracle[0.25] == pytest.approx(total / 48, rel=1e-5)
    assert found.oracle[1] == pytest.approx(found.loss, rel=1e-6)


def test_many_labels_sequences_and_own_losses(model, batches):
    inputs = batches[0][0]
    many = torch.zeros(32, 300)
    many[torch.arange(32), batches[0][1]] = 1
    found = diagnose(model, [(inputs, many)], layer="2", fractions=[1], settings=[(2, 3)])
    with torch.no_grad():
        wanted = functional.binary_cross_entropy_with_logits(model(inputs), many)
    assert found.loss == found.oracle[1] == pytest.approx(float(wanted))
    sequence = (inputs.reshape(4, 8, 8), batches[0][1].reshape(4, 8))
    found = diagnose(model, [sequence], layer="2", settings=[(2, 3)])
    assert found.n_rows == 32
    own = diagnose(model, batches, layer="2", settings=[(2, 3)], loss=lambda z, y: z.square().mean())
    with torch.no_grad():
        losses = [float(model(x).square().mean()) for x, _ in batches]
    assert own.loss == pytest.approx((32 * losses[0] + 16 * losses[1]) / 48)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": 3}, "model must be an nn.Module"),
        ({"model": nn.ReLU()}, "model must be a model with a linear layer"),
        ({"model": nn.Linear(8, 3, device="meta")}, "model must be on the CPU"),
        ({"batches": []}, "batches must be .*no batch"),
        ({"batches": torch.ones(3)}, "batches must be an iterable"),
        ({"batches": [torch.ones(3)]}, "batches must be an iterable"),
        ({"layer": "1"}, "layer must be the name of an nn.Linear: 0, 2"),
        ({"fractions": 0.1}, "fractions must be"),
        ({"loss": lambda z, y: z}, "loss must be a mean"),
    ],
)
def test_bad_inputs(model, batches, given, message):
    arguments = {"model": model, "batches": batches, **given}
    with pytest.raises(ArgumentError, match=message):
        diagnose(**arguments)
