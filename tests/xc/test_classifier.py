"""Classifiers: accuracy, the same bits, folders, limited time, interruption, refusals."""

from __future__ import annotations

import itertools
import signal
import time

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import Network
from lshsample.training import Callback
from lshsample.xc import CLASSIFIER, Classifier, Interrupted, Recipe, load_model, load_network
from lshsample.xc.weighting import RowWeighting

SMALL = {"hidden": 24, "epochs": 8, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "n_active": 20}
RECIPE = Recipe(network=SMALL, holdout=0.2)


@pytest.fixture(scope="module")
def fitted(rows):
    x, y = rows
    return Classifier.fit(x[:500], y[:500], RECIPE, threads=2)


def assert_same(found, wanted):
    for one, same in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, same)


def precision(labels, y):
    return np.take_along_axis(y.toarray(), labels.astype(np.int64), axis=1).mean()


def test_a_mixture_is_better_than_its_parts(fitted, rows):
    x, y = rows
    held_out = {stage.name: stage.measures for stage in fitted.stages if stage.measures}
    assert set(held_out) == {"rows", "linear", "network", "hidden", "mixture"}
    assert held_out["mixture"]["p@1"] >= max(one["p@1"] for one in held_out.values()) - 3
    measures = fitted.evaluate(x[500:], y[500:], threads=1)
    assert measures["p@1"] > 85
    labels, probabilities = fitted.predict(x[500:], 3)
    assert measures["p@3"] == pytest.approx(100 * precision(labels, y[500:]))
    assert (np.diff(probabilities, axis=1) <= 0).all()
    # The probability of the best label is how often it is right.
    assert abs(probabilities[:, 0].mean() - measures["p@1"] / 100) < 0.1


def test_every_number_of_threads_gives_the_same_bits(fitted, rows):
    x, y = rows
    other = Classifier.fit(x[:500], y[:500], RECIPE, threads=1)
    assert_same(fitted.predict(x[500:], 5, threads=2), other.predict(x[500:], 5, threads=1))


@pytest.mark.parametrize("storage", ["int8", "bfloat16", "float32"])
def test_a_saved_classifier_is_the_same(rows, tmp_path, storage):
    x, y = rows
    recipe = Recipe(linear=None, network=SMALL, holdout=0.2, storage=storage, n_networks=2)
    made = Classifier.fit(x[:300], y[:300], recipe, threads=1)
    made.save(tmp_path / "run" / "model")
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, Classifier)
    assert (loaded.recipe, loaded.mixture, loaded.stages) == (made.recipe, made.mixture, made.stages)
    assert loaded.n_parameters == made.n_parameters
    assert_same(made.predict(x[500:], 4), loaded.predict(x[500:], 4))
    alone = load_network(tmp_path / "run")
    np.testing.assert_array_equal(alone.predict(x[500:], 3)[1], made.network.predict(x[500:], 3)[1])


def test_a_network_is_trained_in_bfloat16_and_stored_as_others_are(rows, tmp_path):
    x, y = rows
    networks = []
    for precision in ("float32", "bfloat16"):
        network = {**SMALL, "precision": precision}
        recipe = Recipe(linear=None, neighbours=None, network=network, holdout=0.2)
        made = Classifier.fit(x[:500], y[:500], recipe, threads=1)
        networks.append(made.network)
    made.save(tmp_path / "run")
    assert_same(Classifier.load(tmp_path / "run").predict(x[500:], 3), made.predict(x[500:], 3))
    assert networks[1].precision == "float32"
    wide, narrow = (network.output.unit_vectors() for network in networks)
    assert (wide != narrow).any()


def test_models_of_every_kind_are_loaded_by_one_function(rows, fitted, tmp_path):
    fitted.network.save(tmp_path / "network")
    assert isinstance(load_model(tmp_path / "network"), Network)
    assert isinstance(load_network(tmp_path / "network"), Network)
    fast = Classifier.fit(*(part[:300] for part in rows), "fast", threads=1)
    fast.save(tmp_path / "fast")
    assert CLASSIFIER.name == "classifier"
    with pytest.raises(ArgumentError, match=r"^classifier must be one with a network"):
        load_network(tmp_path / "fast")
    with pytest.raises(CheckpointError, match=r"holds a classifier, expected a model"):
        Network.load(tmp_path / "fast")


