"""Workers on Ray: where they are, and calls to them."""

from __future__ import annotations

import os
import secrets
import tempfile
from multiprocessing.connection import Listener
from pathlib import Path
from threading import Thread
from typing import Any, cast

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError, needs_extra
from lshsample.files import as_path
from lshsample.nn.connected import ConnectedWorker, answer_calls
from lshsample.nn.layer import BuildContext
from lshsample.nn.remote import LostError, RemoteShards, Worker
from lshsample.nn.shard import Shard
from lshsample.nn.sharded import Sharded

__all__ = ["START_SECONDS", "Cluster", "RayShards", "cluster_resources", "connect", "the_ray"]

#: Seconds that Ray has to start the workers.
START_SECONDS = 120.0


def _path(value: Any) -> Path | None:
    return None if value is None else as_path(value, "recovery")


@attrs.frozen(kw_only=True)
class Cluster:
    """The workers that hold the shards of a network.

    Attributes
    ----------
    workers : int
        Number of workers, a power of two up to the number of blocks of the last layer.
    threads : int
        Threads of each worker, which it also asks of Ray as CPUs.
    address : str, optional
        Address of a Ray cluster, or ``"auto"`` for the one that this machine belongs to; by default Ray is
        started on this machine, unless this process is connected already.
    recovery : path, optional
        Folder for the snapshots from which a worker that died is restarted; all machines have to reach it. By
        default a temporary folder, for workers on one machine.
    snapshot_steps : int
        Steps between two snapshots. The calls since the last one are kept in memory, about 150 KB a step for
        a batch of 256 rows with 128 hidden units.
    """

    workers: int = attrs.field(default=2, validator=specs.integer(1, 1024))
    threads: int = attrs.field(default=1, validator=specs.integer(1, 1024))
    address: str | None = attrs.field(default=None, validator=attrs.validators.optional(specs.text))
    recovery: Path | None = attrs.field(default=None, converter=_path)
    snapshot_steps: int = attrs.field(default=1000, validator=specs.integer(1, 2**31 - 1))

    def check(self, spec: Sharded) -> None:
        """Refuse a number of workers that the blocks of a layer cannot be divided among."""
        if self.workers & (self.workers - 1) or self.workers > spec.blocks:
            wanted = f"a power of two, at most the {spec.blocks} blocks of the last layer"
            raise ArgumentError("workers", self.workers, wanted)


class _ShardActor:
    """The process of a worker: a shard, and a thread that answers calls."""

    def __init__(self, spec: Sharded, context: BuildContext, first: int, last: int, threads: int) -> None:
        self._shard = Shard(spec, context, first, last, threads)

    def listen(self, key: bytes) -> tuple[Any, int]:
        """Wait for a connection in a thread; returns where, and the number of this process."""
        listener = Listener((the_ray().util.get_node_ip_address(), 0), authkey=key)
        Thread(target=answer_calls, args=(self._shard, listener), daemon=True).start()
        return listener.address, os.getpid()


class RayWorker(ConnectedWorker):
    """An actor with one shard, and a connection to it.

    Actor calls are for small messages: a step of 256 rows took 8 ms for one exchange with two workers, and
    0.8 ms over connections, which Ray need not know of.
    """

    def __init__(self, actor: Any) -> None:
        key = secrets.token_bytes(32)
        super().__init__(key)
        self._actor, self._place = actor, actor.listen.remote(key)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._listens()[1]

    def address(self) -> Any:
        """Where its process listens."""
        return self._listens()[0]

    def _listens(self) -> tuple[Any, int]:
        ray = the_ray()
        try:
            place: tuple[Any, int] = ray.get(self._place, timeout=START_SECONDS)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise LostError(f"not started: {str(error).splitlines()[0]}") from error
        return place

    def stop(self) -> None:
        """Close the connection and end the actor."""
        super().stop()
        the_ray().kill(self._actor)


class RayShards(RemoteShards):
    """Shards in actors of Ray.

    Parameters
    ----------
    spec : Sharded
        The layer.
    context : BuildContext
        Its place in the network.
    cluster : Cluster
        The workers.
    """

    def __init__(self, spec: Sharded, context: BuildContext, cluster: Cluster) -> None:
        cluster.check(spec)
        ray = the_ray()
        self._started = connect(cluster)
        self._temporary = None
        folder = cluster.recovery
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lshsample-")
            folder = Path(self._temporary.name)
        actor = ray.remote(num_cpus=cluster.threads, max_restarts=0, max_task_retries=0)(_ShardActor)

        def start(first: int, last: int) -> Worker:
            return RayWorker(actor.remote(spec, context, first, last, cluster.threads))

        super().__init__(spec, cluster.workers, start, folder, cluster.snapshot_steps)
        self.pids()  # until all of them run

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [cast(RayWorker, worker).pid for worker in self.workers]

    def stop(self) -> None:
        """End the workers, and Ray if it was started for them."""
        super().stop()
        if self._temporary is not None:
            self._temporary.cleanup()
        if self._started:
            the_ray().shutdown()
            self._started = False


def cluster_resources(address: str) -> dict[str, float]:
    """What a running Ray cluster has.

    Parameters
    ----------
    address : str
        Its address, or ``"auto"``.

    Returns
    -------
    dict
        ``machines``, and free ``cpus`` and ``memory`` in bytes.

    Raises
    ------
    ArgumentError
        There is no cluster at the address.
    """
    ray = the_ray()
    started = _join(address)
    try:
        free = ray.available_resources()
        machines = sum(node["Alive"] for node in ray.nodes())
    finally:
        if started:
            ray.shutdown()
    return {"machines": machines, "cpus": free.get("CPU", 0.0), "memory": free.get("memory", 0.0)}


def _join(address: str) -> bool:
    """Connect to a cluster, unless this process is connected; whether it did."""
    ray = the_ray()
    if ray.is_initialized():
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (ConnectionError, ValueError) as error:
        raise ArgumentError("address", repr(address), f"that of a running Ray cluster: {error}") from error
    return True


def the_ray() -> Any:
    """The package; UnsupportedError if it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise needs_extra("a cluster of Ray", "ray", error) from error
    return ray


def connect(cluster: Cluster) -> bool:
    """Connect to Ray, or start it on this machine; whether it was started. ArgumentError if it has too few
    CPUs for the workers.
    """
    ray = the_ray()
    needed = cluster.workers * cluster.threads
    if cluster.address is not None:
        started = _join(cluster.address)
    else:
        started = not ray.is_initialized()
        if started:
            # "local": a Ray of its own, even where another one runs on this machine or is in RAY_ADDRESS.
            quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
            ray.init(address="local", num_cpus=needed, **quiet)
    free = ray.available_resources().get("CPU", 0)
    if free < needed:
        if started:
            ray.shutdown()
        wanted = f"at most the {free:g} free CPUs of the cluster, with {cluster.threads} for each"
        raise ArgumentError("workers", cluster.workers, wanted)
    return started
