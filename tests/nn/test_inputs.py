"""Input layers: scaling of rows over the whole range of float32, and statistics that a network keeps."""

import numpy as np
import pytest
import scipy.sparse as sp

import lshsample as ls
from lshsample.errors import ArgumentError, DivergenceError
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.nn.signals import Run
from lshsample.training import ArrayBatches

RNG = np.random.default_rng(0)
X = sp.csr_array(np.where(RNG.random((40, 12)) < 0.4, RNG.integers(1, 5, (40, 12)), 0).astype(np.float32))
Y = sp.csr_array(RNG.random((40, 6)) < 0.4)


def network(weighting):
    last = Sampled(6, sampler="full")
    return Network([Sparse(12, weighting=weighting), Dense(5), last], seed=2)


def weighted(x, weighting, seen=None):
    """The rows as the input layer passes them on."""
    net = network(weighting)
    net.observe(X if seen is None else seen)
    rows = net.input.checked(x)
    signal, _ = net.input.forward(rows.slice(0, len(rows)), Run(threads=1))
    return signal


@pytest.mark.parametrize("weighting", ["l2", "idf-l2"])
@pytest.mark.parametrize("exponent", [-149, -148, -140, -127, -126, -100, -64, -1, 0, 1, 63, 64, 100, 125])
def test_scaled_rows_do_not_depend_on_a_power_of_two(weighting, exponent):
    """Values from the smallest denormal to nearly the largest float32: the direction is that of the rows."""
    x = X.copy()
    x.data = np.ldexp(X.data.astype(np.float64), exponent)
    found, wanted = weighted(x, weighting), weighted(X, weighting)
    assert np.array_equal(found.indices, wanted.indices)
    assert np.array_equal(found.data, wanted.data)


def test_scaled_rows_have_length_1():
    """Rows of values of very different sizes, the largest and the smallest float32 among them."""
    largest, smallest = np.finfo(np.float32).max, np.float32(1e-45)
    for values in ([largest] * 12, [smallest] * 12, [largest, smallest, 1], [1e-40, 3e-41], [-largest, 1e-3]):
        row = np.zeros((1, 12), np.float32)
        row[0, : len(values)] = values
        found = weighted(sp.csr_array(row), "l2").toarray()[0].astype(np.float64)
        exact = row[0].astype(np.float64) / np.sqrt((row[0].astype(np.float64) ** 2).sum())
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-44)
    empty = weighted(sp.csr_array((2, 12)), "l2")
    assert empty.shape == (2, 12)
    assert empty.nnz == 0


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-38, 1e37])
def test_tiny_and_huge_features_are_trained_and_predicted(scale):
    x = X.astype(np.float32)
    x.data = np.full(X.nnz, scale, np.float32)
    net = network("idf-l2")
    ls.Trainer(net, batch_size=10, epochs=2, threads=1).fit(x, Y)
    labels, scores = net.predict(x)
    assert (labels >= 0).all()
    assert np.isfinite(scores).all()


def test_scores_that_are_nan_are_an_error():
    net = network("l2")
    net.allocate()
    net.parameters[-2].weights[:] = np.nan
    with pytest.raises(DivergenceError, match="row 0: scores are NaN"):
        net.predict(X)


