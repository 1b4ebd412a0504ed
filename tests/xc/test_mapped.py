"""Classifiers opened from mapped files: nothing is read, nothing is copied, nothing crashes."""

from __future__ import annotations

import functools
import pickle
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from lshsample._native import core
from lshsample.errors import CheckpointError, LshsampleError
from lshsample.nn import Dense, Network, Sampled, Sparse, tensorfile
from lshsample.text import LabelNames
from lshsample.xc import (
    Classifier,
    LabelVotes,
    LinearModel,
    Mixture,
    Recipe,
    RowNeighbours,
    Voting,
    load_network,
)
from lshsample.xc.parts import HiddenPart, LinearPart, NetworkPart, Queries, RowsPart
from lshsample.xc.weighting import RowWeighting


@pytest.fixture(scope="module")
def make(rows):
    """Makes a classifier of all parts, whose network is not trained."""
    x, y = (core.csr_rows(part[:400], "X") for part in rows)
    counts = np.bincount(y.indices, minlength=60)

    @functools.cache
    def made(seed=0, storage="int8"):
        weighting = RowWeighting.of(x)
        queries, votes = Queries(x, weighting(x), 1), LabelVotes(y, Voting(k=9))
        network = Network([Sparse(240), Dense(24), Sampled(60, "softmax", sampler="full")], seed)
        network.allocate_for_prediction()
        networks = NetworkPart([network], storage)
        networks.round()
        hidden = RowNeighbours.build(network.hidden(x), index="lsh", seed=seed, threads=1)
        parts = {
            "rows": RowsPart(RowNeighbours.build(queries.weighted), votes),
            "linear": LinearPart([LinearModel.fit(queries.weighted, y, seed=seed, threads=1)], 10),
            "network": networks,
            "hidden": HiddenPart(network, x, hidden, votes, 0.9),
        }
        mixture = Mixture(parts=tuple(parts), weights=(0.2,) * 21, intercept=-3.0)
        return Classifier(Recipe(storage=storage), weighting, parts, mixture, counts, 240)

    return made


def mapped_memory(folder):
    """Bytes of the folder's files in the memory of this process: (all that was touched, changed copies)."""
    touched = changed = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = str(folder) in line
        elif inside and line.startswith("Rss:"):
            touched += 1024 * int(line.split()[1])
        elif inside and line.startswith("Private_Dirty:"):
            changed += 1024 * int(line.split()[1])
    return touched, changed


