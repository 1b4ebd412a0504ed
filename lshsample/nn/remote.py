"""Shards in other processes, which may die: a dead one is restarted, and brought to the same state.

A shard's state is a function of the calls that it has had. The calls that change it are kept, until a shard
has written a snapshot; a restarted shard reads its snapshot and gets the later calls again. The others wait
meanwhile, and all results have the same bits as without the failure.
"""

from __future__ import annotations

import logging
import pickle
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lshsample.errors import WorkerError
from lshsample.nn.shards import Shards
from lshsample.nn.sums import ranges

if TYPE_CHECKING:
    from lshsample.nn.sharded import Sharded

__all__ = ["LostError", "RemoteShards", "Worker", "message_bytes"]

_log = logging.getLogger(__name__)

#: Methods of a shard that do not change its state, or none that matters after a restart.
_READS = frozenset(
    {"top_k", "top_retrieved", "score", "vectors", "write", "snapshot", "room"}
    | {"forward_below", "backward_below"}
)
#: Restarts of a worker for one call, after which the run ends.
_MAX_RESTARTS = 5
#: A worker that needs more than this multiple of the median time of the others is reported, after so many
#: steps.
_SLOW, _SLOW_STEPS = 2.0, 100


def message_bytes(message: Any) -> int:
    """Bytes of a message between processes: of its pickled form, and of its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(message, 5, buffer_callback=buffers.append)
    return len(text) + sum(buffer.raw().nbytes for buffer in buffers)


class LostError(Exception):
    """A worker does not exist any more, or its state is not known."""


class Worker(ABC):
    """Another process with one shard, which executes calls in their order."""

    @abstractmethod
    def submit(self, method: str, arguments: tuple[Any, ...]) -> Callable[[], tuple[Any, float, int]]:
        """Start a call of a method of :class:`~lshsample.nn.shard.Shard`.

        Returns
        -------
        callable
            Waits for the result and returns it with the seconds that the call took, and the bytes that were
            sent and received; raises what the method raised, or :class:`LostError`.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the process, if it still runs."""


class _Peer:
    """One worker, the calls that its state depends on, and what it exchanged."""

    def __init__(self, start: Callable[[], Worker], folder: Path) -> None:
        self.start, self.folder = start, folder
        self.worker = start()
        self.calls: deque[tuple[int, str, tuple[Any, ...]]] = deque()
        self.n_calls = 0
        self.untaken: list[Callable[[], tuple[Any, float, int]]] = []
        self.seconds = 0.0
        self.exchanged = 0

    def submit(self, method: str, arguments: tuple[Any, ...]) -> Callable[[], tuple[Any, float, int]]:
        if method not in _READS:
            self.n_calls += 1
            self.calls.append((self.n_calls, method, arguments))
        return self.worker.submit(method, arguments)

    def taken(self, method: str, result: Callable[[], tuple[Any, float, int]]) -> Any:
        earlier, self.untaken = self.untaken, []
        value, failed = None, None
        for one in (*earlier, result):  # all of them, as answers come in the order of calls
            try:
                value, seconds, exchanged = one()
            except LostError:
                raise
            except Exception as error:
                failed = failed or error
                continue
            self.seconds += seconds
            self.exchanged += exchanged
        if failed is not None:
            raise failed
        return value

    def again(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Restart the worker, repeat the calls since its snapshot, and return the result of the last call."""
        self.worker.stop()
        self.untaken = []
        self.worker = self.start()
        restored, *_ = self.worker.submit("restore_snapshot", (self.folder,))()
        missing = self.calls[0][0] - restored if self.calls else self.n_calls - restored + 1
        if missing > 1:
            raise WorkerError(
                f"a worker was restarted, and its snapshot is not in {self.folder}; recovery must be a "
                "folder that all machines share"
            )
        later = [(name, given) for number, name, given in self.calls if number > restored]
        if method in _READS:
            later.append((method, arguments))
        value = None
        for left, (name, given) in zip(range(len(later) - 1, -1, -1), later, strict=True):
            try:
                value, *_ = self.worker.submit(name, given)()
            except LostError:
                raise
            except Exception as error:
                if not left:
                    raise
                # It was raised to the caller when the call was made first.
                _log.debug("a repeated call raised %r as before", error)
        return value


