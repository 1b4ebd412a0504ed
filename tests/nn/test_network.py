"""Networks: building, prediction, saving and loading."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import pickle
import resource
import signal

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse as sp

from lshsample import registry, specs
from lshsample.errors import ArgumentError, BiasedSampleError, CheckpointError, UnsupportedError
from lshsample.nn import (
    OPTIMIZERS,
    Adam,
    Dense,
    Input,
    LearningRate,
    Network,
    NetworkSpec,
    Rehash,
    Sampled,
    Sparse,
    bundle,
)
from lshsample.plugin_manager import Plugins
from lshsample.registry import make_family
from lshsample.sampling import AtLeast, Retrieve
from lshsample.tables import HashTables
from lshsample.training import Trainer, TrainingSettings

LSH = {"sampler": "Retrieve() | Include() | Uniform(10)", "n_hashes": 2, "n_tables": 8}


def make_network(**options) -> Network:
    """A small network with tables and weights that separate the labels."""
    network = Network([Sparse(30), Dense(8, init_scale=0.8), Sampled(50, **{**LSH, **options})], seed=1)
    network.allocate()
    return network


def rows(n: int = 12) -> sp.csr_array:
    """Feature rows, one of them empty."""
    x = sp.random_array((n, 30), density=0.3, rng=np.random.default_rng(2), dtype=np.float32, format="csr")
    x.data[x.indptr[3] : x.indptr[4]] = 0.0
    x.eliminate_zeros()
    return x


def logits(network: Network, x: sp.csr_array) -> np.ndarray:
    """All logits in float64."""
    w, b, v, c = (p.weights.astype(np.float64) for p in network.parameters)
    return np.maximum(x @ w + b, 0) @ v.T + c.reshape(-1)


FULL_SPEC = [
    Sparse(100, dropout=0.1, weighting="idf-l2"),
    Sampled(64, "relu", family="simhash", n_hashes=5, n_tables=9, sampler="Retrieve()", active_set="sample"),
    Dense(16, "tanh", bias=False, dropout=0.5, init_scale=0.1),
    Sampled(50, "sigmoid", sampler="uniform", n_active=7, importance="on", rehash=Rehash(7, 0.5, False)),
]


def test_specs_round_trip():
    """Networks, settings, optimizers and schedules through plain data, JSON and TOML."""
    spec = Network(FULL_SPEC, seed=5).spec
    assert NetworkSpec.from_json(spec.to_json()) == NetworkSpec.from_toml(spec.to_toml()) == spec
    assert Network.from_spec(spec).spec == spec
    settings = TrainingSettings(
        optimizer=Adam(beta2=0.9), schedule=LearningRate("cosine", warmup=3, final=0.1), epochs=7
    )
    assert TrainingSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    for name in OPTIMIZERS:
        assert OPTIMIZERS.make(OPTIMIZERS.to_data(OPTIMIZERS.make(name))) == OPTIMIZERS.make(name)
    assert specs.from_json(Rehash, specs.to_json(Rehash(3))) == Rehash(3)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Sparse(3)], r"layers must be .* \(got 1 layers\)"),
        ([Dense(3), Dense(3, "softmax")], r"layers\[0\] must be an input layer"),
        ([Sparse(3), Sparse(3), Dense(3, "softmax")], r"layers\[1\] must be a layer that is not an input"),
        ([Sparse(3), Dense(3, "softmax"), Dense(3, "softmax")], r"layers\[1\].activation must be an activ"),
        ([Sparse(3), Dense(3)], r"layers\[1\].activation must be a loss .*softmax, sigmoid"),
        ([Sparse(3), "dense"], r"layers\[1\]"),
        ([Sparse(3), Dense(3, "softmax", dropout=0.5)], r"layers\[1\].dropout"),
    ],
)
def test_bad_orders_of_layers_are_refused(layers, words):
    """The error names the layer."""
    with pytest.raises(ArgumentError, match=words):
        Network(layers)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sparse(0), lambda: Dense(-1), lambda: Dense(3, "gelu"), lambda: Dense(3, dropout=1.0),
        lambda: Sampled(3, active_set="row"), lambda: Sampled(3, n_hashes=40),
        lambda: Sampled(3, rehash="daily"),
        lambda: Sampled(3, family="simhash:windw=3"), lambda: Sparse(3, weighting="bm25"), lambda: Rehash(-1),
        lambda: Network([Sparse(3), Sampled(3, family="nope")]),
        lambda: Network([Sparse(3), Sampled(3, sampler="?")]),
        lambda: Network([Sparse(3), Sampled(3, sampler="Uniform(4)")]),
        lambda: NetworkSpec.from_dict({"layers": [{"layer": "conv"}]}), lambda: NetworkSpec.from_dict({}),
    ],
)  # fmt: skip
def test_bad_options_are_refused(make):
    """When the layer or network is made, not later."""
    with pytest.raises(ArgumentError):
        make()


def test_exact_prediction_is_the_top_of_all_logits():
    """Sampled and dense last layers, any batch size."""
    x = rows()
    network = make_network()
    wanted = logits(network, x)
    for batch_size in (1, 5, 100):
        labels, scores = network.predict(x, top=4, batch_size=batch_size, threads=1)
        assert labels.dtype == np.int32
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, -np.sort(-wanted)[:, :4], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(wanted, labels, 1), scores, rtol=1e-5, atol=1e-6)
    dense = Network([Sparse(30), Dense(8, init_scale=0.8), Dense(50, "softmax")], seed=1)
    dense.allocate()
    dense.parameters[2].weights[...] = network.parameters[2].weights.T
    assert (dense.predict(x, top=4)[0] == network.predict(x, top=4)[0]).all()


def test_sampled_prediction_scores_what_the_tables_hold():
    """Scores of candidates are exact; missing ones are -1 and -inf; changed weights change the tables."""
    network, x = make_network(), rows()
    wanted = logits(network, x)
    labels, scores = network.predict(x, top=20, mode="sampled", threads=1)
    there = labels >= 0
    assert there.any()
    assert (scores[~there] == -np.inf).all()
    np.testing.assert_allclose(
        np.take_along_axis(wanted, labels, 1)[there], scores[there], rtol=1e-5, atol=1e-6
    )
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    one, _ = make_network(n_hashes=1, n_tables=64).predict(x, top=1, mode="sampled")
    assert (one[:, 0] == wanted.argmax(1)).mean() > 0.9
    y = sp.csr_array(np.eye(12, 50))
    Trainer(network, epochs=2, lr=0.5, batch_size=4, threads=1).fit(x, y)
    labels, scores = network.predict(x, top=1, mode="sampled")
    np.testing.assert_allclose(
        scores[:, 0], np.take_along_axis(logits(network, x), labels, 1)[:, 0], rtol=1e-4
    )


def test_sampled_prediction_through_other_tables():
    """Candidates from a bound pipeline; if they are all units, the prediction is that of mode="exact"."""
    network, x = make_network(sampler="uniform", n_active=20), rows()
    exact = network.predict(x, top=4)
    units = network.parameters[2].weights
    tables = HashTables(make_family("simhash", dim=8, n_hashes=2, n_tables=12)).build(units)
    everything = Retrieve(probes=4).bind(tables=tables)
    for batch_size in (5, 100):
        found = network.predict(x, top=4, mode="sampled", sampler=everything, batch_size=batch_size)
        assert (found[0] == exact[0]).all()
        np.testing.assert_allclose(found[1], exact[1], rtol=1e-6)
    few = (Retrieve() | AtLeast(10)).bind(tables=tables)
    labels, _ = network.predict(x, top=50, mode="sampled", sampler=few)
    active = few.sample(network.hidden(x))
    assert [set(row[row >= 0]) for row in labels] == [
        set(active.ids[a:b]) for a, b in itertools.pairwise(active.indptr)
    ]
    y = sp.csr_array(np.eye(12, 50))
    assert network.evaluate(x, y, mode="sampled", sampler=everything) == network.evaluate(x, y)
    with pytest.raises(UnsupportedError, match="a sampler"):
        network.predict(x, mode="sampled")
    with pytest.raises(ArgumentError, match=r"sampler must be .*mode='exact'"):
        network.predict(x, sampler=few)
    other = Retrieve().bind(tables=HashTables(tables.family).build(units[:20]))
    with pytest.raises(ArgumentError, match=r"sampler must be .* over the 50 labels \(got one over 20 items"):
        network.predict(x, mode="sampled", sampler=other)


@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_prediction_computes_every_hidden_unit(active_set):
    """A sampled hidden layer predicts like a dense layer with the same weights."""
    x = rows()
    options = {"active_set": active_set, "init_scale": 0.5, **LSH}
    deep = Network([Sparse(30), Sampled(20, "tanh", **options), Sampled(50, **options)], seed=1)
    deep.allocate()
    w, b, v, c = (p.weights.astype(np.float64) for p in deep.parameters)
    wanted = np.tanh(x.toarray() @ w.T + b.reshape(-1)) @ v.T + c.reshape(-1)
    np.testing.assert_allclose(deep.predict(x, top=3)[1], -np.sort(-wanted)[:, :3], rtol=1e-4, atol=1e-5)


def test_labels_can_be_drawn_by_frequency():
    """The last layer counts the labels; a hidden layer has none."""
    x, y = rows(), sp.csr_array(np.eye(12, 50))
    sampler = "Include() | Frequency(10)"
    network = make_network(sampler=sampler, importance="on")
    history = Trainer(network, epochs=1, batch_size=4, threads=1).fit(x, y)
    assert history.active_mean < 15
    hidden = Network([Sparse(30), Sampled(20, "relu", sampler=sampler), Dense(50, "softmax")])
    with pytest.raises(UnsupportedError, match="Frequency"):
        Trainer(hidden, epochs=1, threads=1).fit(x, y)


@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_a_biased_pipeline_is_refused_only_if_inclusion_probabilities_are_required(active_set):
    """SLIDE's strategies train without correction; importance="on" names the stage."""
    x, y = rows(), sp.csr_array(np.eye(12, 50))
    options = {"sampler": "slide-topk", "n_active": 8, "active_set": active_set}
    for importance in ("off", "auto"):
        Trainer(make_network(importance=importance, **options), epochs=1, threads=1).fit(x, y)
    with pytest.raises(BiasedSampleError, match="Top"):
        Trainer(make_network(importance="on", **options), epochs=1, threads=1).fit(x, y)


