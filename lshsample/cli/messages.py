"""What commands tell while they work: lines of the log, and progress on a terminal."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lshsample.cli.app import console
from lshsample.errors import ArgumentError
from lshsample.training import Callback, History

__all__ = ["Stopping", "exit_if_signalled", "say", "set_verbosity", "signalled", "working"]


class _ConsoleHandler(logging.Handler):
    """Writes records as lines above a progress bar, or to a file at once."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def set_verbosity(quiet: bool, verbose: bool) -> Iterator[None]:
    """Show the log of a command, and with ``quiet`` nothing but warnings and errors.

    A terminal shows progress bars; elsewhere the lines of the log take their place.
    """
    if quiet and verbose:
        raise ArgumentError("--quiet", "--quiet with --verbose", "used without --verbose")
    log, handler = logging.getLogger("lshsample"), _ConsoleHandler()
    level = log.level
    if quiet or console.is_terminal:
        log.setLevel(logging.WARNING)
    else:
        log.setLevel(logging.INFO)
    if verbose:
        log.setLevel(logging.DEBUG)
    console.quiet = quiet
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        console.quiet = False


class Stopping(Callback):
    """Says at once that a signal will end the run after its step, what happens ``then``, and how to end it
    faster.
    """

    def __init__(self, then: str = "") -> None:
        self._then = then

    def on_interrupt(self, name: str) -> None:
        if console.quiet:
            return
        again = "press Ctrl-C again to quit at once" if name == "SIGINT" else "a second signal quits at once"
        # Written past the buffer of standard error, which a signal handler may find in use; on a terminal
        # over the line of the progress bar, which is drawn again below.
        start = "\r\x1b[2K" if console.is_terminal else ""
        os.write(2, f"{start}Stopping after this step{self._then}; {again}\n".encode())


def say(text: str) -> None:
    """Print a line on standard error, whole, so that it can be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def signalled(history: History) -> bool:
    """Whether a signal ended a run."""
    return history.stopped.startswith("SIG")


def exit_if_signalled(history: History) -> None:
    """End the command with the status of the signal that ended a run."""
    if signalled(history):
        raise typer.Exit(128 + signal.Signals[history.stopped])


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal that something is done, and for how long; yields what tells how much of it is."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
