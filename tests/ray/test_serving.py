"""The parts of the application of Ray Serve, without Ray."""

import asyncio
import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.nn import Dense, Network, Sampled, Sharded, Sparse
from lshsample.ray import application, serving
from lshsample.training import Trainer

RNG = np.random.default_rng(0)
X = sp.random_array((40, 60), density=0.1, rng=RNG, format="csr", dtype=np.float32)
Y = RNG.integers(0, 203, (40, 3)).tolist()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and its folder."""
    last = Sharded(203, n_active=64, n_hashes=4, n_tables=4, rehash=0)
    network = Network([Sparse(60), Dense(8), last], 3)
    Trainer(network, epochs=2, lr=0.01, batch_size=20, threads=1).fit(X, Y)
    folder = tmp_path_factory.mktemp("models") / "model"
    network.save(folder)
    return network, folder


class Handle:
    """Calls a replica in this process, as a handle of Ray Serve does elsewhere."""

    def __init__(self, replica):
        self.best = self
        self._replica = replica

    async def remote(self, *arguments):
        return self._replica.best(*arguments)


class Body:
    """A request."""

    def __init__(self, data):
        self._data = data if isinstance(data, bytes) else json.dumps(data).encode()

    async def body(self):
        return self._data


def front(folder, mode="exact", n_shards=2, generation=1):
    head, _ = serving._head(folder)
    layer = head.output
    parts = serving.ranges(layer.spec.blocks, n_shards)
    shards = [serving._ShardReplica(folder, generation, layer.spec, layer.context, part, 1) for part in parts]
    return serving._Front(folder, generation, mode, *map(Handle, shards))


@pytest.mark.parametrize(("mode", "n_shards"), [("exact", 1), ("exact", 8), ("sampled", 2)])
def test_the_answers_are_those_of_one_process(saved, mode, n_shards):
    network, folder = saved
    found = asyncio.run(front(folder, mode, n_shards).predict(X, 7))
    for one, wanted in zip(found, network.predict(X, 7, mode), strict=True):
        np.testing.assert_array_equal(one, wanted)


def test_a_request_is_answered_or_says_what_is_wrong(saved):
    network, folder = saved
    of = front(folder)
    row = {"ids": X[[0]].indices.tolist(), "values": X[[0]].data.tolist()}
    answer = asyncio.run(of(Body({"rows": [row], "top": 3})))
    labels = json.loads(answer.body)["rows"][0]["labels"]
    assert [one["id"] for one in labels] == network.predict(X[[0]], 3)[0][0].tolist()
    for body, status, message in (
        ({"text": "a"}, 400, "the fields must be rows and top"),
        ({"rows": [{"ids": [60], "values": [1]}]}, 400, "a feature id must be an integer from 0 to 59"),
        (b"x" * ((1 << 20) + 1), 413, "at most 1048576 bytes"),
    ):
        refused = asyncio.run(of(Body(body)))
        assert refused.status_code == status
        assert message in json.loads(refused.body)["error"]


def test_a_model_that_was_replaced_is_not_mixed(saved, tmp_path):
    network, _ = saved
    for _ in range(2):
        network.save(tmp_path)
    with pytest.raises(CheckpointError, match="was replaced"):
        front(tmp_path)


def test_bad_applications_are_refused(saved, tmp_path):
    _, folder = saved
    for options, message in (
        ({"shards": 3}, "shards must be a power of two, at most the 8 blocks"),
        ({"replicas": (2, 1)}, "replicas must be a smallest and a largest number"),
        ({"replicas": 2}, "replicas must be a smallest and a largest number"),
        ({"requests": 0}, "requests must be an integer >= 1"),
        ({"mode": "best"}, "mode must be 'exact' or 'sampled'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            application(folder, **options)
    uniform = Sharded(50, sampler="uniform", n_active=9)
    for last, error in ((Sampled(50, n_active=9), CheckpointError), (uniform, UnsupportedError)):
        place = tmp_path / type(last).__name__
        Network([Sparse(9), Dense(4), last]).save(place)
        with pytest.raises(error):
            application(place, mode="sampled")


def test_each_deployment_scales_with_its_load(saved):
    pytest.importorskip("ray.serve")
    front = application(saved[1], shards=4, threads=2, replicas=(2, 6), requests=5)._bound_deployment
    shards = [one._bound_deployment for one in front.init_args[3:]]
    assert [one.name for one in (front, *shards)] == ["front", "shard0", "shard1", "shard2", "shard3"]
    for one in (front, *shards):
        scaling = one._deployment_config.autoscaling_config
        assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 6, 5)
        assert one.ray_actor_options == {"num_cpus": 2}
