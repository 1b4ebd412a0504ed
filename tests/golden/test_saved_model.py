"""A model saved by an earlier version can be read, and gives the same predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from lshsample.nn import Network

FOLDER = Path(__file__).parent / "model-format-1"
LABELS = [[5, 2, 4], [2, 5, 4], [5, 2, 4]]
SCORES = [[0.508767, 0.473709, -0.173585], [0.401962, 0.208386, -0.02098], [0.611565, 0.498262, -0.22581]]


def test_a_model_of_format_1_is_read():
    """Weights, weighting statistics and spec."""
    network = Network.load(FOLDER)
    x = sp.csr_array((np.arange(24, dtype=np.float32) % 5).reshape(3, 8))
    labels, scores = network.predict(x, top=3, threads=1)
    assert labels.tolist() == LABELS
    np.testing.assert_allclose(scores, SCORES, rtol=1e-5)
