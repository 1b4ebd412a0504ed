"""The diagnosis of a network: exact with all units, the loss of the oracle by hand, what tables find."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.diagnosis import Diagnosis, Lookup, diagnose
from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Sampled, Sparse

N_LABELS = 200


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = sp.csr_array((rng.random((60, 30)) < 0.2).astype(np.float32))
    y = sp.csr_array(
        (np.ones(60, np.float32), (np.arange(60), rng.integers(N_LABELS, size=60))), (60, N_LABELS)
    )
    return x, y


def network(loss="softmax", hidden=()):
    return Network([Sparse(30), Dense(16), *hidden, Sampled(N_LABELS, loss, sampler="full")], seed=1)


def logits_of(net, x):
    return net.output.score(net.hidden(x))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_loss_of_the_largest_logits_and_the_labels(data, loss):
    x, y = data
    net = network(loss)
    found = diagnose(net, x, y, fractions=[0.1, 1], settings=[(4, 6)], threads=1)
    z, label = logits_of(net, x).astype(np.float64), y.toarray() > 0

    def mean_loss(kept):
        if loss == "softmax":
            return (np.log((np.exp(z) * kept).sum(1)) - z[label]).mean()
        return ((np.logaddexp(0, z) * kept).sum(1) - z[label]).mean()

    assert found.loss == pytest.approx(mean_loss(np.ones_like(label)), rel=1e-5)
    assert found.oracle[1] == pytest.approx(found.loss, rel=1e-6)
    top = z >= np.sort(z, axis=1)[:, [-20]]
    assert found.oracle[0.1] == pytest.approx(mean_loss(top | label), rel=1e-5)
    assert found.enough == 1
    assert (found.layer, found.n_units, found.n_rows) == ("2 Sampled", N_LABELS, 60)


def test_hidden_layers_are_examined(data):
    x, y = data
    net = network(hidden=[Dense(40)])
    found = diagnose(net, x, y, layer=2, fractions=[0.5, 1], settings=[(1, 20)], threads=1)
    assert found.layer == "2 Dense"
    assert found.oracle[1] == pytest.approx(found.loss, rel=1e-6)
    # Half of the hidden units suffice, as no more are above 0 in most rows.
    assert abs(found.oracle[0.5] - found.loss) < 0.01
    # A bucket of one bit has half of the units, and 20 tables nearly all.
    assert found.lookups[0].recall[0.5] > 0.98
    assert found.lookups[0].share > 0.95


def test_the_default_layer_is_the_slowest(data):
    x, y = data
    found = diagnose(network(hidden=[Dense(20)]), x, y, settings=[(3, 3)], threads=1)
    assert found.layers[found.layer] == max(found.layers[name] for name in list(found.layers)[1:])
    assert 0 < found.share < 1


def test_more_tables_find_more(data):
    x, y = data
    few, many = diagnose(network(), x, y, settings=[(5, 2), (5, 40)], threads=1).lookups
    assert few.share < many.share
    assert all(few.recall[f] < many.recall[f] for f in few.recall)
    assert few.recall[0.01] > few.share, "tables find large outputs before others"


BASE = Diagnosis(
    layers={"1": 1.0, "2": 9.0},
    layer="2",
    n_units=1000,
    n_rows=10,
    loss=2.0,
    oracle={0.01: 1.5, 0.1: 1.99},
    exact_seconds=10.0,
    lookups=(
        Lookup(5, 10, 0.05, {0.01: 0.9, 0.1: 0.8}, 1.995, 1.0),
        Lookup(9, 10, 0.01, {0.01: 0.5, 0.1: 0.1}, 1.0, 0.1),
    ),
)


def test_what_follows():
    assert (BASE.share, BASE.enough, BASE.best) == (0.9, 0.1, BASE.lookups[0])
    assert BASE.speed_up(1.0) == pytest.approx(1 / 0.19)
    assert BASE.verdict.endswith("A sampled layer pays here.")
    slow = attrs.evolve(BASE, lookups=(attrs.evolve(BASE.lookups[0], seconds=9.9),))
    assert slow.verdict.endswith("to find and score the units takes too long.")
    small = attrs.evolve(BASE, layers={"1": 99.0, "2": 1.0})
    assert small.verdict.endswith("the layer takes too little of the time.")
    lost = attrs.evolve(BASE, oracle={0.1: 5.0}, lookups=BASE.lookups[1:])
    assert (lost.enough, lost.best) == (None, None)
    assert "so that no way to find them can" in lost.verdict
    assert "No tables that were tried do" in lost.verdict
    for each in (slow, small, lost):
        assert not each.pays


def test_text_json_and_picture(tmp_path):
    text = str(BASE)
    assert "90.0%" in text
    assert text.endswith(BASE.verdict)
    assert json.loads(json.dumps(BASE.to_dict()))["pays"] is True
    pytest.importorskip("matplotlib")
    BASE.plot(tmp_path / "d.svg")
    assert "<svg" in (tmp_path / "d.svg").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 1}, "layer must be an integer from 2 to 2"),
        ({"layer": 3}, "layer must be an integer from 2 to 2"),
        ({"fractions": [0]}, "fractions must be"),
        ({"fractions": []}, "fractions must be a sequence"),
        ({"settings": [3]}, "settings must be pairs"),
        ({"settings": [(0, 3)]}, "n_hashes must be an integer from 1 to 32"),
        ({"network": 3}, "network must be a Network"),
        (
            {"network": Network([Sparse(30), Dense(N_LABELS, "softmax")])},
            "network must be a network with",
        ),
        ({"X": np.ones((60, 3))}, "X must be"),
    ],
)
def test_bad_inputs(data, given, message):
    arguments = {"network": network(), "X": data[0], "Y": data[1], **given}
    with pytest.raises(ArgumentError, match=message):
        diagnose(**arguments)
