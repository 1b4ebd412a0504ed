"""What commands tell while they work: lines of the log, and progress on a terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

__all__ = ["set_verbosity", "working"]


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
