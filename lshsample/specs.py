"""Frozen, validated specs and their round trip through plain data, JSON and TOML.

A spec describes how to make an object: a family, a sampler, a network, a trainer. It holds plain values only,
so that it can be stored with a model and read by people. Values are validated once, where a spec is made.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Hashable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import attrs
import cattrs
import numpy as np
import tomli_w

from lshsample.errors import ArgumentError, LshsampleError, did_you_mean

__all__ = [
    "allowed",
    "at_least",
    "check_keys",
    "checked_index",
    "checked_integer",
    "checked_number",
    "checked_power_of_two",
    "from_dict",
    "from_json",
    "from_toml",
    "integer",
    "number",
    "one_of",
    "parsed_json",
    "parsed_toml",
    "positive_pair",
    "power_of_two",
    "read_as",
    "structured",
    "text",
    "to_dict",
    "to_json",
    "to_toml",
    "write_as",
]

S = TypeVar("S")
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def checked_integer(argument: str, value: Any, low: int, high: int | None = None, what: str = "") -> int:
    """An integer (of Python or NumPy, not a bool) from ``low`` to ``high``, as an int."""
    right_type = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))
    if not right_type or value < low or (high is not None and value > high):
        wanted = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
        raise ArgumentError(argument, repr(value), wanted + what)
    return int(value)


def checked_index(argument: str, value: Any, size: int) -> int:
    """An index into ``size`` things, as one from 0 on; a negative one counts from the end."""
    right_type = isinstance(value, Integral) and not isinstance(value, bool)
    if not right_type or not -size <= value < size:
        wanted = f"an integer from {-size} to {size - 1}" if size else "left out, as there is nothing"
        raise ArgumentError(argument, repr(value), wanted)
    return int(value) % size


def integer(low: int, high: int | None = None) -> Validator:
    """A validator: an integer (not a bool) from ``low`` to ``high``."""

    def validate(spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        _set_plain(spec, attribute, value, checked_integer(attribute.name, value, low, high))

    return _stating(validate, f"an integer >= {low}" if high is None else f"an integer from {low} to {high}")


def checked_power_of_two(argument: str, value: Any, high: int) -> int:
    """A power of two (of Python or NumPy, not a bool) from 1 to ``high``, as an int."""
    right_type = isinstance(value, Integral) and not isinstance(value, bool)
    if not right_type or not 1 <= value <= high or int(value) & (int(value) - 1):
        raise ArgumentError(argument, repr(value), f"a power of two from 1 to {high}")
    return int(value)


def power_of_two(high: int) -> Validator:
    """A validator: as :func:`checked_power_of_two`."""

    def validate(spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        _set_plain(spec, attribute, value, checked_power_of_two(attribute.name, value, high))

    return _stating(validate, f"a power of two from 1 to {high}")


def positive_pair(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a tuple of two finite numbers above 0."""
    pair = isinstance(value, tuple) and len(value) == 2
    numbers = pair and all(isinstance(one, Real) and not isinstance(one, bool) for one in value)
    if not numbers or not all(0 < one < float("inf") for one in value):
        raise ArgumentError(attribute.name, repr(value), "a pair of numbers above 0, such as (0.55, 1.5)")


