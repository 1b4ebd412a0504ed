"""Runs that several processes do together, each with all weights and its rows of every batch."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, TypeVar

from lshsample.errors import ArgumentError, WorkerError
from lshsample.nn.connected import tune
from lshsample.nn.parallel import Group
from lshsample.ray.cluster import START_SECONDS, Cluster, connect, the_ray

__all__ = ["data_parallel"]

T = TypeVar("T")


class _Star(Group):
    """Processes that are connected to the first of them, which hands on what it has from all."""

    def __init__(self, rank: int, size: int, connections: list[Connection]) -> None:
        self.rank, self.size, self._connections = rank, size, connections

    def gather(self, value: T) -> list[T]:
        """As :meth:`Group.gather`."""
        own = pickle.dumps(value, 5)
        if self.rank == 0:
            parts = [own, *(connection.recv_bytes() for connection in self._connections)]
            for rank, connection in enumerate(self._connections, 1):
                others = parts[:rank] + parts[rank + 1 :]
                for part in others:
                    connection.send_bytes(part)
                self.exchanged += len(parts[rank]) + sum(map(len, others))
        else:
            (connection,) = self._connections
            connection.send_bytes(own)
            parts = [connection.recv_bytes() for _ in range(self.size - 1)]
            parts.insert(self.rank, own)
            self.exchanged += sum(map(len, parts))
        return [value if i == self.rank else pickle.loads(part) for i, part in enumerate(parts)]


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
        connections: list[Connection] = []
        try:
            if self._listener is None:
                connections = [Client(address, authkey=self._key)]
                connections[0].send(self._rank)
            else:
                several = [self._listener.accept() for _ in range(self._size - 1)]
                ranked = sorted(((one.recv(), one) for one in several), key=lambda pair: int(pair[0]))
                connections = [one for _, one in ranked]
            for connection in connections:
                tune(connection)
            result = function(_Star(self._rank, self._size, connections))
            return result if self._rank == 0 else None
        finally:
            for connection in connections:
                connection.close()


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
        waiting = [worker.run.remote(function, address) for worker in workers]
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
