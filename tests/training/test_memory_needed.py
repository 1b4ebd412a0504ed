"""The memory that is predicted for a run, compared with the peak of a process."""

import subprocess
import sys

RUN = """
import numpy as np
import scipy.sparse as sp

from lshsample import memory
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.training import Trainer

rng = np.random.default_rng(0)
x = sp.random_array((512, 20_000), density=0.002, rng=rng, format="csr", dtype=np.float32)
y = sp.csr_array((np.ones(512), (np.arange(512), rng.integers(0, 60_000, 512))), shape=(512, 60_000))
network = Network([Sparse(20_000), Dense(256), Sampled(60_000, n_active=2_000)])
trainer = Trainer(network, batch_size=64, epochs=1, threads=2)
predicted = memory.resident_bytes() + sum(trainer.memory_needed().values())
trainer.fit(x, y)
print(predicted / memory.peak_bytes())
"""


def test_the_peak_of_a_run_is_predicted():
    run = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert 0.9 < float(run.stdout) < 1.25