def test_prediction_refuses_bad_arguments():
    """The error names the argument."""
    network, x = make_network(), rows()
    for options, words in (
        ({"top": 0}, "top"), ({"top": 51}, "top"),
        ({"mode": "fast"}, "mode"), ({"batch_size": 0}, "batch_size"), ({"top": True}, "top")
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            network.predict(x, **options)
    with pytest.raises(ArgumentError, match="X"):
        network.predict(x[:, :-1])
    with pytest.raises(UnsupportedError, match="a last layer that samples"):
        Network([Sparse(30), Dense(5, "softmax")]).predict(x, mode="sampled")
    assert network.predict(x[:0])[0].shape == (0, 5)
    for options, words in (
        ({"Y": sp.csr_array((0, 50)), "X": x[:0]}, "X"),
        *(({"top": top}, "top") for top in ((), 5, "13", (0,), (1.5,), (51,))),
    ):
        with pytest.raises(ArgumentError, match=words):
            network.evaluate(**{"X": x, "Y": sp.eye_array(12, 50), **options})
    for index in (-1, 9, 1.0, None):
        with pytest.raises(ArgumentError, match="index"):
            network.layer_input(x, index)
    for layers in (None, 5, "abc", []):
        with pytest.raises(ArgumentError, match="layers"):
            Network(layers)


def test_nothing_to_predict_is_fine():
    """No rows give no rows in every mode."""
    network, none = make_network(), rows()[:0]
    assert network.predict(none, mode="sampled")[0].shape == (0, 5)
    assert network.hidden(none).shape == (0, network.layers[-2].units)
    assert network.layer_input(none, 1).shape[0] == 0


@pytest.mark.parametrize("options", [{}, {"active_set": "sample"}, {"n_active": 500}, {"sampler": "uniform"}])
def test_a_layer_that_computes_all_units_says_so(options):
    with pytest.warns(UserWarning, match="for 300 items samples nothing: all of them are active"):
        network = Network([Sparse(30), Sampled(300, **options)])
    assert str(network.sampled_layers[0].active.pipeline) == "Full() | Include()"
    Network([Sparse(30), Sampled(300, **options | {"n_active": 299})])  # without a warning


def test_few_labels_have_no_precision_at_larger_k():
    """P@5 of two labels does not exist."""
    network = Network([Sparse(30), Dense(4), Sampled(2, sampler="full")])
    assert network.predict(rows())[0].shape == (12, 2)
    measured = network.evaluate(rows(), sp.csr_array(np.ones((12, 2))))
    assert measured == {"p@1": 100.0}
    assert network.evaluate(rows(), sp.csr_array(np.ones((12, 2))), top=np.array([1, 2])) == {
        "p@1": 100.0,
        "p@2": 100.0,
    }


def test_evaluation_is_precision_in_percent():
    """Compared with the definition."""
    network, x = make_network(), rows()
    y = sp.csr_array(np.random.default_rng(0).random((12, 50)) < 0.2)
    best = np.argsort(-logits(network, x), axis=1, kind="stable")  # of equal ones the smaller label is first
    wanted = {f"p@{k}": 100 * y.toarray()[np.arange(12)[:, None], best[:, :k]].mean() for k in (1, 3)}
    assert network.evaluate(x, y, top=(1, 3)) == pytest.approx(wanted)


def test_prediction_applies_the_weighting_of_training(tmp_path):
    """idf-l2 is part of the network: computed in training, saved, and applied in prediction."""
    x, y = rows(), sp.csr_array(np.eye(12, 50))
    weighted = Network([Sparse(30, weighting="idf-l2"), Dense(8), Sampled(50, sampler="full")], seed=1)
    Trainer(weighted, epochs=2, batch_size=4, lr=0.1, threads=1).fit(x, y)
    idf = 1 + np.log(13 / (1 + np.bincount(x.indices, minlength=30)))
    by_hand = x.toarray() * idf
    by_hand /= np.maximum(np.linalg.norm(by_hand, axis=1, keepdims=True), 1e-30)
    plain = Network([Sparse(30), Dense(8), Sampled(50, sampler="full")], seed=1)
    Trainer(plain, epochs=2, batch_size=4, lr=0.1, threads=1).fit(by_hand, y)
    np.testing.assert_allclose(plain.predict(by_hand)[1], weighted.predict(x)[1], rtol=1e-3, atol=1e-4)
    weighted.save(tmp_path / "m")
    assert (Network.load(tmp_path / "m").predict(x)[1] == weighted.predict(x)[1]).all()


def test_a_saved_network_is_the_same_network(tmp_path):
    """Weights, spec, predictions; the file is plain safetensors; saving again replaces it."""
    network, x = make_network(), rows()
    y = sp.csr_array(np.eye(12, 50))
    for _ in range(2):
        Trainer(network, epochs=1, batch_size=4, threads=1).fit(x, y)
        network.save(tmp_path / "m")
        loaded = Network.load(tmp_path / "m")
        assert loaded.spec == network.spec
        assert (loaded.predict(x)[1] == network.predict(x)[1]).all()
        files = sorted(file.name for file in (tmp_path / "m").iterdir())
        assert len(files) == 2
        tensors = safetensors.numpy.load_file(tmp_path / "m" / files[1])
        assert (tensors["1.weights"] == network.parameters[0].weights).all()
    assert network.n_parameters == sum(t.size for t in tensors.values())
    Trainer(loaded, epochs=1, batch_size=4, threads=1).fit(x, y)


def _break(folder, how: str) -> None:
    manifest = folder / bundle.MANIFEST
    weights = next(folder.glob("weights-*"))
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-7])
    elif how == "changed":
        data = bytearray(weights.read_bytes())
        data[-3] ^= 1
        weights.write_bytes(data)
    elif how == "missing":
        weights.unlink()
    elif how == "no manifest":
        manifest.unlink()
    elif how == "half a manifest":
        manifest.write_text(manifest.read_text()[:50])
    elif how == "changed manifest":
        manifest.write_text(manifest.read_text().replace('"seed": 1', '"seed": 2'))
    elif how == "newer":
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    elif how == "foreign":
        manifest.write_text('{"hello": 1}')
    elif how == "deep":
        manifest.write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("how", "words"),
    [("truncated", "truncated"), ("changed", "checksum"), ("missing", "missing"),
     ("no manifest", "there is no"),
     ("half a manifest", "not a manifest"), ("changed manifest", "checksum"), ("newer", "newer"),
     ("foreign", "not a manifest"), ("deep", "not a manifest")],
)  # fmt: skip
def test_broken_folders_are_refused(how, words, tmp_path):
    """The error says what is wrong."""
    make_network().save(tmp_path / "m")
    _break(tmp_path / "m", how)
    with pytest.raises(CheckpointError, match=words):
        Network.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"files": {}}, "does not list weights"), ({"files": [1]}, "not a manifest"),
     ({"kind": None}, "not a manifest"),
     ({"payload": [1]}, "not a manifest"), ({"payload": {"network": 3}}, "cannot be made: layers"),
     ({"payload": {"network": {"layers": [1, 2]}}}, r"cannot be made: layers\[0\]"),
     ({"files": {"weights.safetensors": {"file": "../w", "bytes": 1, "sha256": ""}}}, "lists the file")],
)  # fmt: skip
def test_invalid_manifests_are_refused(change, words, tmp_path):
    """Even with a correct checksum."""
    make_network().save(tmp_path / "m")
    path = tmp_path / "m" / bundle.MANIFEST
    body = {**json.loads(path.read_text())["body"], **change}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"format": 1, "sha256": digest, "body": body}))
    with pytest.raises(CheckpointError, match=words):
        Network.load(tmp_path / "m")


