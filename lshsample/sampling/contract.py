"""The contract of stages, where it is checked: each violation is an error with the stage's name."""

from __future__ import annotations

from typing import Any

from lshsample.errors import ArgumentError, LshsampleError, PluginError
from lshsample.sampling.stage import Stage
from lshsample.specs import checked_integer
from lshsample.tables import TableReader

__all__ = ["ask", "check_contract", "check_fit", "stage_label"]

_NEEDS = frozenset({"queries", "tables", "frequencies"})


def stage_label(stage: Stage) -> str:
    """The name, in errors, of a stage that violated its contract."""
    return f"stage {stage} ({type(stage).__module__}.{type(stage).__qualname__})"


def ask(stage: Stage, method: str, *arguments: Any, kind: type[Any] | tuple[type[Any], ...]) -> Any:
    """The result of a method of a stage.

    Parameters
    ----------
    stage : Stage
        The stage.
    method : str
        The name of the method.
    *arguments
        Its arguments.
    kind : type or tuple of types
        What it must return.

    Raises
    ------
    ArgumentError
        The method refused an argument; the message has the stage.
    PluginError
        The method failed, or returned something else.
    """
    try:
        result = getattr(stage, method)(*arguments)
    except ArgumentError as error:
        if str(stage) in str(error):
            raise
        raise ArgumentError(f"{stage}: {error.argument}", error.given, error.wanted) from error
    except (LshsampleError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(f"{stage_label(stage)}.{method} raised {type(error).__name__}: {error}") from error
    if not isinstance(result, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_kind(one) for one in kinds)
        given = f"{stage_label(stage)}.{method} returned {type(result).__name__}"
        raise PluginError(f"{given}, expected {wanted}")
    return result


def _kind(cls: type[Any]) -> str:
    """A class with its article."""
    if cls is type(None):
        return "None"
    return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"


def check_contract(stage: Stage) -> None:
    """Raise PluginError for a stage that cannot run, or whose needs or tables are invalid."""
    if type(stage).apply is Stage.apply and type(stage).call is Stage.call:
        raise PluginError(f"{stage_label(stage)} lacks apply(active, batch)")
    needs = ask(stage, "needs", kind=(frozenset, set))
    if not needs <= _NEEDS:
        unknown = ", ".join(sorted(map(repr, needs - _NEEDS)))
        wanted = f"a set of {', '.join(sorted(map(repr, _NEEDS)))}"
        raise PluginError(f"{stage_label(stage)}.needs returned {unknown}, expected {wanted}")
    ask(stage, "tables_of", kind=(TableReader, type(None)))


def check_fit(stage: Stage, n_items: int, tables: TableReader | None) -> None:
    """Raise an error for a stage that does not fit the number of items, or the tables."""
    ask(stage, "check", n_items, kind=object)
    _count(stage, "size", n_items)
    probed = stage.tables_of() or tables
    if probed is not None:
        ask(stage, "check_family", probed.family, kind=object)
        _count(stage, "n_probes", probed.family)


def _count(stage: Stage, method: str, argument: Any) -> None:
    value = ask(stage, method, argument, kind=object)
    try:
        checked_integer(method, value, 0)
    except ArgumentError:
        label = f"{stage_label(stage)}.{method}"
        raise PluginError(f"{label} returned {value!r}, expected an integer >= 0") from None