class RemoteShards(Shards):
    """Shards in other processes.

    Parameters
    ----------
    spec : Sharded
        The layer.
    n : int
        Number of shards, a power of two up to the number of blocks; results do not depend on it.
    start : callable
        Starts the process with the blocks ``first`` to ``last - 1``, given these two numbers.
    recovery : Path
        Folder for the snapshots that dead workers are restarted from.
    snapshot_steps : int
        Steps between two snapshots.
    """

    is_local = False

    def __init__(
        self,
        spec: Sharded,
        n: int,
        start: Callable[[int, int], Worker],
        recovery: Path,
        snapshot_steps: int,
    ) -> None:
        units = spec.bounds()
        self.blocks = ranges(spec.blocks, n)
        self.bounds = [(units[first], units[last]) for first, last in self.blocks]
        self.snapshot_steps, self.n_restarts, self._steps = snapshot_steps, 0, 0
        self._peers: list[_Peer] = []
        try:
            for i, (first, last) in enumerate(self.blocks):
                self._peers.append(_Peer(_starter(start, first, last), recovery / f"shard{i}"))
        except BaseException:
            self.stop()
            raise

    @property
    def workers(self) -> list[Worker]:
        """The running workers."""
        return [peer.worker for peer in self._peers]

    @property
    def exchanged(self) -> int:  # type: ignore[override]
        """Bytes sent to and received from the worker with most of them."""
        return max(peer.exchanged for peer in self._peers)

    def stop(self) -> None:
        """End all workers."""
        for peer in self._peers:
            peer.worker.stop()

    def ask(self, method: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
        """As :meth:`Shards.ask`, at the same time."""
        started = [self._submit(peer, method, one) for peer, one in zip(self._peers, each, strict=True)]
        failed: list[Exception] = []
        values = []
        for peer, result, arguments in zip(self._peers, started, each, strict=True):
            try:
                values.append(self._value(peer, method, arguments, result))
            except WorkerError:
                raise
            except Exception as error:  # after the others have answered, so that none is behind
                failed.append(error)
        if failed:
            raise failed[0]
        if method == "read":  # a later content of the folder is not what this call read
            self._snapshot()
        return values

    def tell(self, method: str, each: Sequence[tuple[Any, ...]]) -> None:
        """As :meth:`Shards.tell`; does not wait."""
        for peer, arguments in zip(self._peers, each, strict=True):
            result = self._submit(peer, method, arguments)
            if result is not None:
                peer.untaken.append(result)
        if method == "update":
            self._steps += 1
            if self._steps % self.snapshot_steps == 0:
                self._snapshot()
            if self._steps % _SLOW_STEPS == 0:
                self._report_slow()

    @staticmethod
    def _submit(
        peer: _Peer, method: str, arguments: tuple[Any, ...]
    ) -> Callable[[], tuple[Any, float, int]] | None:
        """Start a call; None if the worker is already known to be lost."""
        try:
            return peer.submit(method, arguments)
        except LostError:
            return None

    def _value(
        self,
        peer: _Peer,
        method: str,
        arguments: tuple[Any, ...],
        result: Callable[[], tuple[Any, float, int]] | None,
    ) -> Any:
        """The result of a call, after restarts if the worker dies."""
        try:
            if result is None:
                raise LostError("lost before the call")
            return peer.taken(method, result)
        except LostError as error:
            last = error
        for _ in range(_MAX_RESTARTS):
            self.n_restarts += 1
            began = time.perf_counter()
            _log.warning("a worker was lost (%s); it is restarted", last)
            try:
                value = peer.again(method, arguments)
            except LostError as error:
                last = error
                continue
            _log.info("the worker was restarted in %.1f s", time.perf_counter() - began)
            return value
        raise WorkerError(f"a worker was lost {_MAX_RESTARTS + 1} times at one call: {last}") from last

    def _snapshot(self) -> None:
        """Let all workers write their state, and forget the calls that it contains."""
        given = [(peer.folder, peer.n_calls) for peer in self._peers]
        self.ask("snapshot", given)
        for peer in self._peers:
            peer.calls.clear()

    def _report_slow(self) -> None:
        """Log the workers that need much more time for their part than the others."""
        seconds = [peer.seconds for peer in self._peers]
        for i, own in enumerate(seconds):
            others = float(np.median(seconds[:i] + seconds[i + 1 :] or [own]))
            if own > _SLOW * others:
                _log.warning(
                    "worker %d is slow: %.1f s of work in %d steps, the median of the others is %.1f s",
                    i, own, _SLOW_STEPS, others,
                )  # fmt: skip
            self._peers[i].seconds = 0.0


def _starter(start: Callable[[int, int], Worker], first: int, last: int) -> Callable[[], Worker]:
    return lambda: start(first, last)
