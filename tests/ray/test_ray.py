"""Networks with their last layer on workers of Ray; one Ray for all of these tests, as it starts slowly."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError, UnsupportedError, WorkerError
from lshsample.nn import DataParallel, Dense, Network, Sampled, Sharded, Sparse
from lshsample.nn.parallel import Alone
from lshsample.ray import (
    Cluster,
    RayMetrics,
    ShardedNetwork,
    application,
    data_parallel,
    dataset_files,
    dataset_rows,
)
from lshsample.streams import RowFiles, StreamBatches, StreamedRows, files
from lshsample.training import Callback, Trainer
from lshsample.xc import Recipe

# Ray leaves processes and files to be closed later.
pytestmark = pytest.mark.filterwarnings("ignore")

N_FEATURES, N_LABELS = 60, 203
LAYERS = [Sparse(N_FEATURES), Dense(8), Sharded(N_LABELS, n_active=64, n_hashes=4, n_tables=4, rehash=3)]


@pytest.fixture(scope="module")
def started():
    """A Ray on this machine, for four workers."""
    ray = pytest.importorskip("ray")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", num_cpus=4, **quiet)
    yield
    ray.shutdown()


@pytest.fixture
def data():
    return made_data()


def made_data():
    rng = np.random.default_rng(0)
    x = sp.random_array((120, N_FEATURES), density=0.1, rng=rng, format="csr", dtype=np.float32)
    return x, rng.integers(0, N_LABELS, (120, 3)).tolist()


def trainer(network, **options):
    return Trainer(network, **{"batch_size": 30, "epochs": 3, "lr": 0.01, "threads": 1} | options)


def digest(network, x, modes=("exact", "sampled")):
    parts = [p.weights for p in network.parameters] + [network.output.unit_vectors()]
    parts += [part for mode in modes for part in network.predict(x, 7, mode)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


class Kill(Callback):
    """Kills a worker after some steps."""

    def __init__(self, shards, steps):
        self.shards, self.steps = shards, steps

    def on_step(self, step, report, milliseconds):
        if step in self.steps:
            os.kill(self.shards.pids()[step % len(self.shards)], signal.SIGKILL)
        return False


class Stop(Callback):
    """Ends a run after five steps."""

    def on_step(self, step, report, milliseconds):
        return step == 5


@pytest.mark.usefixtures("started")
def test_workers_that_are_killed_change_no_bit(data, tmp_path):
    x, _ = data
    wanted = Network(LAYERS, 3)
    trainer(wanted).fit(*data)
    cluster = Cluster(workers=2, snapshot_steps=4, recovery=tmp_path / "recovery")
    with ShardedNetwork(LAYERS, 3, cluster=cluster) as network:
        callback = Kill(network.shards, (3, 6))
        history = trainer(network, callbacks=[callback], checkpoint=tmp_path / "run").fit(*data)
        assert (history.steps, network.shards.n_restarts) == (12, 2)
        assert network.output.exchanged > 12 * 2 * 4 * 8 * 30
        found, exact = digest(network, x), digest(network, x, ["exact"])
        network.save(tmp_path / "model")
        with pytest.raises(ArgumentError, match=r"workers must be at most the 2 free CPUs .* \(got 4\)"):
            ShardedNetwork(LAYERS, 3, cluster=Cluster(workers=4))
    assert found == digest(wanted, x)
    assert digest(Network.load(tmp_path / "model"), x, ["exact"]) == exact
    assert digest(Trainer.resume(tmp_path / "run").network, x) == found


@pytest.mark.usefixtures("started")
def test_a_run_of_one_process_continues_on_workers(data, tmp_path):
    x, _ = data
    wanted = Network(LAYERS, 3)
    trainer(wanted).fit(*data)

    trainer(Network(LAYERS, 3), checkpoint=tmp_path, callbacks=[Stop()]).fit(*data)
    continued = ShardedNetwork.resume(tmp_path, cluster=Cluster(workers=2), threads=1)
    with continued.network:
        continued.fit(*data)
        assert digest(continued.network, x) == digest(wanted, x)
        with pytest.raises(ArgumentError, match="nan"):  # as raised by a worker, with its class
            continued.network.output.shards.ask_all(
                "top_retrieved", np.full((1, 8), np.nan, np.float32), 1, 1
            )


#: A run that kills its own process, with no time to write a checkpoint or to end its workers.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_ray import LAYERS, Callback, Cluster, ShardedNetwork, made_data, trainer

class Killed(Callback):
    def on_step(self, step, report, milliseconds):
        if step == 8:
            print(*network.shards.pids(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

network = ShardedNetwork(LAYERS, 3, cluster=Cluster(workers=2, address=sys.argv[3]))
options = {"checkpoint": sys.argv[2], "checkpoint_seconds": 1e-6, "callbacks": [Killed()]}
trainer(network, **options).fit(*made_data())
"""


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.usefixtures("started")
def test_a_run_whose_trainer_was_killed_continues_with_the_same_bits(data, tmp_path):
    x, _ = data
    wanted = Network(LAYERS, 3)
    trainer(wanted).fit(*data)
    address = pytest.importorskip("ray").get_runtime_context().gcs_address
    line = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), address]
    killed = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    workers = [int(word) for word in killed.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(is_running, workers))
    continued = ShardedNetwork.resume(tmp_path, cluster=Cluster(workers=2), threads=1)
    with continued.network:
        assert continued.state.step == 8
        continued.fit(*data)
        assert digest(continued.network, x) == digest(wanted, x)


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(("parts", "joins"), [(None, True), (4, True), (None, False)])
def test_the_command_line_trains_on_workers(data, tmp_path, parts, joins):
    """On a cluster whose address is given; without one, Ray is started, though another one runs."""
    ray = pytest.importorskip("ray")
    x, y = data
    rows = sp.csr_array((np.ones(3 * len(y)), np.ravel(y), 3 * np.arange(len(y) + 1)), (len(y), N_LABELS))
    rows.sum_duplicates()
    rows.data[:] = 1
    file = tmp_path / "train.txt"
    write_xc(file, Dataset(x, rows))
    address = ray.get_runtime_context().gcs_address
    words = ["train", file, "--preset", "network", "--hidden", "8", "--n-active", "64", "--epochs", "2"]
    words += ["--threads", "1", "--save", tmp_path / "run", "--workers", "2"]
    words += ["--address", address] if joins else []
    words += [] if parts is None else ["--parts", parts]
    line = [sys.executable, "-c", "from lshsample.cli import main; main()", *map(str, words)]
    environment = os.environ | {"RAY_ADDRESS": address}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = Network.load(tmp_path / "run")
    wanted = Network.from_spec(found.spec)
    assert found.spec.layers[-1].parts == (parts or 1)
    assert Recipe.from_file(tmp_path / "run" / "recipe.toml").network.parts == parts
    settings = json.loads((tmp_path / "run" / "train.json").read_text())["settings"]
    of_network = Trainer(wanted, **settings, threads=1)
    of_network.fit(x, rows)
    assert digest(found, x, ["exact"]) == digest(wanted, x, ["exact"])


