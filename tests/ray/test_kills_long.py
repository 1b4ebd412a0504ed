"""Workers killed at random moments in a long run; takes minutes, needs LSHSAMPLE_LONG=1."""

import hashlib
import os
import random
import signal
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.nn import Dense, Network, Sharded, Sparse
from lshsample.ray import Cluster, ShardedNetwork
from lshsample.training import Callback, Trainer

pytestmark = pytest.mark.skipif(
    os.environ.get("LSHSAMPLE_LONG") != "1", reason="long: set LSHSAMPLE_LONG=1 (see CONTRIBUTING.md)"
)

N_FEATURES, N_LABELS, STEPS, KILLS = 200, 2000, 480, 10
LAYERS = [Sparse(N_FEATURES), Dense(32), Sharded(N_LABELS, n_active=400, n_tables=4, rehash=20)]


def trained(network, callbacks=()):
    rng = np.random.default_rng(0)
    x = sp.random_array((30 * 48, N_FEATURES), density=0.05, rng=rng, format="csr", dtype=np.float32)
    y = rng.integers(0, N_LABELS, (30 * 48, 3)).tolist()
    history = Trainer(network, batch_size=30, epochs=10, threads=1, callbacks=callbacks).fit(x, y)
    parts = [p.weights for p in network.parameters] + [network.output.unit_vectors()]
    parts += network.predict(x[:100], 5, "sampled")
    return history.steps, hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).digest()


class Kills(Callback):
    """Kills workers at moments that do not depend on where in a step they are."""

    def __init__(self, shards, seed):
        self.shards, self.random = shards, random.Random(seed)
        self.steps = {20 + 45 * i + self.random.randrange(25) for i in range(KILLS)}
        self.timers = []

    def on_step(self, step, report, milliseconds):
        if step in self.steps:
            pid = self.random.choice(self.shards.pids())
            after = self.random.random() * 3 * milliseconds / 1000
            self.timers.append(threading.Timer(after, os.kill, (pid, signal.SIGKILL)))
            self.timers[-1].start()


@pytest.mark.filterwarnings("ignore")
def test_ten_kills_at_random_moments_change_no_bit():
    pytest.importorskip("ray")
    steps, wanted = trained(Network(LAYERS, 3))
    assert steps == STEPS
    with ShardedNetwork(LAYERS, 3, cluster=Cluster(workers=2, snapshot_steps=50)) as network:
        kills = Kills(network.shards, 1)
        _, found = trained(network, [kills])
        assert (len(kills.timers), network.shards.n_restarts) == (KILLS, KILLS)
    assert found == wanted