def test_opening_reads_no_array_and_prediction_copies_none(tmp_path):
    # A linear path of 100,000 features with 40 weights each: 17 MB.
    n, each, n_labels = 100_000, 40, 2_000
    rng = np.random.default_rng(0)
    places = np.sort(rng.integers(0, n_labels // each, (n, each), np.uint32), axis=1)
    places += np.arange(each, dtype=np.uint32) * (n_labels // each)
    entries = places << 16 | (rng.random((n, each), np.float32).view(np.uint32) >> 16)
    arrays = {
        "roots": np.zeros(1, np.int32),
        "child_begin": np.array([0, n_labels]),
        "children": ~np.arange(n_labels, dtype=np.int32),
        "bias": np.zeros(n_labels, np.float32),
        "feature_begin": np.array([0, n]),
        "features": np.arange(n, dtype=np.int32),
        "offsets": np.arange(0, n * each, each, dtype=np.uint32),
        "entry_begin": np.array([0, n * each]),
        "entries": entries.ravel(),
    }
    model = LinearModel.from_arrays({"n_features": n, "n_labels": n_labels}, arrays)
    mixture = Mixture(parts=("linear",), weights=(1.0,) * 6, intercept=0.0)
    parts = {"linear": LinearPart([model], 10)}
    made = Classifier(Recipe.preset("fast"), RowWeighting(None), parts, mixture, np.ones(n_labels, int), n)
    made.save(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size > 16e6
    Classifier.load(tmp_path)
    began = time.perf_counter()
    opened = Classifier.load(tmp_path)
    assert time.perf_counter() - began < 0.1
    assert mapped_memory(tmp_path)[0] < 0.05 * size
    x = np.zeros((2, n), np.float32)
    x[:, [1, 500, 70_000]] = 0.5
    wanted, found = made.predict(x, 5, threads=1), opened.predict(x, 5, threads=1)
    np.testing.assert_array_equal(found, wanted)
    touched, changed = mapped_memory(tmp_path)
    assert touched < 0.4 * size
    assert changed == 0


@pytest.mark.parametrize("storage", ["int8", "bfloat16", "float32"])
def test_all_parts_are_the_same(rows, make, tmp_path, storage):
    x, made = rows[0][400:], make(3, storage)
    made.save(tmp_path / "a")
    opened = Classifier.load(tmp_path / "a", verify=True)
    queries = [Queries(x, one.weighting(x), 1) for one in (made, opened)]
    for name, part in made.parts.items():
        wanted, found = part.top_k(queries[0], 9), opened.parts[name].top_k(queries[1], 9)
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    np.testing.assert_array_equal(opened.predict(x, 5, threads=2), made.predict(x, 5, threads=1))
    opened.save(tmp_path / "b")
    np.testing.assert_array_equal(Classifier.load(tmp_path / "b").predict(x, 5), made.predict(x, 5))
    # What needs all weights unpacks them.
    wanted = made.network.predict(x, 5)
    np.testing.assert_array_equal(load_network(tmp_path / "b").predict(x, 5), wanted)


def test_a_replaced_model_stays_open(rows, make, tmp_path):
    x = rows[0][500:]
    old, new = make(), make(7)
    old.save(tmp_path)
    opened = Classifier.load(tmp_path)
    new.save(tmp_path)
    np.testing.assert_array_equal(opened.predict(x, 3), old.predict(x, 3))
    np.testing.assert_array_equal(Classifier.load(tmp_path).predict(x, 3), new.predict(x, 3))


def test_a_file_that_was_changed_in_place_is_not_read(rows, make, tmp_path):
    make().save(tmp_path)
    opened = Classifier.load(tmp_path)
    file = tmp_path / "rows-1.safetensors"
    file.write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"rows-1.safetensors: was changed in place"):
        opened.predict(rows[0][:1])


def test_a_copy_does_not_depend_on_the_files(rows, make, tmp_path):
    x = rows[0][500:]
    make().save(tmp_path)
    opened = Classifier.load(tmp_path)
    wanted, copy = opened.predict(x, 3), pickle.loads(pickle.dumps(opened))
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    np.testing.assert_array_equal(copy.predict(x, 3), wanted)


def test_damaged_arrays_give_errors_or_labels(rows, make, tmp_path):
    x, rng = rows[0][500:520], np.random.default_rng(0)
    make().save(tmp_path)
    refused = 0
    for file in sorted([*tmp_path.glob("*.safetensors"), *tmp_path.glob("*.tables")]):
        start = 4096
        if file.suffix == ".safetensors":
            with file.open("rb") as opened:
                _, start = tensorfile.read_header(opened)
        whole = file.read_bytes()
        for trial in range(12):
            damaged = bytearray(whole)
            for begin in rng.integers(start, len(whole), 1 + 4 * trial):
                damaged[begin : begin + 8] = rng.bytes(min(8, len(whole) - begin))
            file.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    model = Classifier.load(tmp_path)
                    labels, _ = model.predict(x, 3, threads=1)
                    assert labels.min() >= -1
                    assert labels.max() < model.n_labels
                except LshsampleError:
                    refused += 1
        file.write_bytes(whole)
    assert refused > 0
    assert load_network(tmp_path).n_labels == 60


def test_damaged_names_are_refused(make, tmp_path):
    made = pickle.loads(pickle.dumps(make()))
    made.names = LabelNames([f"label {i}" for i in range(60)])
    made.save(tmp_path)
    assert Classifier.load(tmp_path).names.names == made.names.names
    file = tmp_path / "text-1.safetensors"
    file.write_bytes(file.read_bytes().replace(b"label 3", b"label \xff"))
    opened = Classifier.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"its texts cannot be read: UnicodeDecodeError"):
        opened.names  # noqa: B018


def test_another_layout_is_refused(make, tmp_path, monkeypatch):
    model = make()
    monkeypatch.setattr("lshsample.xc.classifier_file._LAYOUT", 3)
    model.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"another version of lshsample \(layout 3\)"):
        Classifier.load(tmp_path)
