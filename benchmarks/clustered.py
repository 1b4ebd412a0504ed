"""Clustered unit vectors: what search and sampling are measured on."""

import numpy as np


def clustered(n_items, n_queries, dim=128, per_cluster=100, spread=0.7, seed=0):
    """Items (n_items, dim) and queries (n_queries, dim), float32 of norm 1, around common centres.

    A vector is its centre plus normal noise of ``spread`` times the centre's norm, so that a query's nearest
    items are those of its cluster, at cosines around 1 / (1 + spread**2), and all others are near 0.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n_items // per_cluster), dim), dtype=np.float32)
    rows = centres[rng.integers(0, len(centres), n_items + n_queries)]
    rows += np.float32(spread) * rng.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:n_items], rows[n_items:]