def test_a_model_whose_family_is_not_installed_names_its_folder(tmp_path, monkeypatch):
    """The plugin may be missing on the machine that loads the model."""
    make_network().save(tmp_path / "m")
    monkeypatch.setattr(registry, "default_registry", lambda: registry.FamilyRegistry(Plugins([])))
    with pytest.raises(CheckpointError, match=r"m: its network cannot be made: .*'simhash'"):
        Network.load(tmp_path / "m")


def test_other_folders_are_left_alone(tmp_path):
    """A folder with other files, a checkpoint, a path that is a file."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"thesis\.txt"):
        make_network().save(tmp_path)
    x, y = rows(), sp.csr_array(np.eye(12, 50))
    Trainer(make_network(), epochs=1, threads=1, checkpoint=tmp_path / "c").fit(x, y)
    with pytest.raises(CheckpointError, match="holds a checkpoint"):
        make_network().save(tmp_path / "c")
    with pytest.raises(CheckpointError, match="holds a checkpoint"):
        Network.load(tmp_path / "c")
    with pytest.raises(CheckpointError, match="cannot be written"):
        make_network().save(tmp_path / "thesis.txt")
    for path, words in ((tmp_path, "other files"), (tmp_path / "thesis.txt", "cannot be written")):
        with pytest.raises(CheckpointError, match=words):
            Trainer(make_network(), epochs=1, threads=1, checkpoint=path).fit(x, y)


def test_a_full_disk_keeps_the_old_network(tmp_path):
    """Simulated by a limit on the size of files, in the middle of the weights."""
    network = make_network()
    network.save(tmp_path / "m")
    before = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    network.parameters[0].weights[...] += 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            network.save(tmp_path / "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()} == before
    Network.load(tmp_path / "m")


def test_files_of_a_killed_process_are_overwritten(tmp_path):
    """Files that no manifest lists."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights-1.safetensors").write_text("half")
    (tmp_path / "m" / f"{bundle.MANIFEST}.new").write_text("{")
    make_network().save(tmp_path / "m")
    Network.load(tmp_path / "m")


