"""Hash families and their options as one line of text: ``name:option=value,option=value``."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from lshsample.errors import ArgumentError

__all__ = ["format_family", "parse_family", "split_families"]

_FORM = "text of the form family or family:option=value,option=value"


def parse_family(text: str, argument: str = "family") -> tuple[str, dict[str, Any]]:
    """A family's name and options from ``name`` or ``name:option=value,option=value``.

    Parameters
    ----------
    text : str
        What is parsed. A value that is not a Python literal is taken as text; commas inside brackets and
        quotes belong to the value.
    argument : str
        The argument's name in errors.

    Returns
    -------
    name : str
        The name. Whether there is such a family is not checked here
        (:func:`lshsample.registry.named_family` does).
    options : dict
        Options of the family's spec, not yet checked.

    Raises
    ------
    ArgumentError
        Not text, or options of another form.

    Examples
    --------
    >>> parse_family("cross-polytope:dimension=64,projection=gaussian")
    ('cross-polytope', {'dimension': 64, 'projection': 'gaussian'})
    >>> parse_family("multiprobe:inner=simhash:projection=gaussian,probes=3")
    ('multiprobe', {'inner': 'simhash:projection=gaussian', 'probes': 3})
    >>> parse_family("simple-lsh:headroom=2,inner={'family': 'e2lsh', 'width': 2.5, 'bits': 8}")[1]["inner"]
    {'family': 'e2lsh', 'width': 2.5, 'bits': 8}
    """
    if not isinstance(text, str):
        raise ArgumentError(argument, repr(text), _FORM)
    name, _, options = text.partition(":")
    found: dict[str, Any] = {}
    for part in filter(None, _split(options)):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not key or not equals or key in found:
            raise ArgumentError(argument, repr(text), f"{_FORM}, with each option once")
        found[key] = _value(value)
    return name.strip(), found


def format_family(name: str, options: Mapping[str, Any]) -> str:
    """The text from which :func:`parse_family` makes a name and options.

    Raises
    ------
    ArgumentError
        An option that no text can say, such as a function.

    Examples
    --------
    >>> format_family("cross-polytope", {"dimension": 64, "projection": "gaussian"})
    'cross-polytope:dimension=64,projection=gaussian'
    """
    words = {key: f"{key}={_text(value)}" for key, value in options.items()}
    for key, value in options.items():
        if parse_family(f"{name}:{words[key]}")[1] != {key: value}:
            raise ArgumentError(key, repr(value), "a plain value where a family is given without its dim")
    return f"{name}:{','.join(words.values())}" if words else name


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
    """The parts between the commas that are outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        if not quote:
            depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _text(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[\w.:+-]+", value) and _value(value) == value
    return str(value) if plain else repr(value)