@pytest.mark.usefixtures("started")
def test_ray_serve_answers_as_one_process(data, tmp_path):
    serve = pytest.importorskip("ray.serve")
    x, _ = data
    network = Network(LAYERS, 3)
    trainer(network).fit(*data)
    network.save(tmp_path)
    serve.start(http_options={"location": "NoServer"})
    try:
        found = serve.run(application(tmp_path), route_prefix=None).predict.remote(x, 7).result()
    finally:
        serve.shutdown()
    for one, wanted in zip(found, network.predict(x, 7), strict=True):
        np.testing.assert_array_equal(one, wanted)


def trained_together(group, fails=False):
    """Bits of the weights, steps, and bytes exchanged, of a network of all processes."""
    if fails and group.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    layers = [Sparse(N_FEATURES), Dense(8), Dense(N_LABELS, "softmax")]
    network = DataParallel(layers, 3, parts=4, group=group)
    history = trainer(network).fit(*made_data())
    weights = [np.ascontiguousarray(p.weights).tobytes() for p in network.parameters]
    return hashlib.sha256(b"".join(weights)).hexdigest(), history.steps, group.exchanged


@pytest.mark.usefixtures("started")
def test_processes_train_one_network_together():

    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    bits, steps, exchanged = data_parallel(trained_together, Cluster(workers=2))
    assert (bits, steps, 0) == trained_together(Alone())
    assert exchanged > 2 * 12 * 4 * N_LABELS * 8  # the dense gradient of the last layer, each way
    with pytest.raises(WorkerError, match="a process of the run was lost"):
        data_parallel(partial(trained_together, fails=True), Cluster(workers=2))
    with pytest.raises(ArgumentError, match="cluster must be a Cluster"):
        data_parallel(trained_together, 2)


