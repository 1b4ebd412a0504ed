"""Processes that parse blocks, whose results come in the order of the blocks."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from lshsample.errors import LshsampleError

__all__ = ["Parsers"]

T = TypeVar("T")
R = TypeVar("R")

#: What a process of parsers does with a block.
_job: Callable[[Any], Any]


class Parsers(Generic[T, R]):
    """A function that is applied in other processes.

    Parameters
    ----------
    job : callable
        The function, which is sent to each process once.
    count : int
        Processes; 0 to apply it in this one.
    """

    def __init__(self, job: Callable[[T], R], count: int) -> None:
        self._job, self._count = job, count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def map(self, items: Iterable[T], ahead: int) -> Iterator[R]:
        """The results for items, in their order; at most ``ahead`` are begun before they are asked for.

        Raises
        ------
        LshsampleError
            A process was ended from outside.
        """
        if not self._count:
            yield from map(self._job, items)
            return
        if self._pool is None:
            # Threads of OpenMP do not survive a fork.
            self._pool = ProcessPoolExecutor(
                self._count, get_context("spawn"), initializer=_begin, initargs=(self._job,)
            )
        begun: deque[Future[R]] = deque()
        try:
            for item in items:
                begun.append(self._pool.submit(_apply, item))
                if len(begun) > ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except BrokenProcessPool as error:
            problem = "a process that parses has ended by itself; if memory is short, use fewer parsers"
            raise LshsampleError(problem) from error
        finally:
            for one in begun:
                one.cancel()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _begin(job: Callable[[Any], Any]) -> None:
    """The begin of a process, which ends with its parent, however that ends."""
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _apply(item: Any) -> Any:
    return _job(item)
