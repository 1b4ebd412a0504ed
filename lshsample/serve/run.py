"""Running a server: the socket, the worker processes, and their graceful end."""

from __future__ import annotations

import multiprocessing
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import wait

from lshsample.errors import ArgumentError, LshsampleError
from lshsample.serve.app import Application
from lshsample.serve.settings import ServeSettings

__all__ = ["run"]

#: Seconds that requests have to finish when the server is stopped.
_GRACE = 30


def run(settings: ServeSettings, on_listen: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests that have begun are answered first.

    Parameters
    ----------
    settings : ServeSettings
    on_listen : callable, optional
        Called with the address when the server can be connected to.

    Raises
    ------
    ArgumentError
        The address cannot be listened on.
    LshsampleError
        A worker process ended by itself; the others are stopped.
    """
    listening = _socket(settings)
    try:
        if on_listen is not None:
            host, port = listening.getsockname()[:2]
            on_listen(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        if settings.workers == 1:
            _work(settings, listening)
        else:
            _supervise(settings, listening)
    finally:
        listening.close()


def _work(settings: ServeSettings, listening: socket.socket) -> None:
    """Serve in this process."""
    import uvicorn

    config = uvicorn.Config(
        Application(settings),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        limit_concurrency=4 * settings.max_waiting + 64,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _supervise(settings: ServeSettings, listening: socket.socket) -> None:
    """Serve in several processes, which share the socket, until a signal or until one of them ends."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(settings, listening), name=f"worker {number}")
        for number in range(settings.workers)
    ]
    signals: list[int] = []

    def stop(number: int, _: object) -> None:
        signals.append(number)
        for worker in workers:
            if worker.is_alive():
                worker.terminate()

    for worker in workers:
        worker.start()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        wait([worker.sentinel for worker in workers])
        if not signals:
            stop(0, None)
    finally:
        for worker in workers:
            worker.join(_GRACE + 5)
            if worker.is_alive():
                worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    ended = [f"{worker.name} with status {worker.exitcode}" for worker in workers if worker.exitcode]
    if signals == [0]:
        raise LshsampleError(f"a worker process ended by itself: {', '.join(ended) or 'without an error'}")


def _socket(settings: ServeSettings) -> socket.socket:
    """The listening socket."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol stated, asyncio sends answers at once (TCP_NODELAY) instead of 40 ms later.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        wanted = f"an address that can be listened on ({error.strerror or error})"
        raise ArgumentError("port", f"{settings.host}:{settings.port}", wanted) from error
    return listening