def test_a_changed_file_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    file = next(tmp_path.glob("linear-*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checksum mismatch"):
        load_model(tmp_path, verify=True)


def test_limited_time_leaves_networks_out(rows):
    x, y = rows
    began = time.perf_counter()
    slow = Recipe(network={**SMALL, "epochs": 100_000})
    quick = Classifier.fit(x[:500], y[:500], slow, threads=1, max_seconds=1.5)
    assert time.perf_counter() - began < 15, "a network of that many epochs takes hours"
    assert {"rows", "linear"} & set(quick.mixture.parts)
    assert quick.evaluate(x[500:], y[500:], [1])["p@1"] > 70


def test_a_part_that_takes_too_long_is_left_out_unless_it_is_the_only_one(rows):
    x, y = (part[:500] for part in rows)
    both = Classifier.fit(x, y, "fast", threads=1, max_seconds=1e-6)
    assert both.mixture.parts == ("rows",)
    alone = Recipe(neighbours=None, network=None)
    assert Classifier.fit(x, y, alone, threads=1, max_seconds=1e-6).mixture.parts == ("linear",)


class _Interrupt(Callback):
    """Ends a run by a signal after a number of steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_step(self, *_):
        self.steps -= 1
        if self.steps == 0:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("steps", [20, 100])
def test_an_interrupted_fit_continues_to_the_same_bits(fitted, rows, tmp_path, steps):
    """In the network that is judged on held-out rows, and in that on all rows."""
    x, y = rows
    with pytest.raises(Interrupted, match=r"SIGTERM"):
        Classifier.fit(
            x[:500], y[:500], RECIPE, threads=1, checkpoint=tmp_path, callbacks=[_Interrupt(steps)]
        )
    assert list(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"the checkpoint of a network of another recipe"):
        Classifier.fit(x[:500], y[:500], attrs.evolve(RECIPE, seed=3), threads=1, checkpoint=tmp_path)
    again = Classifier.fit(x[:500], y[:500], RECIPE, threads=1, checkpoint=tmp_path)
    assert_same(fitted.predict(x[500:], 5), again.predict(x[500:], 5))


def test_progress_and_stages_are_told(rows):
    told, stages = [], []
    x, y = (part[:300] for part in rows)
    Classifier.fit(
        x,
        y,
        "fast",
        threads=1,
        progress=lambda *one: told.append(one),
        on_stage=lambda one: stages.append(one),
    )
    assert [stage.name for stage in stages][:4] == ["rows", "linear", "mixture", "linear"]
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(stages))
    assert {what for what, _, _ in told} == {"training the linear path"}
    assert told[-1][1] == told[-1][2]


def test_bad_arguments_are_refused(fitted, rows):
    x, y = rows
    for arguments, said in (
        ((x, y, "quick"), "^recipe must be one of fast"),
        ((x, y[:5]), "^Y must be .* 600 rows"),
        ((x[:3], sp.csr_array((3, 60))), "^Y must be at least two rows with a label"),
    ):
        with pytest.raises(ArgumentError, match=said):
            Classifier.fit(*arguments)
    with pytest.raises(ArgumentError, match=r"^max_seconds must be a finite number in \(0, inf\]"):
        Classifier.fit(x, y, max_seconds=0)
    with pytest.raises(ArgumentError, match=r"^X must be .*240"):
        fitted.predict(x[:, :7])
    with pytest.raises(ArgumentError, match=r"^top must be an integer from 1 to 60, the number of labels"):
        fitted.predict(x, 61)
    labels, probabilities = fitted.predict(sp.csr_array((2, 240)), 3)
    assert labels.shape == probabilities.shape == (2, 3)


def test_counts_are_weighted_by_rarity_and_rows_have_length_1():
    counts = sp.csr_array(np.array([[1, 2, 0], [1, 0, 0], [0, 0, 0]], np.float32))
    weighting = RowWeighting.of(counts)
    idf = 1 + np.log(4 / np.array([3, 2, 1]))
    np.testing.assert_allclose(weighting.idf, idf, rtol=1e-6)
    wanted = np.array([[1, 2, 0], [1, 0, 0], [0, 0, 0]]) * idf
    wanted[:2] /= np.linalg.norm(wanted[:2], axis=1, keepdims=True)
    np.testing.assert_allclose(weighting(counts).toarray(), wanted, rtol=1e-6)
    plain = RowWeighting.of(counts * 0.5)
    assert plain.idf is None
    np.testing.assert_allclose(np.linalg.norm(plain(counts).toarray(), axis=1), [1, 1, 0], rtol=1e-6)
