"""Calls to a shard in another process over a connection, which ends with the process."""

from __future__ import annotations

import os
import pickle
import socket
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from lshsample.nn.remote import LostError, Worker

__all__ = ["ConnectedWorker", "answer_calls", "tune"]


def tune(connection: Connection) -> None:
    """Send small messages at once, and notice within half a minute that the other machine is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)


def answer_calls(shard: Any, listener: Listener) -> None:
    """Answer the calls of the first connection, until it ends."""
    with listener, listener.accept() as connection:
        tune(connection)
        while True:
            try:
                method, arguments = pickle.loads(connection.recv_bytes())
            except EOFError:
                return
            began = time.perf_counter()
            try:
                answer = True, getattr(shard, method)(*arguments)
            except Exception as error:  # it is raised where the call came from
                answer = False, error
            connection.send_bytes(pickle.dumps((*answer, time.perf_counter() - began), 5))


class ConnectedWorker(Worker):
    """A process that answers calls by :func:`answer_calls`.

    Parameters
    ----------
    key : bytes
        What both ends of the connection know.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._connection: Connection | None = None

    @abstractmethod
    def address(self) -> Any:
        """Where it listens; LostError if it has not started."""

    def submit(self, method: str, arguments: tuple[Any, ...]) -> Callable[[], tuple[Any, float, int]]:
        """Send the call."""
        data = pickle.dumps((method, arguments), 5)
        try:
            if self._connection is None:
                self._connection = Client(self.address(), authkey=self._key)
                tune(self._connection)
            self._connection.send_bytes(data)
        except (OSError, EOFError) as error:
            raise LostError(f"the connection ended: {error!r}") from error
        return partial(self._answer, self._connection, len(data))

    @staticmethod
    def _answer(connection: Connection, sent: int) -> tuple[Any, float, int]:
        try:
            data = connection.recv_bytes()
        except (OSError, EOFError) as error:
            raise LostError(f"the connection ended: {error!r}") from error
        done, value, seconds = pickle.loads(data)
        if not done:
            raise value
        return value, seconds, sent + len(data)

    def stop(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
