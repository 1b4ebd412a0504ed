"""Tables of names: the names of classes in files, in configurations and on the command line.

Layers, losses, activations, optimizers and schedules are instances of public base classes, and an instance is
accepted wherever a name is. A name is needed only where there can be no instance: in a file, in a
configuration or on the command line. Each kind has one table, and every list of names is read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError, UnsupportedError, did_you_mean
from lshsample.family import HashFamily
from lshsample.registry import family_to_dict

__all__ = ["NameTable"]

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])

#: Every table, so that a field's value can be written by the table of its kind.
_TABLES: list[NameTable[Any]] = []


class NameTable(Generic[T]):
    """The classes of one kind by their names.

    An instance as plain data is a mapping with its name, under the table's kind, and the fields of its class:
    ``{"optimizer": "adam", "beta2": 0.99}``.

    Parameters
    ----------
    kind : str
        The kind, such as ``"optimizer"``; the key of the name in plain data.
    base : type
        The base class of all of them.

    Examples
    --------
    >>> from lshsample.nn import OPTIMIZERS, Adam
    >>> "adam" in OPTIMIZERS, "gauss" in OPTIMIZERS
    (True, False)
    >>> OPTIMIZERS.make("adam") == Adam()
    True
    >>> OPTIMIZERS.to_data(Adam(beta2=0.99))
    {'optimizer': 'adam', 'beta1': 0.9, 'beta2': 0.99, 'eps': 1e-08, 'weight_decay': 0.0}
    """

    def __init__(self, kind: str, base: Callable[..., T]) -> None:
        self.kind, self.base = kind, cast(type[T], base)
        self._entries: dict[str, tuple[Any, dict[str, Any]]] = {}
        _TABLES.append(self)

    def add(self, name: str, **fixed: Any) -> Callable[[C], C]:
        """Register a class under a name, as a decorator.

        Parameters
        ----------
        name : str
            The name; not yet used in this table.
        **fixed
            Values of fields that the name implies; by default none.

        Raises
        ------
        ArgumentError
            If the name is in use, or the class is not an attrs class derived from the base class (an instance
            is saved as its attrs fields).
        """

        def register(cls: C) -> C:
            given: Any = cls
            if not (isinstance(given, type) and issubclass(given, self.base) and attrs.has(given)):
                wanted = f"an attrs class derived from {self.base.__name__}"
                raise ArgumentError(self.kind, repr(cls), wanted)
            if name in self._entries:
                raise ArgumentError("name", repr(name), f"a name that no other {self.kind} uses")
            self._entries[name] = (cls, fixed)
            return cls

        return register

    def remove(self, name: str) -> None:
        """Remove a name, so that it can be used again.

        Raises
        ------
        ArgumentError
            If there is no such name.
        """
        if name not in self:
            raise ArgumentError("name", repr(name), f"one of {self}{did_you_mean(name, self)}")
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __str__(self) -> str:
        return ", ".join(self._entries)

    def make(self, value: T | str | Mapping[str, Any], argument: str | None = None) -> T:
        """An instance, from an instance, its name, or plain data.

        Raises
        ------
        ArgumentError
            For any other value, and for invalid fields; the error names ``argument`` (by default the kind).
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, Mapping):
            options = dict(value)
            name = options.pop(self.kind, None)
        else:
            name, options = value, {}
        if name not in self:
            wanted = f"one of {self}, or an instance of {self.base.__name__}{did_you_mean(name, self)}"
            raise ArgumentError(argument or self.kind, repr(value), wanted)
        cls, fixed = self._entries[str(name)]
        made: T = specs.from_dict(cls, {**options, **fixed})
        return made

    def name_of(self, instance: T) -> str:
        """The registered name of an instance.

        Raises
        ------
        UnsupportedError
            If its class is not registered; the message says how to register it.
        """
        for name, (cls, fixed) in self._entries.items():
            if type(instance) is cls and all(getattr(instance, key) == fixed[key] for key in fixed):
                return name
        cls_name, table = type(instance).__name__, self.kind.upper() + "ES"[not self.kind.endswith("s") :]
        raise UnsupportedError(
            f"{cls_name} has no name to save it under; register one with "
            f'lshsample.nn.{table}.add("name")({cls_name}) before saving and before loading'
        )

    def to_data(self, instance: T) -> dict[str, Any]:
        """An instance as plain data.

        Raises
        ------
        UnsupportedError
            As :meth:`name_of`.
        """
        name = self.name_of(instance)
        _, fixed = self._entries[name]
        values = attrs.asdict(cast(Any, instance), recurse=False)
        options = {key: _plain(value) for key, value in values.items() if key not in fixed}
        return {self.kind: name, **{key: value for key, value in options.items() if value is not None}}

    def shortest(self, instance: T) -> str | dict[str, Any]:
        """The name alone where all fields have their defaults, else plain data."""
        data = self.to_data(instance)
        defaults = {field.name: field.default for field in attrs.fields(cast(Any, type(instance)))}
        options = {key: value for key, value in data.items() if key != self.kind}
        return data if any(options[key] != defaults[key] for key in options) else str(data[self.kind])

    def validator(self, spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Validate that a field holds a registered name; an attrs validator, evaluated at each call."""
        if value not in self:
            raise ArgumentError(attribute.name, repr(value), f"one of {self}{did_you_mean(value, self)}")


def _plain(value: Any) -> Any:
    """A field's value as plain data; an instance of a registered kind, or a hash family, by its name."""
    if isinstance(value, HashFamily):
        return family_to_dict(value)
    for table in _TABLES:
        if isinstance(value, table.base):
            return table.shortest(value)
    return specs.to_dict(value) if attrs.has(type(value)) else value