class TestStatistics:
    OTHER = sp.csr_array(np.eye(40, 12, dtype=np.float32))

    def fitted(self):
        net = network("idf-l2")
        ls.Trainer(net, batch_size=10, epochs=1, threads=1).fit(X, Y)
        return net

    def test_another_fit_keeps_them(self):
        net = self.fitted()
        before = net.input.parameters[0].weights.copy()
        ls.Trainer(net, batch_size=10, epochs=1, lr=1e-9, threads=1).fit(self.OTHER, Y)
        assert np.array_equal(net.input.parameters[0].weights, before)

    def test_the_same_trainer_keeps_them(self):
        net = network("idf-l2")
        trainer = ls.Trainer(net, batch_size=10, epochs=1, threads=1)
        trainer.fit(X, Y)
        before = net.input.parameters[0].weights.copy()
        trainer.fit(self.OTHER, Y)
        assert np.array_equal(net.input.parameters[0].weights, before)

    def test_a_loaded_network_keeps_them(self, tmp_path):
        net = self.fitted()
        net.save(tmp_path / "model")
        again = Network.load(tmp_path / "model")
        ls.Trainer(again, batch_size=10, epochs=1, threads=1).fit(self.OTHER, Y)
        assert np.array_equal(again.input.parameters[0].weights, net.input.parameters[0].weights)

    def test_those_of_observe_are_kept(self):
        net = network("idf-l2")
        net.observe(self.OTHER)
        before = net.input.parameters[0].weights.copy()
        ls.Trainer(net, batch_size=10, epochs=1, threads=1).fit(X, Y)
        assert np.array_equal(net.input.parameters[0].weights, before)

    @pytest.mark.parametrize("source", [False, True])
    def test_they_are_computed_anew_if_asked(self, source):
        net, wanted = self.fitted(), network("idf-l2")
        wanted.observe(self.OTHER)
        given = (ArrayBatches(net, self.OTHER, Y, 10),) if source else (self.OTHER, Y)
        ls.Trainer(net, batch_size=10, epochs=1, threads=1).fit(*given, refit_inputs=True)
        assert np.array_equal(net.input.parameters[0].weights, wanted.input.parameters[0].weights)
        with pytest.raises(ArgumentError, match="refit_inputs must be True or False"):
            ls.Trainer(net).fit(X, Y, refit_inputs=1)

    def test_label_frequencies_are_those_of_the_rows(self):
        """They belong to the run, not to the input: a sampler that draws by them gets those of its data."""
        last = Sampled(6, sampler="Frequency(3) | Include()")
        net = Network([Sparse(12, weighting="idf-l2"), last], seed=2)
        for y in (Y, Y[::-1]):
            ls.Trainer(net, batch_size=10, epochs=1, threads=1).fit(X, y)


def test_labels_in_every_form_train_the_same_network():
    ids = [row.nonzero()[1].tolist() for row in map(np.atleast_2d, Y.toarray())]
    found = []
    for y in (Y, Y.toarray(), Y.astype(np.int64), ids):
        net = network("l2")
        ls.Trainer(net, batch_size=10, epochs=1, threads=1).fit(X, y, validation=(X, y))
        found.append(net.evaluate(X, y) | {"weights": net.parameters[0].weights.tobytes()})
    assert found.count(found[0]) == 4


@pytest.mark.parametrize("value", [-1, 2, np.nan])
def test_other_labels_are_refused(value):
    bad = Y.toarray().astype(np.float64)
    bad[3, 1] = value
    net = network("l2")
    for call in (
        lambda y: ls.Trainer(net).fit(X, y),
        lambda y: ls.Trainer(net).step(X, y),
        lambda y: net.evaluate(X, y),
        lambda y: net.observe(X, y),
    ):
        for kind in (np.asarray, sp.csr_array, sp.coo_matrix):
            with pytest.raises(ArgumentError, match=r"^Y must be .*\(3, 1\)"):
                call(kind(bad))
    with pytest.raises(ArgumentError, match=r"^validation\[1\] must be .*\(3, 1\)"):
        ls.Trainer(net).fit(X, Y, validation=(X, bad))


def test_without_labels_there_is_nothing_to_evaluate():
    net = network("l2")
    with pytest.raises(ArgumentError, match="Y must be a matrix with at least one label"):
        net.evaluate(X, sp.csr_array((40, 6)))
    with pytest.raises(ArgumentError, match=r"validation must be .* one label"):
        ls.Trainer(net).fit(X, Y, validation=(X, [[]] * 40))


def test_input_dropout_keeps_the_expectation_and_is_off_at_prediction():
    """Features are dropped one by one, by the seed and the step alone; the others are scaled."""
    rows = sp.csr_array(np.full((40, 30), 2.0, np.float32))
    network = Network([Sparse(30, dropout=0.25), Dense(4), Dense(3, "softmax")], seed=1)
    layer, batch = network.input, network.input.checked(rows).slice(0, 40)
    dropped = [
        layer.forward(batch, Run(threads, 7, step, training=True))[0] for step in (1, 2) for threads in (1, 3)
    ]
    values = [x.data for x in dropped]
    np.testing.assert_array_equal(values[0], values[1])
    assert (values[0] != values[2]).any()
    assert set(np.unique(values[0])) == {np.float32(0), np.float32(2 / 0.75)}
    assert abs((values[0] == 0).mean() - 0.25) < 0.04
    assert abs(values[0].mean() - 2.0) < 0.12
    assert (np.diff((values[0] == 0).reshape(40, 30).sum(axis=1)) != 0).any()
    np.testing.assert_array_equal(layer.forward(batch, Run(1))[0].data, batch.data)
    assert (rows.data == 2.0).all()
