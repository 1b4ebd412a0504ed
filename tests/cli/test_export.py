"""The export command: an ONNX file of a classifier or of a network; what cannot be written is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.text import LabelNames
from lshsample.xc import Classifier, Recipe

NETWORK = {"hidden": 8, "epochs": 1, "batch_size": 40, "n_active": 9}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = sp.random_array((200, 40), density=0.2, rng=rng, format="csr")
    return x, sp.csr_array((x @ sp.eye_array(40, 12)).toarray() > 0.6)


def test_the_network_of_a_classifier_is_written(lshsample, rows, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    recipe = Recipe(linear=None, neighbours=None, network=NETWORK, n_networks=2, refit=False)
    model = Classifier.fit(*rows, recipe, threads=1)
    model.names = LabelNames([f"name {i}" for i in range(12)])
    model.save(tmp_path / "model")
    done = lshsample("export", tmp_path / "model", tmp_path / "a.onnx", "--network")
    assert done.returncode == 0, done.stderr
    assert "the network; 40 features, 12 labels" in done.stdout
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    names = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert names == list(model.names.names)
    wanted = model.network.predict(sp.csr_array(([1.0], ([0], [7])), shape=(1, 40)), 3)
    given = {"ids": np.array([[7]]), "values": np.ones((1, 1), np.float32), "top": np.array([3])}
    labels, scores = session.run(["labels", "scores"], given)
    np.testing.assert_array_equal(labels, wanted[0])
    np.testing.assert_allclose(scores, wanted[1], rtol=1e-4)


def test_a_classifier_is_written(lshsample, rows, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = Classifier.fit(*rows, "fast", threads=1)
    model.names = LabelNames([f"name {i}" for i in range(12)])
    model.save(tmp_path / "model")
    done = lshsample("export", tmp_path / "model", tmp_path / "a.onnx")
    assert done.returncode == 0, done.stderr
    assert f"the mixture of {', '.join(model.mixture.parts)}; 40 features, 12 labels" in done.stdout
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"])[1] == "name 1"
    x = rows[0][:9]
    given = {"x": x.toarray().astype(np.float32), "top": np.array([3])}
    labels, scores = session.run(["labels", "scores"], given)
    wanted = model.predict(x, 3)
    np.testing.assert_allclose(scores, wanted[1], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(labels, wanted[0])
    done = lshsample("export", tmp_path / "model", tmp_path / "b.onnx", "--part", "network")
    assert done.returncode == 2
    assert "parts must be a list of some of" in done.stderr


def test_what_has_no_network_and_other_files_are_refused(lshsample, rows, tmp_path):
    Classifier.fit(*rows, "fast", threads=1).save(tmp_path / "fast")
    done = lshsample("export", tmp_path / "fast", tmp_path / "a.onnx", "--network")
    assert done.returncode == 2
    assert "classifier must be one with a network" in done.stderr
    done = lshsample("export", tmp_path / "fast", tmp_path / "a.pt")
    assert "FILE must be a file whose name ends with .onnx" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fast"]
