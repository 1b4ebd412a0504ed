"""Adaptive softmax: beside float64 and PyTorch's, gradients, the order of its units, saving and loading."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.nn import Adam, AdaptiveSoftmax, DataParallel, Dense, Input, Network, NetworkSpec
from lshsample.nn.signals import Run
from lshsample.tables import Candidates
from lshsample.training import Trainer

UNITS, INPUTS = 30, 12
LAST = AdaptiveSoftmax(UNITS, (6, 15), factor=2.0)


def network_of(last=LAST, seed=3, **options):
    network = Network([Input(INPUTS), Dense(8, "tanh"), last], seed, **options)
    network.allocate(1)
    return network


def rows(n=7, seed=1):
    return np.random.default_rng(seed).standard_normal((n, INPUTS), dtype=np.float32)


def labels(n=7, most=3, seed=2):
    """Several labels in most rows."""
    rng = np.random.default_rng(seed)
    lists = [rng.choice(UNITS, rng.integers(1, most + 1), replace=False) for _ in range(n)]
    indptr = np.cumsum([0, *map(len, lists)])
    data = np.ones(indptr[-1], np.float32)
    return sp.csr_array((data, np.concatenate(lists).astype(np.int32), indptr), shape=(n, UNITS))


def order(network, places):
    """Give the units places in the order of frequency."""
    network.output._places.vector[...] = places


def log_probabilities64(network, h):
    """Of all units, from the parameters."""
    values = {p.name.split(".")[1]: p.values.astype(np.float64) for p in network.output.parameters}

    def log_softmax(z):
        return z - np.logaddexp.reduce(z, axis=1)[:, None]

    spec = network.output.spec
    top = log_softmax(h @ values["head"].T + (values["bias"].T if "bias" in values else 0.0))
    first = spec.cutoffs[0]
    parts = [top[:, :first]]
    for number in range(len(spec.cutoffs)):
        inner = h @ values[f"projection{number + 1}"].T
        parts.append(log_softmax(inner @ values[f"cluster{number + 1}"].T) + top[:, first + number, None])
    places = values["places"][:, 0].astype(int)
    return np.concatenate(parts, axis=1)[:, places if places.any() else np.arange(UNITS)]


def loss64(network, x, y):
    values = {p.name: p.values.astype(np.float64) for p in network.parameters}
    h = np.tanh(x.astype(np.float64) @ values["1.weights"] + values["1.bias"])
    targets = y.toarray() / y.sum(axis=1)[:, None]
    return -(targets * log_probabilities64(network, h)).sum(axis=1).mean()


def gradients(network, x, y):
    batch = network.batch(x, y)
    run = Run(threads=1, step=1, training=True, sampled=True, targets=batch.y)
    return network.gradients(batch.x, batch.y, run, count_hits=True)


@pytest.mark.parametrize("last", [LAST, AdaptiveSoftmax(UNITS, (4,), bias=True)])
def test_probabilities_are_those_of_the_formula_and_sum_to_1(last):
    network, h = network_of(last), np.random.default_rng(4).standard_normal((9, 8), dtype=np.float32)
    if last.bias:
        network.output._head.bias.vector[...] = np.linspace(-1, 1, 5)
    order(network, np.random.default_rng(5).permutation(UNITS))
    found = network.output.log_probabilities(h)
    np.testing.assert_allclose(found, log_probabilities64(network, h), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, rtol=1e-5)
    ids = np.array([29, 0, 4], np.int32)
    np.testing.assert_array_equal(network.output.score(h, ids), found[:, ids])
    with pytest.raises(ArgumentError, match="ids"):
        network.output.score(h, np.array([UNITS], np.int32))


@pytest.mark.parametrize("bias", [False, True])
def test_losses_and_gradients_are_those_of_pytorch_with_the_same_weights(bias):
    torch = pytest.importorskip("torch")
    network = network_of(attrs.evolve(LAST, bias=bias))
    x, y = rows(40), np.random.default_rng(6).integers(0, UNITS, 40)
    values = {p.name.split(".", 1)[1]: torch.from_numpy(p.values.copy()) for p in network.parameters[2:]}
    twin = torch.nn.AdaptiveLogSoftmaxWithLoss(8, UNITS, [6, 15], div_value=2.0, head_bias=bias)
    with torch.no_grad():
        twin.head.weight.copy_(values["head"])
        if bias:
            twin.head.bias.copy_(values["bias"][:, 0])
        for number, tail in enumerate(twin.tail, 1):
            tail[0].weight.copy_(values[f"projection{number}"])
            tail[1].weight.copy_(values[f"cluster{number}"])
    h = torch.from_numpy(network.hidden(x))
    loss = twin(h, torch.from_numpy(y)).loss
    loss.backward()
    one = sp.csr_array((np.ones(40, np.float32), y, np.arange(41)), shape=(40, UNITS))
    report, updates = gradients(network, x, one)
    assert report.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    np.testing.assert_allclose(
        network.output.log_probabilities(h.numpy()), twin.log_prob(h).detach().numpy(), rtol=1e-4, atol=1e-5
    )
    found = {update.parameter.name: update.gradient for update in updates}
    np.testing.assert_allclose(found["2.head"], twin.head.weight.grad.numpy(), rtol=1e-4, atol=1e-6)
    if bias:
        np.testing.assert_allclose(found["2.bias"][:, 0], twin.head.bias.grad.numpy(), rtol=1e-4, atol=1e-6)
    for number, tail in enumerate(twin.tail, 1):
        for name, linear in zip(("projection", "cluster"), tail, strict=True):
            gradient = linear.weight.grad.numpy()
            np.testing.assert_allclose(found[f"2.{name}{number}"], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_central_differences(bias):
    """Of every parameter, those of the layer below included; several labels a row, after weight decay."""
    network, x, y = network_of(attrs.evolve(LAST, bias=bias)), rows(), labels()
    order(network, np.random.default_rng(7).permutation(UNITS))
    network.output.parameters[0].decay(0.5)
    network.output.parameters[-2].decay(0.75)
    report, updates = gradients(network, x, y)
    assert report.loss == pytest.approx(loss64(network, x, y), rel=1e-5)
    found = {update.parameter.name: update.gradient for update in updates}
    assert found.keys() == {p.name for p in network.parameters if p.trained}
    rng, step = np.random.default_rng(8), 1e-2
    for parameter in network.parameters[:-1]:
        assert found[parameter.name].shape == (parameter.rows, parameter.columns)
        for _ in range(6):
            at = rng.integers(parameter.rows), rng.integers(parameter.columns)
            before = parameter.weights[at]
            sides = []
            for moved in (before + step, before - step):
                parameter.weights[at] = moved
                sides.append(loss64(network, x, y))
            parameter.weights[at] = before
            wanted = (sides[0] - sides[1]) / (2 * step)
            assert found[parameter.name][at] == pytest.approx(wanted, rel=2e-3, abs=2e-5)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    x, y, found = rows(50), labels(50), []
    for threads in (1, 2):
        network = network_of()
        trainer = Trainer(network, epochs=2, batch_size=16, threads=threads, optimizer=Adam(weight_decay=0.1))
        trainer.fit(x, y)
        found.append([p.weights.copy() for p in network.parameters])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_units_are_in_the_order_of_their_first_labels():
    network, y = network_of(), labels(200)
    network.observe(rows(200), y)
    counts = np.bincount(y.indices, minlength=UNITS)
    places = network.output._places.vector
    assert sorted(places) == list(range(UNITS))
    assert (np.diff(counts[np.argsort(places)]) <= 0).all()
    before = places.copy()
    network.observe(rows(5), labels(5, seed=9))  # the weights belong to the first order
    np.testing.assert_array_equal(places, before)


def test_without_training_labels_the_units_keep_their_order():
    network = network_of()
    Trainer(network, threads=1).step(rows(), labels())
    np.testing.assert_array_equal(network.output._places.vector, np.arange(UNITS))
    network.observe(rows(200), labels(200))
    np.testing.assert_array_equal(network.output._places.vector, np.arange(UNITS))


def test_it_learns_and_is_saved(tmp_path):
    """Most rows are right after training; hits are those of the units that a step computes."""
    rng = np.random.default_rng(0)
    y = np.minimum(rng.geometric(0.12, 3000) - 1, UNITS - 1)
    classes = rng.permutation(UNITS)  # frequent units have any label
    x = (3 * rng.standard_normal((UNITS, INPUTS))[y] + rng.standard_normal((3000, INPUTS))).astype(np.float32)
    matrix = sp.csr_array((np.ones(3000, np.float32), classes[y], np.arange(3001)), shape=(3000, UNITS))
    network = network_of(seed=1)
    Trainer(network, epochs=8, batch_size=64, lr=1e-2, threads=1).fit(x, matrix)
    assert network.evaluate(x, matrix, top=(1,))["p@1"] > 90
    report, _ = gradients(network, x, matrix)
    best = network.predict(x, top=1)[0][:, 0]
    assert report.hits == pytest.approx((best == classes[y]).mean(), abs=0.02)
    network.save(tmp_path / "model")
    again = Network.load(tmp_path / "model")
    assert again.spec == network.spec == NetworkSpec.from_toml(network.spec.to_toml())
    for one, other in zip(network.predict(x, top=4), again.predict(x, top=4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_best_units_are_those_of_the_largest_probabilities(monkeypatch):
    monkeypatch.setattr("lshsample.nn.adaptive._BLOCK", 3 * UNITS)
    network, h = network_of(), np.random.default_rng(4).standard_normal((8, 8), dtype=np.float32)
    order(network, np.random.default_rng(5).permutation(UNITS))
    wanted = network.output.log_probabilities(h)
    ids, scores = network.output.top_k(h, 5)
    np.testing.assert_array_equal(ids, np.argsort(-wanted, axis=1)[:, :5])
    np.testing.assert_array_equal(scores, -np.sort(-wanted)[:, :5])
    lists = [np.sort(np.random.default_rng(i).choice(UNITS, 2 * i, replace=False)) for i in range(8)]
    units = np.concatenate(lists).astype(np.int32)
    found = Candidates(np.cumsum([0, *map(len, lists)]), units, np.ones(len(units), np.int32))
    ids, scores = network.output.top_k(h, 3, found)
    assert (ids[0] == -1).all()
    for row in range(2, 8):
        best = lists[row][np.argsort(-wanted[row, lists[row]])[:3]]
        np.testing.assert_array_equal(ids[row], best)


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"precision": "int8"}, {"moments": "float8"}])
def test_other_precisions_train(options):
    network, x, y = network_of(**options), rows(60), labels(60, most=1)
    history = Trainer(network, epochs=12, batch_size=20, lr=2e-2, threads=1).fit(x, y)
    assert history.epochs[-1].loss < 0.9 * history.epochs[0].loss


@pytest.mark.parametrize(
    ("cutoffs", "given"),
    [((), r"\(\)"), ((5, 5), r"\(5, 5\)"), ((0, 3), "0"), ((30,), "30"), (4, "4"), ((2.5,), "2.5")],
)
def test_bad_cutoffs_are_refused(cutoffs, given):
    with pytest.raises(ArgumentError, match=f"cutoffs must be ascending integers from 1 to 29.*{given}"):
        AdaptiveSoftmax(UNITS, cutoffs)


def test_cutoffs_of_numpy_are_integers_of_python():
    for cutoffs in (np.array([6, 15]), [np.int32(6), np.int64(15)], [6, 15]):
        made = AdaptiveSoftmax(UNITS, cutoffs, factor=2.0)
        assert made == LAST
        assert [type(one) for one in made.cutoffs] == [int, int]
    with pytest.raises(ArgumentError, match=r"cutoffs must be ascending integers.*5\.5"):
        AdaptiveSoftmax(UNITS, np.array([5.5]))


def test_a_large_factor_leaves_one_column():
    network = Network([Input(8), AdaptiveSoftmax(UNITS, (6, 15), factor=1e200)])
    assert network.n_parameters == 8 * 8 + 8 + 9 + 8 + 15


def test_inputs_of_another_form_are_refused():
    """With any strides between rows, inputs are taken as they are."""
    network = network_of()
    h, ids = np.random.default_rng(4).standard_normal((9, 8), dtype=np.float32), np.array([3, 4], np.int32)
    output = network.output
    for call in (
        output.log_probabilities, output.score, lambda rows: output.score(rows, ids),
        lambda rows: output.top_k(rows, 3),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"h must be an array with 8 columns \(got 5 columns\)"):
            call(h[:, :5].copy())
        with pytest.raises(ArgumentError, match=r"h must be a 2-D array of float32 \(got 2-D float64"):
            call(h.astype(np.float64))
        with pytest.raises(ArgumentError, match="h must be a 2-D array of float32"):
            call(h[0])
        wide = np.concatenate([h, h], axis=1)[:, :8]
        np.testing.assert_array_equal(call(wide), call(h))
    for k in (0, UNITS + 1):
        with pytest.raises(ArgumentError, match=rf"k must be an integer from 1 to {UNITS} \(got {k}\)"):
            output.top_k(h, k)


def test_what_it_cannot_do_is_refused():
    network = network_of()
    with pytest.raises(UnsupportedError, match="layer 2: an adaptive softmax has no vector for each unit"):
        network.output.unit_vectors()
    with pytest.raises(UnsupportedError, match="no logits of all units"):
        network.output.logits(None, None)
    with pytest.raises(UnsupportedError, match="the last layer"):
        network.output.forward(None, None)
    with pytest.raises(UnsupportedError, match="8-bit copy"):
        network.predict(rows(), precision="int8")
    with pytest.raises(UnsupportedError, match="samples"):
        network.predict(rows(), mode="sampled")
    with pytest.raises(UnsupportedError, match="AdaptiveSoftmaxLayer cannot be exported"):
        network.to_torch()
    with pytest.raises(UnsupportedError, match="weights in each process"):
        DataParallel(network.spec.layers)
    with pytest.raises(ArgumentError, match="units"):
        AdaptiveSoftmax(2**24 + 1, (5,))
