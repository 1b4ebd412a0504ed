"""Signals while training: the step is finished, a checkpoint is written, and the run ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupts"]

#: SIGHUP, of a terminal that is closed, does not exist on all systems.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """A context manager that records SIGINT, SIGTERM and SIGHUP; a second signal has its usual effect.

    Signals that the process ignores, such as SIGHUP under ``nohup``, stay ignored. Python handles signals in
    the main thread only: in other threads the context manager does nothing.

    Parameters
    ----------
    notify : callable, optional
        Called at once with the name of the first signal, inside of the signal handler.
    """

    def __init__(self, notify: Callable[[str], None] | None = None) -> None:
        self.received: str | None = None
        self._notify = notify
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()
        if self._notify is not None:
            self._notify(self.received)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
