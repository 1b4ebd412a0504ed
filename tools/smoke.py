"""The test of every wheel: the installed package alone hashes, samples, trains, saves, opens and predicts."""

from __future__ import annotations

import tempfile

import numpy as np
import scipy.sparse as sp

import lshsample as ls
from lshsample.xc import Classifier


def main() -> None:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((2_000, 16), dtype=np.float32)
    for name in ("simhash", "e2lsh", "dwta"):
        family = ls.make_family(name, dim=16, n_tables=8)
        active = (
            (ls.Retrieve() | ls.Uniform(20)).bind(tables=ls.HashTables(family).build(items)).sample(items[:2])
        )
        assert {0, 1} <= set(active.ids.tolist()), name
    labels = rng.integers(0, 30, 400)
    columns = (labels[:, None] * 3 + np.arange(3)).ravel()
    x = sp.csr_array((np.ones(1200, np.float32), (np.repeat(np.arange(400), 3), columns)), shape=(400, 90))
    y = sp.csr_array((np.ones(400, np.float32), (np.arange(400), labels)), shape=(400, 30))
    with tempfile.TemporaryDirectory() as folder:
        Classifier.fit(x, y, "network", threads=2).save(f"{folder}/model")
        found, _ = Classifier.load(f"{folder}/model").predict(x, top=1)
    assert (found[:, 0] == labels).mean() > 0.9
    print("lshsample", ls.__version__, "works")


if __name__ == "__main__":
    main()
