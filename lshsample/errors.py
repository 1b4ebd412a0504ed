"""The exceptions that lshsample raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike

__all__ = [
    "ArgumentError",
    "BiasedSampleError",
    "CheckpointError",
    "DataFormatError",
    "DivergenceError",
    "LshsampleError",
    "MemoryBudgetError",
    "NativeError",
    "PipelineWarning",
    "PluginError",
    "PluginWarning",
    "UnsupportedError",
    "WorkerError",
]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the known name that is most like a misspelt one; empty if none is.

    Examples
    --------
    >>> did_you_mean("simhahs", ["dwta", "simhash"])
    "; did you mean 'simhash'?"
    >>> did_you_mean("other", ["dwta", "simhash"])
    ''
    """
    if not isinstance(name, str):
        return ""
    by_lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.strip().lower(), by_lower, 1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


class LshsampleError(Exception):
    """Base class of all exceptions that lshsample defines."""


class ArgumentError(LshsampleError, ValueError):
    """An invalid argument. Nothing was changed.

    Parameters
    ----------
    argument : str
        The argument's name.
    given : object
        The value that was given, or a description of it; it follows "got" in the message.
    wanted : str
        What is required; it follows "must be" in the message.

    Examples
    --------
    >>> raise ArgumentError("n_hashes", 0, "an integer from 1 to 32")
    Traceback (most recent call last):
        ...
    lshsample.errors.ArgumentError: n_hashes must be an integer from 1 to 32 (got 0)
    """

    def __init__(self, argument: str, given: object, wanted: str) -> None:
        self.argument, self.given, self.wanted = argument, given, wanted
        super().__init__(argument, given, wanted)

    def __str__(self) -> str:
        return f"{self.argument} must be {self.wanted} (got {self.given})"


class UnsupportedError(LshsampleError, TypeError):
    """An object does not support an operation, such as probing; a probability is not known; or a package of
    an extra is not installed.
    """


def needs_extra(what: str, extra: str, error: ImportError) -> UnsupportedError:
    """The error of something that needs an extra of the package, one of whose packages could not be imported.

    Examples
    --------
    >>> print(needs_extra("the demo", "demo", ModuleNotFoundError(name="simple_icd_10_cm")))
    the demo needs pip install 'lshsample[demo]' (simple_icd_10_cm is missing)
    """
    missing = isinstance(error, ModuleNotFoundError) and error.name
    reason = f"{error.name} is missing" if missing else str(error)
    return UnsupportedError(f"{what} needs pip install 'lshsample[{extra}]' ({reason})")


class BiasedSampleError(UnsupportedError):
    """A sample has no inclusion probabilities; the message names the stage that is the reason."""


class PluginError(LshsampleError):
    """A plugin broke its contract; the message names the plugin."""


class PluginWarning(UserWarning):
    """An installed plugin is broken and was left out; the message names it and says why."""


class DataFormatError(LshsampleError, ValueError):
    """A data file does not follow its format.

    Parameters
    ----------
    path : str or PathLike
        The file.
    line, column : int
        Position of the error, both from 1; 0 if there is none.
    problem : str
        What is wrong, and what is expected.
    """

    def __init__(self, path: str | PathLike[str], line: int, column: int, problem: str) -> None:
        self.path, self.line, self.column, self.problem = str(path), line, column, problem
        super().__init__(self.path, line, column, problem)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.problem}"


class CheckpointError(LshsampleError):
    """A saved file is truncated, corrupted, of another format or a newer version, or does not match."""


class MemoryBudgetError(LshsampleError, MemoryError):
    """More memory is needed than is available, with the figures: found before anything is allocated or, for
    what cannot be known before, when an allocation fails.
    """


class DivergenceError(LshsampleError, ArithmeticError):
    """A value in training is not finite, such as the loss; the message has the step."""


class NativeError(LshsampleError, RuntimeError):
    """The C core is not built, or reported a failure that argument checks do not cover."""


class WorkerError(LshsampleError, RuntimeError):
    """A process that holds a part of a network was lost and cannot be brought back to its state."""


class PipelineWarning(UserWarning):
    """A stage of a sampler has no effect or removes every id, whatever the data and the queries are."""