def checked_number(
    argument: str, value: Any, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> float:
    """A finite real number between ``low`` and ``high``, inclusive unless open, as one of Python."""
    right_type = isinstance(value, Real) and not isinstance(value, bool)
    inside = right_type and low <= value <= high and abs(value) != float("inf")
    if not inside or (open_low and value == low) or (open_high and value == high):
        raise ArgumentError(argument, repr(value), _interval(low, high, open_low, open_high))
    return int(value) if isinstance(value, Integral) else float(value)


def _interval(low: float, high: float, open_low: bool, open_high: bool) -> str:
    return f"a finite number in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"


def number(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> Validator:
    """A validator: as :func:`checked_number`."""

    def validate(spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        plain = checked_number(attribute.name, value, low, high, open_low=open_low, open_high=open_high)
        _set_plain(spec, attribute, value, plain)

    return _stating(validate, _interval(low, high, open_low, open_high))


def _stating(validate: Validator, wanted: str) -> Validator:
    """The validator, which :func:`allowed` can ask what it allows."""
    validate.wanted = wanted  # type: ignore[attr-defined]
    return validate


def allowed(field: attrs.Attribute[Any]) -> str:
    """The values that a field's validator allows, in words; empty for a validator that does not state it.

    Examples
    --------
    >>> @attrs.frozen
    ... class Spec:
    ...     size: int = attrs.field(default=1, validator=integer(1, 9))
    >>> allowed(attrs.fields(Spec).size)
    'an integer from 1 to 9'
    """
    validate: Any = field.validator
    inner = getattr(validate, "validator", None)  # of attrs.validators.optional
    return str(getattr(inner or validate, "wanted", ""))


def _set_plain(spec: Any, attribute: attrs.Attribute[Any], value: Any, plain: float) -> None:
    """Replace a number of NumPy by one of Python; the spec is being made and not frozen yet."""
    if type(value) is not type(plain):
        object.__setattr__(spec, attribute.name, plain)


def at_least(low: float) -> Validator:
    """A validator: a finite real number of at least ``low``."""
    return number(low, float("inf"))


def one_of(*choices: Any) -> Validator:
    """A validator: one of the given values, as which an equal one of another type is kept (1 as True); a bool
    is none of numbers.
    """
    wanted = f"one of {', '.join(map(repr, choices))}"

    def validate(spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_flag = isinstance(value, bool | np.bool_)
        possible = choices if isinstance(value, Hashable) else ()  # an array has no one truth value
        found = [one for one in possible if one == value and (isinstance(one, bool) or not is_flag)]
        if not found:
            meant = did_you_mean(value, (choice for choice in choices if isinstance(choice, str)))
            raise ArgumentError(attribute.name, repr(value), wanted + meant)
        if not isinstance(value, str):
            _set_plain(spec, attribute, value, found[0])

    return _stating(validate, wanted)


def text(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator: a str."""
    if not isinstance(value, str):
        raise ArgumentError(attribute.name, repr(value), "text")


_converter = cattrs.Converter(forbid_extra_keys=True)


def write_as(cls: type[Any], write: Callable[[Any], Any]) -> None:
    """Values of class ``cls`` are converted to plain data by ``write``."""
    _converter.register_unstructure_hook(cls, write)


_readers: dict[type[Any], Callable[[Mapping[str, Any]], Any]] = {}


def read_as(cls: type[S], read: Callable[[Mapping[str, Any]], S]) -> None:
    """Specs of class ``cls`` are made from plain data by ``read``, the inverse of :func:`write_as`."""
    _readers[cls] = read


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as plain data, without fields that are None (TOML has no null)."""
    data = _converter.unstructure(spec)
    return {key: value for key, value in data.items() if value is not None}


def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
    """A spec of class ``cls`` from plain data; unknown and missing keys are errors that name the key."""
    if cls in _readers:
        return cast(S, _readers[cls](data))
    if not isinstance(data, Mapping):
        raise ArgumentError(cls.__name__, f"{data!r:.100}", "a mapping of its fields")
    check_keys(cls, data)
    for name, field in attrs.fields_dict(cls).items():  # type: ignore[arg-type]
        if name not in data and field.default is attrs.NOTHING:
            raise ArgumentError(f"{cls.__name__}.{name}", "nothing", "given, as it has no default")
    try:
        return cls(**data)
    except LshsampleError:
        raise
    except (TypeError, ValueError) as error:  # of the validators of attrs
        raise ArgumentError(cls.__name__, error.args[0], "a spec of valid values") from error


def check_keys(cls: type[Any], data: Mapping[str, Any]) -> None:
    """Raise ArgumentError for a key that is no field of a spec's class."""
    known = attrs.fields_dict(cls)
    for key, value in data.items():
        if key not in known:
            wanted = f"left out: the keys are {', '.join(known)}{did_you_mean(key, known)}"
            raise ArgumentError(f"{cls.__name__}.{key}", value, wanted)


_strict = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


def structured(cls: type[S], data: Any) -> S:
    """An attrs class from plain data of a file, with every field of its annotated type and nothing converted.

    Unlike :func:`from_dict`, which leaves the types to the validators of a spec.

    Raises
    ------
    ArgumentError
        A field is missing or unknown, or it or a part of it has another type; the error says which.
    """
    if not isinstance(data, Mapping):
        raise ArgumentError(cls.__name__, f"{type(data).__name__}", "a mapping")
    try:
        return _strict.structure(data, cls)
    except KeyError as error:
        raise ArgumentError(f"{cls.__name__}.{error.args[0]}", "nothing", "given") from error
    except (ValueError, TypeError, AttributeError, cattrs.errors.ForbiddenExtraKeysError) as error:
        raise ArgumentError(cls.__name__, f"{error}", "fields of their types") from error


def _exactly(*types: type[Any]) -> Callable[[Any, Any], Any]:
    def read(value: Any, _: Any) -> Any:
        if type(value) not in types:
            raise ValueError(f"{value!r:.50} for {' or '.join(t.__name__ for t in types)}")
        return value

    return read


def _list_of(value: Any, wanted: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError(f"{value!r:.50} for list")
    return [_strict.structure(item, wanted.__args__[0]) for item in value]


for _plain in (int, str, bool):
    _strict.register_structure_hook(_plain, _exactly(_plain))
_strict.register_structure_hook(float, _exactly(float, int))
_strict.register_structure_hook_func(lambda wanted: getattr(wanted, "__origin__", None) is list, _list_of)


def to_json(spec: Any) -> str:
    """A spec as JSON text."""
    return json.dumps(to_dict(spec), sort_keys=True)


def from_json(cls: type[S], text: str) -> S:
    """A spec from JSON text."""
    return from_dict(cls, parsed_json(text))


def to_toml(spec: Any) -> str:
    """A spec as TOML text."""
    return tomli_w.dumps(to_dict(spec))


def from_toml(cls: type[S], text: str) -> S:
    """A spec from TOML text."""
    return from_dict(cls, parsed_toml(text))


def parsed_json(text: str) -> Any:
    """The value of JSON text; other text is an error."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ArgumentError("text", f"{text!r:.100}: {error}", "JSON") from error


def parsed_toml(text: str) -> dict[str, Any]:
    """The value of TOML text; other text is an error."""
    try:
        return tomllib.loads(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArgumentError("text", f"{text!r:.100}: {error}", "TOML") from error
