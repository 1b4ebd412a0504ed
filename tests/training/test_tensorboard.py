"""What TensorBoard reads of a run."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, LshsampleError
from lshsample.nn import Dense, Network, Sparse
from lshsample.training import TensorBoard, Trainer


def test_losses_and_accuracy_are_written(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rng = np.random.default_rng(0)
    x = sp.random_array((60, 20), density=0.3, rng=rng, format="csr")
    y = sp.csr_array(np.eye(5)[rng.integers(0, 5, 60)])
    board = TensorBoard(tmp_path, every=2)
    network = Network([Sparse(20), Dense(5, "softmax")])
    settings = {"epochs": 2, "batch_size": 10, "callbacks": [board], "threads": 1}
    histories = [Trainer(network, **settings).fit(x, y, validation=(x, y)) for _ in range(2)]
    for number, history in enumerate(histories, 1):
        events = reader.EventAccumulator(str(tmp_path / str(number))).Reload()
        assert [one.step for one in events.Tensors("step/loss")] == [2, 4, 6, 8, 10, 12]
        for name, wanted in {
            "epoch/loss": [record.loss for record in history.epochs],
            "validation/p@1": [one.validation["p@1"] for one in history.curve],
        }.items():
            found = [one.tensor_proto.float_val[0] for one in events.Tensors(name)]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_it_needs_the_package_and_a_sound_interval(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match=r"^every must be an integer"):
        TensorBoard(tmp_path, every=0)
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    with pytest.raises(LshsampleError, match=r"needs pip install 'lshsample\[tensorboard\]'"):
        TensorBoard(tmp_path)