def test_weights_are_drawn_by_seed_and_layer():
    """Same seed, same bits; another seed, others; uniform, with the specified deviation; no state yet."""
    one, same = make_network(), make_network()
    other = Network(one.spec.layers, seed=2)
    other.allocate()
    assert (one.parameters[0].weights == same.parameters[0].weights).all()
    assert (one.parameters[0].weights != other.parameters[0].weights).any()
    big = Network([Input(64), Sampled(20_000, sampler="full", init_scale=0.3)])
    big.allocate(3)
    weights = big.parameters[0].weights
    assert weights.std() == pytest.approx(0.3, rel=0.01)
    assert abs(weights.mean()) < 0.01
    assert not big.parameters[0].store[:, 1:].any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_of_a_trained_network_are_independent(copied):
    """The views that its kernels are given are made anew over the copy's memory."""
    network, x, y = make_network(), rows(), sp.csr_array(np.eye(12, 50))
    Trainer(network, epochs=1, batch_size=4, threads=1).fit(x, y)
    before, other = network.predict(x), copied(network)
    assert (other.predict(x)[1] == before[1]).all()
    Trainer(other, epochs=1, batch_size=4, lr=0.1, threads=1).fit(x, y)
    assert (other.predict(x)[1] != before[1]).any()
    assert (network.predict(x)[1] == before[1]).all()
