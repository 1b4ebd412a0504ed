"""Conversion of stages to and from text and plain data."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

import attrs

from lshsample.errors import ArgumentError, did_you_mean
from lshsample.sampling.installed import StageRegistry
from lshsample.sampling.stage import BUILTIN, Stage, plain_fields

__all__ = [
    "builtin_stages",
    "parse_stages",
    "stage_from_dict",
    "stage_registry",
    "stage_to_dict",
    "stages",
]

_MAX_TEXT = 10_000


def builtin_stages() -> dict[str, type[Stage]]:
    """The built-in stages by name."""
    return dict(sorted(BUILTIN.items()))


@functools.cache
def stage_registry() -> StageRegistry:
    """The stages of the installed plugins, loaded at the first call.

    Raises
    ------
    PluginError
        An installed plugin fails; the next call tries again.
    """
    return StageRegistry.installed(builtin_stages())


def stages() -> dict[str, type[Stage]]:
    """All stages by name: the built-in ones and those of installed plugins.

    Raises
    ------
    PluginError
        An installed plugin fails; the message contains its name.

    Examples
    --------
    >>> "Retrieve" in stages()
    True
    """
    return dict(sorted((builtin_stages() | stage_registry().stages()).items()))


def _known(custom: Mapping[str, type[Stage]] | None) -> dict[str, type[Stage]]:
    """All stages by name, with custom ones, which must not take the name of another stage."""
    known = stages()
    for name, cls in (custom or {}).items():
        if not (isinstance(cls, type) and issubclass(cls, Stage)):
            raise ArgumentError("stages", f"{name!r}: {cls!r}", "a mapping of names to classes of stages")
        if known.get(name, cls) is not cls:
            owner = stage_registry().owner(name)
            taken = f"the plugin {owner} has" if owner else "a built-in stage has"
            raise ArgumentError("stages", f"{name!r}, which {taken}", "a mapping with new names")
    return known | dict(custom or {})


def _make(cls: type[Stage], where: str, positional: list[Any], named: dict[str, Any]) -> Stage:
    """A stage from plain arguments; errors contain ``where``, its location."""
    try:
        arguments = inspect.signature(cls).bind(*positional, **named)
    except TypeError as error:
        signature = f"{cls.name}{inspect.signature(cls)}".replace(" -> None", "").replace("'", "")
        unknown = (name for name in named if name not in inspect.signature(cls).parameters)
        meant = did_you_mean(next(unknown, ""), (field.name for field in plain_fields(cls)))
        raise ArgumentError(where, str(error).removeprefix("got "), f"called as {signature}{meant}") from None
    plain = {field.name for field in plain_fields(cls)}
    for name, value in arguments.arguments.items():
        if name not in plain:
            wanted = f"omitted: use .bind({name}=...), and pass other arguments by name"
            raise ArgumentError(f"{where}: {name}", repr(value), wanted)
    try:
        return cls(*arguments.args, **arguments.kwargs)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error.argument}", error.given, error.wanted) from None


def _at(node: ast.expr | ast.keyword, source: str) -> str:
    """Position of a node, in characters from 1: the column, and the line if there are several."""
    line = re.split(r"\r\n|\r|\n", source)[node.lineno - 1]
    before = len(line.encode()[: node.col_offset].decode())
    # The text is parsed inside a bracket, so that 0-based columns of the first line are 1-based in the text.
    return f"column {before}" if node.lineno == 1 else f"line {node.lineno}, column {before + 1}"


def _parse_call(node: ast.expr, source: str, known: dict[str, type[Stage]]) -> Stage:
    shown = (ast.get_source_segment(source, node) or "").strip()
    place = f"{shown!r} at {_at(node, source)}"
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        hint = f"{shown}()" if isinstance(node, ast.Name) and node.id in known else "a stage such as Cap(100)"
        raise ArgumentError("sampler", place, hint)
    if node.func.id not in known:
        meant = did_you_mean(node.func.id, known) + stage_registry().lost()
        raise ArgumentError("sampler", place, f"one of the stages {', '.join(sorted(known))}{meant}")
    values: list[Any] = []
    named: dict[str, Any] = {}
    arguments: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    for argument in arguments:
        value = argument.value if isinstance(argument, ast.keyword) else argument
        try:
            literal = ast.literal_eval(value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            text = ast.get_source_segment(source, value)
            given = f"{text!r} at {_at(value, source)}"
            raise ArgumentError("sampler", given, "a pipeline with literal arguments") from None
        if not isinstance(argument, ast.keyword):
            values.append(literal)
        elif argument.arg is None:
            raise ArgumentError("sampler", f"'**' at {_at(value, source)}", "a pipeline without **")
        elif argument.arg in named:
            given = f"{argument.arg!r} twice at {_at(argument, source)}"
            raise ArgumentError("sampler", given, "a pipeline with each argument once")
        else:
            named[argument.arg] = literal
    return _make(known[node.func.id], f"sampler, {place}", values, named)


def parse_stages(text: str, stages: Mapping[str, type[Stage]] | None = None) -> list[Stage]:
    """Stages from text; see :func:`parse_pipeline`."""
    if not isinstance(text, str) or not text.strip() or len(text) > _MAX_TEXT:
        given = repr(text) if not isinstance(text, str) or len(text) < 80 else f"{len(text)} characters"
        raise ArgumentError("sampler", given, "a pipeline such as 'Retrieve() | Cap(100)'")
    known = _known(stages)
    if not set(re.findall(r"\w+", text)) & set(known) and "(" not in text:
        # It is no pipeline at all; the names of pipelines are known above this module.
        raise ArgumentError(
            "sampler",
            repr(text),
            "a pipeline such as 'Retrieve() | Cap(100)'; a named one, such as 'lsh', is made by "
            "lshsample.sampling.make_pipeline(name, n_active=..., n_items=...)",
        )
    source = f"[{text}\n]"
    try:
        whole = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        _check_brackets(text)
        column = max((error.offset or 1) - 1, 1) if error.lineno == 1 else len(text)
        raise ArgumentError(
            "sampler", f"{text!r}: {error.msg} at column {column}", "stages joined with |"
        ) from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise ArgumentError(
            "sampler", f"text that does not parse ({error})", "stages joined with |"
        ) from None
    if not isinstance(whole, ast.List) or len(whole.elts) != 1:
        raise ArgumentError("sampler", repr(text), "one sequence of stages joined with |")
    return [_parse_call(call, source, known) for call in _joined(whole.elts[0])]


def _check_brackets(text: str) -> None:
    """Say which bracket of a text that does not parse is not closed, or closes none."""
    closing, open_ones, quote = {"(": ")", "[": "]", "{": "}"}, list[tuple[str, str]](), ""
    for at, letter in enumerate(text):
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        place = f"column {column}" if line == 1 else f"line {line}, column {column}"
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        elif letter in closing:
            open_ones.append((letter, place))
        elif letter in closing.values():
            opened = open_ones.pop() if open_ones else None
            if opened is None or closing[opened[0]] != letter:
                other = f", where {closing[opened[0]]!r} is missing" if opened else " without an opening one"
                problem = f"{text!r}: {letter!r} at {place}{other}"
                raise ArgumentError("sampler", problem, "stages joined with |")
    if open_ones:
        letter, place = open_ones[-1]
        problem = f"{text!r}: {closing[letter]!r} is missing, for the {letter!r} at {place}"
        raise ArgumentError("sampler", problem, "stages joined with |")


def _joined(node: ast.expr) -> list[ast.expr]:
    """The operands of ``|``, from left to right, whatever the brackets."""
    nodes: list[ast.expr] = []
    open_nodes = [node]
    while open_nodes:
        last = open_nodes.pop()
        if isinstance(last, ast.BinOp) and isinstance(last.op, ast.BitOr):
            open_nodes += [last.left, last.right]
        else:
            nodes.append(last)
    return nodes[::-1]


def stage_to_dict(stage: Stage) -> dict[str, Any]:
    """A stage as plain data: its name, and its fields that differ from their defaults."""
    data: dict[str, Any] = {"stage": stage.name}
    for field in attrs.fields(type(stage)):
        value = getattr(stage, field.name)
        if field.default is not attrs.NOTHING and value == field.default:
            continue
        if not isinstance(value, (bool, int, float, str)):
            raise ArgumentError(
                f"{stage.name}.{field.name}",
                type(value).__name__,
                "a plain value (use .bind(tables=...) for tables)",
            )
        data[field.name] = value
    return data


def stage_from_dict(data: Any, where: str, stages: Mapping[str, type[Stage]] | None = None) -> Stage:
    """A stage from plain data."""
    known = _known(stages)
    if not isinstance(data, Mapping) or not isinstance(data.get("stage"), str) or data["stage"] not in known:
        name = data.get("stage") if isinstance(data, Mapping) else data
        meant = did_you_mean(name, known) + stage_registry().lost()
        wanted = f"a table whose 'stage' is one of {', '.join(sorted(known))}{meant}"
        raise ArgumentError(where, data, wanted)
    named = {key: value for key, value in data.items() if key != "stage"}
    return _make(known[data["stage"]], where, [], named)
