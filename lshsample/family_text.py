"""A hash family and its options as one line of text, as commands and configuration files take it."""

from __future__ import annotations

import ast
import re
from typing import Any

from lshsample.errors import ArgumentError
from lshsample.registry import families

__all__ = ["parse_family"]

#: Commas that are not inside of a mapping or a tuple.
_COMMAS = re.compile(r",(?![^{(\[]*[})\]])")


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
    """
    name, _, options = text.partition(":")
    if name not in families():
        raise ArgumentError(
            argument, repr(text), f"one of {', '.join(families())}, perhaps with :option=value"
        )
    found = {}
    for part in filter(None, _COMMAS.split(options)):
        key, equals, value = part.partition("=")
        if not equals:
            raise ArgumentError(argument, repr(text), "options as name:option=value,option=value")
        found[key] = _value(value)
    return name, found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
