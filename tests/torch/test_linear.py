"""Sampled output layers against the losses of PyTorch over all classes."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional

from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.torch import SampledLinearCrossEntropy, SampledLinearSigmoid, SamplingOptions

D, CLASSES, ROWS = 12, 60, 7
FULL = SamplingOptions(sampler="full")


def layer_of(kind=SampledLinearCrossEntropy, options=FULL, **arguments):
    torch.manual_seed(0)
    return kind(D, CLASSES, options=options, **arguments)


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, D, generator=generator)
    return hidden.requires_grad_(), torch.randint(CLASSES, (ROWS,), generator=generator)


def gradients(layer, hidden, loss):
    return torch.autograd.grad(loss, (hidden, layer.weight, layer.bias))


def assert_same(layer, hidden, loss, wanted, **tolerance):
    torch.testing.assert_close(loss, wanted, **tolerance)
    pairs = zip(gradients(layer, hidden, loss), gradients(layer, hidden, wanted), strict=True)
    for given, expected in pairs:
        torch.testing.assert_close(given.to_dense(), expected, **tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
@pytest.mark.parametrize(
    "arguments",
    [{"reduction": "sum"}, {"label_smoothing": 0.2}, {"weight": torch.arange(CLASSES) / 7}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_all_classes_give_the_cross_entropy_of_pytorch(arguments, active_set, training):
    layer = layer_of(options=SamplingOptions(sampler="full", active_set=active_set), **arguments)
    hidden, target = inputs()
    target[2] = -100
    wanted = functional.cross_entropy(layer.train(training).logits(hidden), target, **arguments)
    assert_same(layer, hidden, layer(hidden, target), wanted)


def test_without_a_reduction_rows_have_gradients_of_their_own():
    layer, (hidden, target), factors = layer_of(reduction="none"), inputs(), torch.arange(ROWS) / 3
    wanted = functional.cross_entropy(layer.logits(hidden), target, reduction="none")
    loss = layer(hidden.reshape(ROWS, 1, D), target.reshape(ROWS, 1))
    assert loss.shape == (ROWS, 1)
    torch.testing.assert_close(loss[:, 0], wanted)
    assert_same(layer, hidden, (layer(hidden, target) * factors).sum(), (wanted * factors).sum())


def indicator(labels):
    dense = torch.zeros(len(labels), CLASSES)
    for row, ids in enumerate(labels):
        dense[row, ids] = 1
    return dense


LABELS = [[3, 7], [5], [], [59, 0, 12], [1], [2, 3], [8]]
PADDED = torch.tensor([[*ids, *[-100] * (4 - len(ids))] for ids in LABELS])
PADDED[0, 2] = 3  # a label that is repeated is one


@pytest.mark.parametrize(
    "target",
    [PADDED, sp.csr_array(indicator(LABELS).numpy()), None],
    ids=["padded", "scipy", "sparse_csr"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_several_labels_a_row(target):
    hidden, dense = inputs()[0], indicator(LABELS)
    target = dense.to_sparse_csr() if target is None else target
    layer = layer_of()
    shares = dense / dense.sum(1, keepdim=True).clamp(min=1)
    sums = functional.cross_entropy(layer.logits(hidden), shares, reduction="sum")
    assert_same(layer, hidden, layer(hidden, target), sums / 6)
    weight = torch.linspace(0, 3, CLASSES)
    layer = layer_of(SampledLinearSigmoid, weight=weight, reduction="sum")
    wanted = functional.binary_cross_entropy_with_logits(layer.logits(hidden), dense, weight, reduction="sum")
    assert_same(layer, hidden, layer(hidden, target), wanted)


def test_the_sigmoid_leaves_ignored_rows_out():
    layer, (hidden, target) = layer_of(SampledLinearSigmoid), inputs()
    target[1] = -100
    kept = target >= 0
    dense = functional.one_hot(target[kept], CLASSES).float()
    each = functional.binary_cross_entropy_with_logits(layer.logits(hidden)[kept], dense, reduction="sum")
    assert_same(layer, hidden, layer(hidden, target), each / kept.sum())


def test_blocks_of_rows_add_up(monkeypatch):
    monkeypatch.setattr("lshsample.torch.loss._BLOCK_BYTES", 0)
    for active_set in ("batch", "sample"):
        layer = layer_of(options=SamplingOptions(sampler="full", active_set=active_set))
        hidden = torch.randn(50, D, generator=torch.Generator().manual_seed(5)).requires_grad_()
        target = torch.arange(50)
        wanted = functional.cross_entropy(layer.logits(hidden), target)
        assert_same(layer, hidden, layer(hidden, target), wanted)


#: A pipeline with a law, a mixture of draws, and sets of each row.
PIPELINES = {
    "lsh": {"sampler": "Retrieve() | Cap(12) | Uniform(8)", "n_hashes": 3, "n_tables": 4},
    "mixture": {
        "sampler": "Retrieve() | Top(6) | Uniform(5) | Frequency(4, power=0.75)",
        "frequencies": np.arange(1, CLASSES + 1),
        "n_hashes": 3,
        "n_tables": 4,
    },
    "sample": {"sampler": "Retrieve() | Cap(6) | Uniform(6)", "active_set": "sample", "n_hashes": 3},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_sigmoid_loss_and_its_gradients_are_unbiased(name):
    draws, (hidden, target) = 2000, inputs()
    layer = layer_of(SampledLinearSigmoid, SamplingOptions(**PIPELINES[name], rehash=0))
    wanted = layer.eval()(hidden, target)
    exact = [wanted.detach(), *gradients(layer, hidden, wanted)]
    sums, squares = ([torch.zeros_like(part, dtype=torch.float64) for part in exact] for _ in range(2))
    layer.train()
    for seed in range(draws):
        layer.options = SamplingOptions(**PIPELINES[name], seed=seed)  # of the draws; the tables stay
        loss = layer(hidden, target, step=1)
        for place, part in enumerate([loss.detach(), *gradients(layer, hidden, loss)]):
            sums[place] += part.double()
            squares[place] += part.double() ** 2
    for place, part in enumerate(exact):
        mean = sums[place] / draws
        error = ((squares[place] / draws - mean**2).clamp(min=0) / draws).sqrt()
        off = (mean - part).abs() / (error + 1e-6 * part.abs().max())
        assert off.max() < 4, name
        assert (off > 3).float().mean() < 0.01, "no more than a normal distribution has"


def test_sampled_softmax_is_near_the_full_one_and_follows_the_options():
    hidden, target = inputs()
    options = SamplingOptions(sampler="uniform", n_active=40)
    layer = layer_of(options=options)
    exact = layer.eval()(hidden, target)
    losses = [layer.train()(hidden, target).detach() for _ in range(300)]
    assert abs(torch.stack(losses).mean() - exact) < 0.02
    assert 40 <= layer.active_size <= 47
    assert 30 < layer.effective_sample_size < 47
    uncorrected = layer_of(options=SamplingOptions(sampler="uniform", n_active=40, importance="off"))
    assert uncorrected(hidden, target) < exact - 0.1, "a sum over fewer classes"


def test_draws_are_a_function_of_seed_and_step():
    hidden, target = inputs()
    options = SamplingOptions(sampler="uniform", n_active=20, seed=3)
    layer, other = layer_of(options=options), layer_of(options=options)
    first = [layer(hidden, target).item() for _ in range(3)]
    assert len(set(first)) == 3
    assert int(layer.step) == 3
    assert [other(hidden, target, step=step).item() for step in (1, 2, 3)] == first
    other.step.fill_(1)
    assert other(hidden, target).item() == first[1], "a training that goes on"


def test_state_dicts_of_a_linear_layer():
    layer, plain = layer_of(), torch.nn.Linear(D, CLASSES)
    layer.load_state_dict(plain.state_dict())
    hidden, target = inputs()
    torch.testing.assert_close(layer.logits(hidden), plain(hidden))
    layer.weight.data.mul_(2)
    plain.load_state_dict(layer.state_dict())
    assert plain.weight.equal(layer.weight)
    assert plain.weight.data_ptr() != layer.weight.data_ptr()
    embedding = torch.nn.Embedding(CLASSES, D)
    layer.weight = embedding.weight
    layer(hidden, target).backward()
    assert embedding.weight.grad.abs().sum() > 0, "tied weights"


def test_tables_are_built_from_the_weight_that_is_loaded():
    options = SamplingOptions(sampler="Retrieve() | Uniform(1)", n_hashes=4, rehash=0, family="simhash")
    layer, (hidden, target) = layer_of(options=options), inputs()
    layer(hidden, target)
    built = layer.sampler.maintained.tables
    near = torch.nn.Linear(D, CLASSES)
    near.weight.data[:ROWS] = hidden.detach()
    layer.load_state_dict(near.state_dict())
    layer(hidden, target)
    assert layer.sampler.maintained.tables is not built
    assert set(range(ROWS)) <= set(layer.sampler.last.ids.tolist()), "equal rows have equal codes"
    for forget in (lambda: layer.float(), layer.rebuild, layer.reset_parameters):
        forget()
        assert layer.sampler.maintained.n_builds == 0
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.sampler.number != layer.sampler.number
        assert again(hidden, target, step=1) == layer(hidden, target, step=1)


def test_prediction():
    layer, (hidden, _) = layer_of(options=SamplingOptions(sampler="lsh", n_active=30, n_hashes=2)), inputs()
    values, indices = layer.logits(hidden).topk(5)
    given = layer.topk(hidden.reshape(1, ROWS, D), 5)
    torch.testing.assert_close(given[0][0], values)
    assert given[1][0].equal(indices)
    assert layer.predict(hidden).equal(indices[:, 0])
    found = layer.topk(hidden, 5, exact=False)
    assert found[1].shape == (ROWS, 5)
    assert (found[1] == indices).float().mean() > 0.5
    assert found[0].lt(values + 1e-5).all()
    torch.testing.assert_close(layer.log_prob(hidden).exp().sum(1), torch.ones(ROWS))
    sigmoid = layer_of(SampledLinearSigmoid)
    torch.testing.assert_close(sigmoid.log_prob(hidden), functional.logsigmoid(sigmoid.logits(hidden)))
    with pytest.raises(UnsupportedError, match="does not retrieve from tables"):
        layer_of(options=SamplingOptions(sampler="uniform", n_active=9)).topk(hidden, 5, exact=False)


def test_bfloat16_parameters_and_autocast():
    hidden, target = inputs()
    options = SamplingOptions(sampler="lsh", n_active=30, n_hashes=3)
    layer = layer_of(options=options, dtype=torch.bfloat16)
    plain = layer_of(options=options)
    plain.load_state_dict(layer.state_dict())
    loss, wanted = layer(hidden, target), plain(hidden, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert layer.weight.grad.dtype == torch.bfloat16
    assert layer.eval().topk(hidden, 3)[1].equal(plain.topk(hidden, 3)[1])
    body = torch.nn.Linear(D, D)
    with torch.autocast("cpu", torch.bfloat16):
        inner = body(hidden)
        loss = plain(inner, target)
    assert inner.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert plain.weight.grad.dtype == body.weight.grad.dtype == torch.float32


def test_without_labels_there_is_no_loss():
    layer, (hidden, _) = layer_of(reduction="sum"), inputs()
    nothing = torch.full((ROWS,), -100)
    assert layer(hidden, nothing) == 0
    layer.reduction = "mean"
    assert layer(hidden, nothing).isnan(), "as of PyTorch"
    (gradient,) = torch.autograd.grad(layer(hidden, nothing), hidden)
    assert not gradient.isinf().any()


HIDDEN, TARGET = torch.zeros(ROWS, D), torch.zeros(ROWS, dtype=torch.int64)


@pytest.mark.parametrize(
    ("hidden", "target", "message"),
    [
        (np.zeros((ROWS, D)), TARGET, r"hidden must be a tensor \(got ndarray\)"),
        (torch.zeros(ROWS, 3), TARGET, r"hidden must be of shape \(..., 12\) \(got shape \(7, 3\)\)"),
        (HIDDEN.double(), TARGET, "hidden must be of dtype torch.float32, .*got torch.float64"),
        (HIDDEN.to("meta"), TARGET, "hidden must be on 'cpu'.*got on 'meta'"),
        (HIDDEN * torch.nan, TARGET, "queries must be"),
        (HIDDEN, TARGET.float(), "target must be ids of dtype torch.int64"),
        (HIDDEN, [0] * ROWS, "target must be a tensor of ids, or a sparse matrix"),
        (HIDDEN, TARGET[:3], r"target must be of shape \(7\) for one id a row, or \(7, m\)"),
        (HIDDEN, TARGET - 5, r"target must be ids from 0 to 59, or -100 for none \(got -5 at \(0,\)\)"),
        (HIDDEN, TARGET + CLASSES, r"target must be ids from 0 to 59.*got 60 at \(0,\)"),
        (HIDDEN, sp.csr_array((3, CLASSES)), "target must be a matrix of 7 rows"),
        (HIDDEN, sp.csr_array((ROWS, 3)), "target must be a matrix with 60 columns"),
    ],
)
def test_bad_inputs(hidden, target, message):
    layer = layer_of(options=SamplingOptions(sampler="lsh", n_active=30))
    with pytest.raises(ArgumentError, match=message):
        layer(hidden, target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 0}, "in_features must be an integer from 1"),
        ({"reduction": "max"}, "reduction must be one of 'mean', 'sum', 'none'"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be a finite number in \[0.0, 1.0\)"),
        ({"weight": torch.ones(3)}, r"weight must be a tensor of shape \(60,\)"),
        ({"weight": -torch.ones(CLASSES)}, "weight must be finite numbers of at least 0"),
        ({"weight": torch.ones(CLASSES), "label_smoothing": 0.1}, "weight must be left out with label_sm"),
        ({"dtype": torch.float64}, "dtype must be torch.float32 or torch.bfloat16"),
        ({"options": {}}, "options must be SamplingOptions, or None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        SampledLinearCrossEntropy(**{"in_features": D, "num_classes": CLASSES, "options": FULL, **arguments})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance": "maybe"}, "importance must be one of 'on', 'off'"),
        ({"n_active": 0}, "n_active must be an integer >= 1"),
        ({"sparse": "yes"}, "sparse must be one of True, False"),
        ({"sampler": 3}, "sampler must be a Pipeline, a Stage, or text"),
        ({"sampler": "Retrieve() | Cap(3)", "family": "simhsh"}, "simhash"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        layer_of(options=SamplingOptions(**options))


def test_what_is_not_known_is_said():
    hidden, target = inputs()
    layer = layer_of(options=SamplingOptions(sampler="Retrieve() | Top(5)", n_hashes=2))
    with pytest.raises(UnsupportedError, match="there was no training step yet"):
        _ = layer.active_size
    with pytest.raises(BiasedSampleError, match="leaves items with inclusion probability 0"):
        layer(hidden, target)
    assert "sampler=" in repr(layer)
