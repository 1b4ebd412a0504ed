"""Hash families and their options as one line of text, as commands and configuration files take it."""

from __future__ import annotations

import ast
from typing import Any

from lshsample.errors import ArgumentError
from lshsample.registry import families

__all__ = ["parse_family", "split_families"]


def parse_family(text: str, argument: str = "family") -> tuple[str, dict[str, Any]]:
    """A family's name and options from ``name`` or ``name:option=value,option=value``.

    Parameters
    ----------
    text : str
        What is parsed; a value that is no Python literal is taken as text.
    argument : str
        What errors call it.

    Returns
    -------
    name : str
        A registered name.
    options : dict
        Options of the family's spec, not yet checked.

    Raises
    ------
    ArgumentError
        No such family, or options of another form.

    Examples
    --------
    >>> parse_family("cross-polytope:dimension=64,projection=gaussian")
    ('cross-polytope', {'dimension': 64, 'projection': 'gaussian'})
    >>> parse_family("simple-lsh:headroom=2,inner={'family': 'e2lsh', 'width': 2.5}")[1]["inner"]
    {'family': 'e2lsh', 'width': 2.5}
    >>> parse_family("multiprobe:inner={'family': 'simple-lsh', 'inner': {'family': 'e2lsh'}},probes=3")[1]
    {'inner': {'family': 'simple-lsh', 'inner': {'family': 'e2lsh'}}, 'probes': 3}
    """
    name, _, options = text.partition(":")
    if name not in families():
        raise ArgumentError(
            argument, repr(text), f"one of {', '.join(families())}, perhaps with :option=value"
        )
    found: dict[str, Any] = {}
    for part in filter(None, _split(options)):
        key, equals, value = part.partition("=")
        if not equals or key in found:
            wanted = "options as name:option=value,option=value, each once"
            raise ArgumentError(argument, repr(text), wanted)
        found[key] = _value(value)
    return name, found


def split_families(text: str) -> list[str]:
    """Several families in one line, with commas between them as between their options.

    Examples
    --------
    >>> split_families("simhash, e2lsh:width=2,bits=8, simple-lsh:inner={'family': 'e2lsh', 'width': 2.5}")
    ['simhash', 'e2lsh:width=2,bits=8', "simple-lsh:inner={'family': 'e2lsh', 'width': 2.5}"]
    """
    families: list[str] = []
    for part in map(str.strip, _split(text)):
        if families and "=" in part.partition(":")[0]:
            families[-1] += f",{part}"
        else:
            families.append(part)
    return families


def _split(text: str) -> list[str]:
    """The parts between commas that are inside of no mapping, list or tuple."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
