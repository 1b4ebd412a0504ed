"""Exceptions: each names the argument, the given and the wanted, and leaves the old state as it was."""

from __future__ import annotations

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
    "PluginError",
    "UnsupportedError",
]


class LshsampleError(Exception):
    """Base class of every exception that lshsample raises on its own account."""


class ArgumentError(LshsampleError, ValueError):
    """A bad argument.

    Parameters
    ----------
    argument : str
        The argument's name as the caller wrote it.
    given : object
        What was given, in words or as a value.
    wanted : str
        What is wanted instead.

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
    """Something asked of a part that it cannot do: probing, a law that is not there."""


class BiasedSampleError(UnsupportedError):
    """A sample without a law was asked for inclusion probabilities; the message names the stage."""


class PluginError(LshsampleError):
    """A plugin broke its contract; the message names the plugin."""


class DataFormatError(LshsampleError, ValueError):
    """A data file does not follow its format.

    Parameters
    ----------
    path : str or PathLike
        The file.
    line, column : int
        Where, both from 1; 0 where there is no such place.
    problem : str
        What is wrong and what is wanted.
    """

    def __init__(self, path: str | PathLike[str], line: int, column: int, problem: str) -> None:
        self.path, self.line, self.column, self.problem = str(path), line, column, problem
        super().__init__(self.path, line, column, problem)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.problem}"


class CheckpointError(LshsampleError):
    """A saved model or checkpoint is truncated, foreign, newer than this version, or does not fit."""


class MemoryBudgetError(LshsampleError, MemoryError):
    """A plan needs more memory than there is; raised before anything is allocated, with the figures."""


class DivergenceError(LshsampleError, ArithmeticError):
    """Training left the finite numbers; the message says at which step."""


class NativeError(LshsampleError, RuntimeError):
    """The C core reported a failure that no argument check had foreseen, or is not built."""
