"""Prediction on shards by Ray Serve: a deployment for each shard, and one in front that merges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError, needs_extra
from lshsample.nn import BuildContext, Network, NetworkSpec, Sharded
from lshsample.nn.best import Chosen, merge_top
from lshsample.nn.bundle import model_folder, read_bundle
from lshsample.nn.exchange import SentRows
from lshsample.nn.network import MODEL
from lshsample.nn.shard import Shard
from lshsample.nn.sharded import ShardedLayer
from lshsample.nn.shards import Shards
from lshsample.nn.sums import ranges
from lshsample.serve.requests import BadRequest, Predict, parsed_json
from lshsample.serve.settings import ServeSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["application"]

Float32 = npt.NDArray[np.float32]
_MODES = ("exact", "sampled")


class _Elsewhere(Shards):
    """Shards that others have read."""

    is_local = False

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = [(bounds[0], bounds[-1])]

    def ask(self, method: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
        assert method == "read", "a front only reads the layers below"
        return [None]


class _ShardReplica:
    """A replica of one shard."""

    def __init__(
        self,
        folder: Path,
        generation: int,
        spec: Sharded,
        context: BuildContext,
        blocks: tuple[int, int],
        threads: int,
    ) -> None:
        self._shard, self._threads = Shard(spec, context, *blocks, threads), threads
        self._shard.read(folder, MODEL, generation, None)

    def best(self, h: Float32 | SentRows, k: int, mode: str) -> Chosen:
        if mode == "sampled":
            return self._shard.top_retrieved(h, k, self._threads)[0]
        return self._shard.top_k(h, k, None, self._threads)


class _Front:
    """A replica of the layers below, which asks all shards and merges their answers."""

    def __init__(self, folder: Path, generation: int, mode: str, *shards: Any) -> None:
        self._network, found = _head(folder)
        if found != generation:
            raise CheckpointError(f"{folder}: was replaced after the application was made")
        self._mode, self._shards = mode, shards
        self._limits = ServeSettings(model=folder)

    async def predict(self, x: Any, top: int = 5) -> tuple[npt.NDArray[np.int32], Float32]:
        """As :meth:`Network.predict <lshsample.Network.predict>`."""
        top = specs.checked_integer("top", top, 1, self._network.n_labels, ", the number of labels")
        assert isinstance(self._network.output, ShardedLayer)
        h = self._network.output.sent(self._network.hidden(x))
        parts = await asyncio.gather(*(shard.best.remote(h, top, self._mode) for shard in self._shards))
        best = merge_top(parts, top)
        return best.ids, best.scores

    async def __call__(self, request: Request) -> Response:
        """Answer a POST of rows with their best labels."""
        from starlette.responses import JSONResponse

        try:
            body = await request.body()
            if len(body) > self._limits.max_body:
                raise BadRequest(f"the body must have at most {self._limits.max_body} bytes", 413)
            wanted = Predict.of(parsed_json(body), self._limits)
            if wanted.rows is None or wanted.labels or wanted.exclude or wanted.threshold:
                raise BadRequest("the fields must be rows and top: the model is a network alone")
            x = wanted.matrix(self._network.n_features)
            found = await self.predict(x, min(wanted.top, self._network.n_labels))
        except BadRequest as error:
            return JSONResponse({"error": str(error)}, error.status)
        rows = [
            {"labels": [{"id": int(i), "score": float(s)} for i, s in zip(*row, strict=True) if i >= 0]}
            for row in zip(*found, strict=True)
        ]
        return JSONResponse({"rows": rows})


def application(
    path: str | PathLike[str],
    *,
    shards: int = 2,
    threads: int = 1,
    mode: str = "exact",
    replicas: tuple[int, int] = (1, 1),
    requests: int = 2,
) -> Any:
    """An application of Ray Serve that predicts with a model whose labels are spread over deployments.

    Parameters
    ----------
    path : path
        The folder of a model with a :class:`~lshsample.nn.Sharded` layer, or of a run, which all machines
        reach.
    shards : int
        Number of shards, a power of two up to the number of blocks; the answers do not depend on it.
    threads : int
        Threads of each replica, which it asks of Ray as CPUs.
    mode : {"exact", "sampled"}
        As for :meth:`Network.predict <lshsample.Network.predict>`.
    replicas : (int, int)
        Smallest and largest number of replicas of each deployment, which Ray Serve chooses by the load. The
        cluster needs ``threads`` free CPUs for each.
    requests : int
        Requests that a replica should have at a time, on average: with more, Ray Serve starts another one,
        with fewer it ends one, within ``replicas``.

    Returns
    -------
    ray.serve.Application
        For ``serve.run``. A POST of ``{"rows": [{"ids": [...], "values": [...]}], "top": 5}`` is answered by
        ``{"rows": [{"labels": [{"id": ..., "score": ...}]}]}`` with logits as scores; the handle has
        ``predict.remote(X, top)``.

    Raises
    ------
    ArgumentError
        A bad argument.
    CheckpointError
        As :meth:`Network.load <lshsample.Network.load>`, or its last layer is another one.
    UnsupportedError
        Ray Serve is not installed, or ``mode="sampled"`` for a layer without tables.
    """
    least, most = _checked_replicas(replicas)
    specs.checked_integer("threads", threads, 1)
    specs.checked_integer("requests", requests, 1)
    if mode not in _MODES:
        raise ArgumentError("mode", repr(mode), "'exact' or 'sampled'")
    folder = model_folder(path).absolute()
    network, generation = _head(folder)
    layer = network.output
    assert isinstance(layer, ShardedLayer)
    if shards not in [2**i for i in range(layer.spec.blocks.bit_length())]:
        wanted = f"a power of two, at most the {layer.spec.blocks} blocks of the last layer"
        raise ArgumentError("shards", shards, wanted)
    if mode == "sampled" and not layer.retrieves:
        raise UnsupportedError("mode='sampled' needs a last layer that retrieves from hash tables")
    try:
        from ray import serve
    except ImportError as error:
        raise needs_extra("serving on Ray", "ray-serve", error) from error
    deploy: Any = partial(
        serve.deployment,
        ray_actor_options={"num_cpus": threads},
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": requests,
        },
    )
    bound = [
        deploy(_ShardReplica, name=f"shard{i}").bind(
            folder, generation, layer.spec, layer.context, blocks, threads
        )
        for i, blocks in enumerate(ranges(layer.spec.blocks, shards))
    ]
    return deploy(_Front, name="front").bind(folder, generation, mode, *bound)


def _checked_replicas(replicas: tuple[int, int]) -> tuple[int, int]:
    wanted = "a smallest and a largest number, such as (1, 8)"
    if not isinstance(replicas, tuple) or len(replicas) != 2:
        raise ArgumentError("replicas", repr(replicas), wanted)
    least, most = (specs.checked_integer("replicas", one, 1) for one in replicas)
    if least > most:
        raise ArgumentError("replicas", replicas, wanted)
    return least, most


def _head(folder: Path) -> tuple[Network, int]:
    """The network of a model without its shards, and the generation of the folder."""

    def made(spec: NetworkSpec) -> Network:
        last = spec.layers[-1]
        if not isinstance(last, Sharded):
            raise ArgumentError("layers[-1]", repr(last), "a Sharded layer, to be served in shards")
        network = Network.from_spec(spec)
        assert isinstance(network.output, ShardedLayer)
        network.output.shards = _Elsewhere(last.bounds())
        return network

    with read_bundle(folder, MODEL, lambda _: False) as bundle:
        generation = bundle.generation
    return Network._read(folder, made), generation
