"""A training step validates nothing twice: it calls few Python functions besides the C core."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from lshsample.nn import Adam, Dense, Network, Run, Sampled, Sparse

BATCH, FEATURES, LABELS = 64, 2_000, 20_000


def rows(columns: int, per_row: int, seed: int) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    places = np.concatenate([np.sort(rng.choice(columns, per_row, replace=False)) for _ in range(BATCH)])
    out = sp.csr_array((BATCH, columns), dtype=np.float32)
    out.indptr, out.indices = np.arange(BATCH + 1) * per_row, places.astype(np.int32)
    out.data = np.ones(len(places), np.float32)
    return out


def test_a_pooled_step_makes_few_calls():
    """Counted by function, so that a failure shows where they are; the number does not depend on sizes."""
    network = Network([Sparse(FEATURES), Dense(128), Sampled(LABELS, n_active=500, rehash=0)])
    network.allocate(Adam.slots)
    optimizer = Adam()
    batch = network.batch(rows(FEATURES, 20, 1), rows(LABELS, 3, 2))

    def step(number):
        run = Run(1, 0, number, training=True, sampled=True, targets=batch.y)
        network.train_step(batch.x, batch.y, optimizer, 1e-3, run)

    step(1)
    step(2)
    calls: Counter[str] = Counter()

    def profile(frame, event, _):
        if event == "call":
            calls[f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"] += 1

    gc.collect()  # what earlier tests left would be finalized within the step, and counted
    gc.disable()
    sys.setprofile(profile)
    try:
        step(3)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert calls.total() <= 235, calls.most_common(50)
    validation = {name for name in calls if name.startswith(("arrays.", "layers."))}
    assert not validation, validation
