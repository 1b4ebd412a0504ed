"""Calls to a shard in another process over a connection, which ends with the process."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

from lshsample.nn.remote import LostError, Worker

__all__ = ["Channel", "ConnectedWorker", "answer_calls"]

#: Before a message: the number of its arrays; then the bytes of its pickled form, and of each array.
_COUNT = struct.Struct("!I")
_PIECES = 256  # of a message that are written at once; a system call takes 1024


class Channel:
    """Messages over a connection between two processes that know each other; arrays are sent from where they
    are, and received where they stay.

    Parameters
    ----------
    connection : Connection
        It is authenticated, and is closed with the channel.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._end = socket.socket(fileno=os.dup(connection.fileno()))
        self._end.setblocking(True)
        _tune(self._end)

    def send(self, message: Any) -> int:
        """Send a message; returns its bytes. OSError if the other end is gone."""
        buffers: list[pickle.PickleBuffer] = []
        text = pickle.dumps(message, 5, buffer_callback=buffers.append)
        pieces = [memoryview(text), *(buffer.raw() for buffer in buffers)]
        sizes = struct.pack(f"!{len(pieces)}Q", *(piece.nbytes for piece in pieces))
        total = sum(piece.nbytes for piece in pieces)
        left = [memoryview(_COUNT.pack(len(pieces)) + sizes), *(piece for piece in pieces if piece.nbytes)]
        while left:
            sent = self._end.sendmsg(left[:_PIECES])
            while left and sent >= left[0].nbytes:
                sent -= left.pop(0).nbytes
            if sent:
                left[0] = left[0][sent:]
        return total

    def receive(self) -> tuple[Any, int]:
        """The next message, whose arrays may be changed, and its bytes. EOFError if the other end is gone."""
        (count,) = _COUNT.unpack(self._exactly(_COUNT.size))
        sizes = struct.unpack(f"!{count}Q", self._exactly(8 * count))
        text, *buffers = map(self._exactly, sizes)
        return pickle.loads(text, buffers=buffers), sum(sizes)

    def _exactly(self, size: int) -> memoryview:
        """The next bytes."""
        whole: memoryview = np.empty(size, np.uint8).data
        at = 0
        while at < size:
            got = self._end.recv_into(whole[at:])
            if not got:
                raise EOFError("the other end is closed")
            at += got
        return whole

    def close(self) -> None:
        """End the connection."""
        self._end.close()
        self._connection.close()


def _tune(end: socket.socket) -> None:
    """Send small messages at once, and notice within half a minute that the other machine is gone."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)


def answer_calls(shard: Any, listener: Listener) -> None:
    """Answer the calls of the first connection, until it ends."""
    with listener:
        channel = Channel(listener.accept())
    try:
        while True:
            (method, arguments), _ = channel.receive()
            began = time.perf_counter()
            try:
                answer = True, getattr(shard, method)(*arguments)
            except Exception as error:  # it is raised where the call came from
                answer = False, error
            channel.send((*answer, time.perf_counter() - began))
    except EOFError:
        pass
    finally:
        channel.close()


class ConnectedWorker(Worker):
    """A process that answers calls by :func:`answer_calls`.

    Parameters
    ----------
    key : bytes
        What both ends of the connection know.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._channel: Channel | None = None

    @abstractmethod
    def address(self) -> Any:
        """Where it listens; LostError if it has not started."""

    def submit(self, method: str, arguments: tuple[Any, ...]) -> Callable[[], tuple[Any, float, int]]:
        """Send the call."""
        try:
            if self._channel is None:
                self._channel = Channel(Client(self.address(), authkey=self._key))
            sent = self._channel.send((method, arguments))
        except (OSError, EOFError) as error:
            raise LostError(f"the connection ended: {error!r}") from error
        return partial(self._answer, self._channel, sent)

    @staticmethod
    def _answer(channel: Channel, sent: int) -> tuple[Any, float, int]:
        try:
            (done, value, seconds), received = channel.receive()
        except (OSError, EOFError) as error:
            raise LostError(f"the connection ended: {error!r}") from error
        if not done:
            raise value
        return value, seconds, sent + received

    def stop(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()