@pytest.mark.usefixtures("started")
def test_rows_of_ray_data_train_with_the_bits_of_memory(data, tmp_path):
    pytest.importorskip("pyarrow")
    ray_data = pytest.importorskip("ray.data")
    x, y = data
    rows = [
        {"row": i, "labels": y[i], "ids": x.indices[a:b].tolist(), "values": x.data[a:b].tolist()}
        for i, (a, b) in enumerate(pairwise(x.indptr))
    ]
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    ray_data.DataContext.get_current().enable_progress_bars = False
    found = dataset_rows(ray_data.from_items(shuffled, override_num_blocks=5), N_FEATURES, N_LABELS)
    networks = [Network(LAYERS, 3) for _ in range(2)]
    trainer(networks[0]).fit(x, y)
    trainer(networks[1]).fit(found.x, found.y)
    assert digest(networks[0], x) == digest(networks[1], x)


@pytest.mark.usefixtures("started")
def test_a_streamed_dataset_of_ray_has_the_bits_of_a_file(data, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    ray_data = pytest.importorskip("ray.data")
    monkeypatch.setattr(files, "BLOCK_BYTES", 2000)
    x, y = data
    write_xc(tmp_path / "rows.txt", Dataset.of(x, y, n_labels=N_LABELS))
    rows = [
        {"row": i, "labels": y[i], "ids": x.indices[a:b].tolist(), "values": x.data[a:b].tolist()}
        for i, (a, b) in enumerate(pairwise(x.indptr))
    ]
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    made = ray_data.from_items(rows, override_num_blocks=4)
    dataset = made.map(
        lambda row: (time.sleep(0.01 * (row["row"] < 30)), row)[1]
    )  # the first block is the last
    found = dataset_files(dataset, N_FEATURES, N_LABELS)
    digests = []
    for paths in (RowFiles(paths=tmp_path / "rows.txt"), found):
        streamed = StreamedRows.scan(paths, parsers=0)
        folder, network = tmp_path / str(len(digests)), Network(LAYERS, 3)
        with StreamBatches(streamed, network, 30, parsers=0) as source:
            trainer(network, checkpoint=folder, callbacks=[Stop()]).fit(source)
            again = Trainer.resume(folder, threads=1, callbacks=[])
            assert again.state.step == 5
            again.fit(source)
        digests.append(digest(again.network, x))
    assert digests[0] == digests[1]
    assert not context.execution_options.preserve_order


@pytest.mark.usefixtures("started")
def test_a_run_is_counted_in_the_metrics_of_ray(data, monkeypatch):
    metrics = pytest.importorskip("ray.util.metrics")
    counted = {}

    def add(self, value=1.0, tags=None):
        counted[self.info["name"], tags["run"]] = counted.get((self.info["name"], tags["run"]), 0) + value

    monkeypatch.setattr(metrics.Counter, "inc", add)
    monkeypatch.setattr(metrics.Gauge, "set", add)
    layers = [Sparse(N_FEATURES), Dense(8), Dense(N_LABELS, "softmax")]

    class Two(Alone):
        def gather(self, value):
            self.exchanged += 100
            return [value]

    history = trainer(DataParallel(layers, group=Two()), callbacks=[RayMetrics("a")]).fit(*data)
    assert counted["lshsample_steps", "a"] == history.steps == 12
    assert counted["lshsample_exchanged_bytes", "a"] == 1200
    assert counted["lshsample_loss", "a"] == pytest.approx(4 * sum(one.loss for one in history.epochs))
    assert counted["lshsample_step_milliseconds", "a"] > 0


def test_what_cannot_be_spread_is_refused():
    for workers, given in ((3, "3"), (16, "16")):
        with pytest.raises(
            ArgumentError, match=rf"workers must be a power of two, at most the 8 .*{given}\)"
        ):
            ShardedNetwork(LAYERS, cluster=Cluster(workers=workers))
    with pytest.raises(ArgumentError, match="workers must be an integer from 1 to 1024"):
        Cluster(workers=0)
    with pytest.raises(ArgumentError, match="a Sharded or a Sampled layer"):
        ShardedNetwork([Sparse(9), Dense(5, "softmax")])
    with pytest.raises(ArgumentError, match="cluster must be a Cluster"):
        ShardedNetwork(LAYERS, cluster=2)


def test_a_network_of_another_layer_is_not_read_by_workers(tmp_path):
    Network([Sparse(9), Dense(4), Sampled(50, n_active=9)]).save(tmp_path)
    with pytest.raises(Exception, match="a Sharded layer, to be read by workers"):
        ShardedNetwork.load(tmp_path)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'lshsample\[ray\]'"):
        ShardedNetwork(LAYERS)
