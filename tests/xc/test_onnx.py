"""Classifiers in an ONNX runtime: the same best labels and probabilities; refusals."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.xc import Classifier, LinearModel, LinearRecipe, NeighboursRecipe, Recipe
from lshsample.xc.parts import LinearPart, Queries

NETWORK = {"hidden": 24, "epochs": 4, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "n_active": 20}
LINEAR = LinearRecipe(pairs=0.0)
#: What differs in how parts are computed.
RECIPES = {
    "all": Recipe(linear=LINEAR, network=NETWORK, holdout=0.2, candidates=7, n_networks=2, refit=False),
    "softmax": Recipe(
        linear=LINEAR, network={**NETWORK, "loss": "softmax"}, holdout=0.2, refit=False, tail=0.5
    ),
    "network": Recipe(linear=None, neighbours=None, network=NETWORK, holdout=0.2, storage="bfloat16"),
}


@pytest.fixture(scope="module")
def runtime():
    return pytest.importorskip("onnxruntime")


@pytest.fixture
def every_part(monkeypatch):
    """Parts that do not help are kept."""
    monkeypatch.setattr("lshsample.xc.mixture._PAYS", -1.0)


def run(runtime, path, x, top):
    session = runtime.InferenceSession(path)
    names = [one.name for one in session.get_outputs()]
    found = session.run(names, {"x": x.toarray().astype(np.float32), "top": np.array([top])})
    return dict(zip(names, found, strict=True))


def assert_same(found, wanted):
    """The same labels, apart from ties, and probabilities."""
    labels, scores = wanted
    np.testing.assert_allclose(found["scores"], scores, rtol=2e-3, atol=2e-5)
    apart = found["labels"] != labels
    assert apart.mean() < 0.01
    assert (scores[apart] < 0.02).all()


@pytest.mark.parametrize("name", RECIPES)
def test_a_runtime_predicts_the_same(runtime, rows, tmp_path, every_part, name):
    x, y = rows
    made = Classifier.fit(x[:500], y[:500], RECIPES[name], threads=1)
    made.to_onnx(tmp_path / "a.onnx")
    assert made.mixture.parts == made.recipe.parts
    empty = sp.csr_array((1, x.shape[1]))
    queries = sp.csr_array(sp.vstack([x[500:], empty]))
    for top in (1, 5, 20):
        wanted = made.predict(queries, top)
        assert_same(run(runtime, tmp_path / "a.onnx", queries, top), wanted)
    gone = int(wanted[0][0, 0])
    made.remove_labels([gone]).to_onnx(tmp_path / "b.onnx")
    assert not (run(runtime, tmp_path / "b.onnx", queries, 20)["labels"] == gone).any()


def test_trees_are_searched_and_labels_of_later_models_are_there(runtime, tmp_path):
    rng = np.random.default_rng(0)
    x = sp.random_array((500, 50), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = sp.csr_array(rng.random((500, 300)) < 0.03)
    only = Recipe(linear=attrs.evolve(LINEAR, beam=3), neighbours=None, network=None, holdout=0.2)
    made = Classifier.fit(x, y[:, :290], only, threads=1).update(x[:200], y[:200], threads=1)
    deep = LinearModel.fit(
        made.weighting(x), y[:, :290], n_trees=2, leaf_size=20, branching=2, threads=1
    ).widened(50, 300)
    made.parts["linear"] = LinearPart([deep, *made.parts["linear"].models[1:]], 3)
    made.to_onnx(tmp_path / "a.onnx")
    found, wanted = run(runtime, tmp_path / "a.onnx", x[:40], 9), made.predict(x[:40], 9)
    np.testing.assert_array_equal(found["labels"], wanted[0])
    np.testing.assert_allclose(found["scores"], wanted[1], rtol=1e-3, atol=1e-6)


def test_chosen_parts_say_what_they_say(runtime, rows, tmp_path, every_part):
    x, y = rows
    made = Classifier.fit(x[:500], y[:500], "fast", threads=1)
    made.to_onnx(tmp_path / "a.onnx", ["rows"], metadata={"labels": "some"})
    queries = Queries(x[500:], made.weighting(x[500:]), 1)
    labels, values = made.parts["rows"].top_k(queries, made.recipe.candidates)
    found = run(runtime, tmp_path / "a.onnx", x[500:], 4)
    assert set(found) == {"rows_labels", "rows_values"}
    np.testing.assert_allclose(found["rows_values"], values[:, :4], rtol=1e-4, atol=1e-6)
    same = found["rows_labels"] == labels[:, :4]
    assert same.mean() > 0.9


def test_what_has_no_form_in_onnx_or_no_room_is_refused(rows, tmp_path, every_part, monkeypatch):
    pytest.importorskip("onnx")
    x, y = rows
    recipe = Recipe(network=None, neighbours=NeighboursRecipe(of=["rows"]), linear=LinearRecipe(pairs=0.5))
    made = Classifier.fit(x[:500], y[:500], recipe, threads=1)
    assert made.parts["linear"].pairs is not None
    with pytest.raises(UnsupportedError, match=r"^the part 'linear' has features for pairs, which have no"):
        made.to_onnx(tmp_path / "a.onnx")
    for parts in ("linear", ["lines"], []):
        with pytest.raises(ArgumentError, match=r"^parts must be a list of some of "):
            made.to_onnx(tmp_path / "a.onnx", parts)
    monkeypatch.setattr("lshsample.xc.onnx_file.MAX_BYTES", 1000)
    with pytest.raises(ArgumentError, match=r"^parts must be parts of at most .*rows .* as dense matrices"):
        made.to_onnx(tmp_path / "a.onnx", ["rows"])
    assert not list(tmp_path.iterdir())
