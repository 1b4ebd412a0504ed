"""Runs that several processes do together, each with all weights and its rows of every batch."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from operator import itemgetter
from typing import Any, TypeVar

from lshsample.errors import ArgumentError, WorkerError
from lshsample.nn.connected import Channel
from lshsample.nn.parallel import Group
from lshsample.ray.cluster import START_SECONDS, Cluster, connect, the_ray

__all__ = ["data_parallel"]

T = TypeVar("T")


class _Star(Group):
    """Processes that are connected to the first of them, which hands on what it has from all."""

    def __init__(self, rank: int, size: int, channels: list[Channel]) -> None:
        self.rank, self.size, self._channels = rank, size, channels

    def gather(self, value: T) -> list[T]:
        """As :meth:`Group.gather`."""
        if self.rank == 0:
            received = [channel.receive() for channel in self._channels]
            values = [value, *(other for other, _ in received)]
            sent = [
                channel.send(values[:rank] + values[rank + 1 :])
                for rank, channel in enumerate(self._channels, 1)
            ]
            self.exchanged += sum(sent) + sum(size for _, size in received)
            return values
        (channel,) = self._channels
        sent_bytes = channel.send(value)
        others, received_bytes = channel.receive()
        self.exchanged += sent_bytes + received_bytes
        return [*others[: self.rank], value, *others[self.rank :]]


class _Rank:
    """The process of one rank."""

    def __init__(self, rank: int, size: int, key: bytes) -> None:
        self._rank, self._size, self._key = rank, size, key
        self._listener: Listener | None = None

    def address(self) -> Any:
        """Where the first process listens."""
        place = (the_ray().util.get_node_ip_address(), 0)
        self._listener = Listener(place, backlog=self._size, authkey=self._key)
        return self._listener.address

    def run(self, function: Callable[[Group], T], address: Any) -> T | None:
        """The result of the function, of the first process alone."""
        channels: list[Channel] = []
        try:
            if self._listener is None:
                channels = [Channel(Client(address, authkey=self._key))]
                channels[0].send(self._rank)
            else:
                several = [Channel(self._listener.accept()) for _ in range(self._size - 1)]
                ranks = [channel.receive()[0] for channel in several]
                channels = [
                    channel for _, channel in sorted(zip(ranks, several, strict=True), key=itemgetter(0))
                ]
            result = function(_Star(self._rank, self._size, channels))
            return result if self._rank == 0 else None
        finally:
            for channel in channels:
                channel.close()


def data_parallel(function: Callable[[Group], T], cluster: Cluster | None = None) -> T:
    """Call a function in each of several processes on Ray, which train a network together.

    Parameters
    ----------
    function : callable
        Called with a :class:`~lshsample.nn.Group`, for the :class:`~lshsample.nn.DataParallel` network that
        it makes and trains. All processes do the same, on the same data; what is written should be written by
        the one with ``group.rank == 0``.
    cluster : Cluster, optional
        Workers, their threads, and the address of Ray; by default two on this machine.

    Returns
    -------
    object
        What the function returns in the process with rank 0.

    Raises
    ------
    ArgumentError
        The cluster has too few CPUs.
    WorkerError
        A process was lost. Its run can be continued from a checkpoint, with any number of processes.
    UnsupportedError
        Ray is not installed.
    """
    cluster = Cluster() if cluster is None else cluster
    if not isinstance(cluster, Cluster):
        raise ArgumentError("cluster", repr(cluster), "a Cluster")
    ray, started = the_ray(), connect(cluster)
    key, workers = secrets.token_bytes(32), []
    try:
        actor = ray.remote(num_cpus=cluster.threads, max_restarts=0, max_task_retries=0)(_Rank)
        workers = [actor.remote(rank, cluster.workers, key) for rank in range(cluster.workers)]
        address = ray.get(workers[0].address.remote(), timeout=START_SECONDS)
        # With its data, which the processes of a machine read from memory that they share.
        shared = ray.put(function)
        waiting = [worker.run.remote(shared, address) for worker in workers]
        first = waiting[0]
        while waiting:  # whichever fails first
            done, waiting = ray.wait(waiting)
            ray.get(done)
        result: T = ray.get(first)
    except ray.exceptions.RayActorError as error:
        raise WorkerError(f"a process of the run was lost: {str(error).splitlines()[0]}") from error
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        for worker in workers:
            ray.kill(worker)
        if started:
            ray.shutdown()
    return result
