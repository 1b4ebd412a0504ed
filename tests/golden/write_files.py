"""Write a file of each format, as test_files.py opens them: ``python tests/golden/write_files.py FOLDER``.

A format with a new number gets a folder of its own beside the old one, which stays as it was written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs
import numpy as np
import scipy.sparse as sp

import lshsample as ls
from lshsample.cli.commands import app
from lshsample.data import Dataset, write_npz, write_xc
from lshsample.nn import RowCache
from lshsample.xc import Classifier, Recipe

TABLES = {
    "narrow": {"family": ("simhash", {"n_hashes": 6})},
    "wide": {"family": ("simhash", {"n_hashes": 24})},
    "bounded": {"family": ("simhash", {"n_hashes": 4}), "bucket_size": 4},
    "keyed": {"family": ("dwta", {"n_hashes": 3}), "keyed": True},
}
PRECISIONS = {"bfloat16": {}, "int8": {"row_cache": 0.1}, "int4": {"row_cache": RowCache(0.1, policy="lru")}}
WORDS = ["red", "green", "blue", "large", "small", "round", "flat", "old", "new", "soft", "hard", "light"]


def rows() -> np.ndarray:
    """40 rows of 8, of which no two are alike."""
    steps = np.arange(40, dtype=np.float32)[:, None] * np.arange(1, 9, dtype=np.float32)
    return np.sin(steps * steps).astype(np.float32)


def data() -> tuple[sp.csr_array, sp.csr_array]:
    """120 sparse rows of 24 features, each with one of 30 labels, which its features say."""
    labels = np.arange(120) * 7 % 30
    columns = np.stack([labels * 3 % 24, labels * 5 % 23, labels % 20], axis=1)
    columns.sort(axis=1)
    columns += np.arange(3)
    x = sp.csr_array((np.ones(360, np.float32), columns.ravel(), np.arange(0, 361, 3)), shape=(120, 25))
    return x, sp.csr_array((np.ones(120, np.float32), labels, np.arange(121)), shape=(120, 30))


def texts() -> tuple[list[str], list[list[str]]]:
    """160 texts of three words, whose labels are their first two."""
    several = [(WORDS[n % 12], WORDS[(n // 12 + n) % 11], WORDS[n * 7 % 12]) for n in range(160)]
    return [" ".join(words) for words in several], [sorted(set(words[:2])) for words in several]


def network(precision: str = "float32", **options: object) -> ls.Network:
    """A network with tables, as :func:`data` needs."""
    rehash = ls.Rehash(first=5, strategy=ls.sampling.Sliced(4))
    sampled = ls.Sampled(
        30, sampler="Retrieve() | Include() | Uniform(4)", n_hashes=3, n_tables=2, rehash=rehash
    )
    return ls.Network([ls.Sparse(25), ls.Dense(8), sampled], seed=1, precision=precision, **options)


class StopAt(ls.Callback):
    """Ends a run in the middle of an epoch."""

    def on_step(self, step: int, report: object, milliseconds: float) -> bool:
        return step == 7


def answers_of_tables(tables: ls.HashTables) -> dict[str, np.ndarray]:
    """What tables find for some rows."""
    found = tables.query(rows()[:10])
    items = {"ids": found.ids} if tables.keys is None else {"keys": found.keys}
    return {"indptr": found.indptr, "counts": found.counts} | items


def answers_of_predictions(model: ls.Network | Classifier) -> dict[str, np.ndarray]:
    """The best label of some rows, with its score."""
    labels, scores = model.predict(data()[0][:20], top=1, threads=1)
    return {"labels": labels, "scores": scores}


def answers(folder: Path) -> dict[str, dict[str, object]]:
    """What the files answer to this version."""
    found = {
        name: answers_of_tables(ls.HashTables.open(folder / f"{name}.tables", threads=1)) for name in TABLES
    }
    models = {name: ls.Network.load(folder / name) for name in PRECISIONS}
    models["checkpoint"] = ls.Trainer.resume(folder / "checkpoint", threads=1).network
    models["classifier"] = Classifier.load(folder / "classifier")
    found |= {name: answers_of_predictions(model) for name, model in models.items()}
    plain = {name: {key: array.tolist() for key, array in one.items()} for name, one in found.items()}
    named = Classifier.load(folder / "texts").predict_texts(texts()[0][:8], top=2)
    return plain | {"texts": {"names": [[name for name, _ in labels] for labels in named]}}


def write(folder: Path) -> None:
    """Write all of them, and what they answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, how in TABLES.items():
        family, options = how["family"]
        made = ls.make_family(family, dim=8, n_tables=3, seed=5, **options)
        tables = ls.HashTables(made, bucket_size=how.get("bucket_size"), threads=1)
        keyed = {"keys": np.arange(40) * 10**10} if "keyed" in how else {}
        tables.build(rows(), **keyed).save(folder / f"{name}.tables", vectors=True)
    x, y = data()
    for precision, options in PRECISIONS.items():
        trained = network(precision, **options)
        ls.Trainer(trained, batch_size=10, epochs=2, threads=1).fit(x, y)
        trained.save(folder / precision)
    cut = {"checkpoint": folder / "checkpoint", "callbacks": [StopAt()]}
    ls.Trainer(network(), batch_size=10, epochs=2, threads=1, **cut).fit(x, y)
    recipe = Recipe.of("balanced")
    recipe = attrs.evolve(recipe, network=attrs.evolve(recipe.network, hidden=(16,)))
    Classifier.fit(x, y, recipe, threads=1).save(folder / "classifier")
    Classifier.fit_texts(*texts(), "fast", threads=1).save(folder / "texts")
    write_npz(folder / "data.npz", Dataset.of(x, y))
    write_xc(folder / "rows.txt", Dataset.of(x, y))
    words = [
        "compare",
        folder / "rows.txt",
        "--family",
        "simhash",
        "--quick",
        "--items",
        100,
        "--queries",
        20,
    ]
    app([*map(str, words), "--threads", "1", "--json", str(folder / "compared.json")], standalone_mode=False)
    (folder / "answers.json").write_text(json.dumps(answers(folder)) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
