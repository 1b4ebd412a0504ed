"""Sparse rows with learnable labels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp


@pytest.fixture(scope="session")
def rows():
    """600 rows of 240 features and 60 labels: a row has two labels, and two of the four features of each."""
    rng = np.random.default_rng(0)
    n, n_labels = 600, 60
    labels = np.array([rng.choice(n_labels, 2, replace=False) for _ in range(n)])
    features = np.array([[4 * y + f for y in of for f in rng.choice(4, 2, replace=False)] for of in labels])
    noise = rng.integers(0, 4 * n_labels, (n, 3))
    columns = np.concatenate([features, noise], axis=1)
    x = sp.csr_array(
        (np.ones(columns.size), (np.repeat(np.arange(n), 7), columns.ravel())), (n, 4 * n_labels)
    )
    x.sum_duplicates()
    y = sp.csr_array((np.ones(2 * n), (np.repeat(np.arange(n), 2), labels.ravel())), (n, n_labels))
    return x, y
