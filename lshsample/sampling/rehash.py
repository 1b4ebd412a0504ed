"""When tables over vectors that move are brought up to date: the schedule, with the strategy that it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.sampling.strategies import STRATEGIES, Rebuild, Strategy, strategy_class, strategy_name

__all__ = ["Rehash"]


def _strategy(value: Strategy | str) -> Strategy:
    return value if isinstance(value, Strategy) else strategy_class(value)()


@attrs.frozen
class Rehash:
    """The schedule of rebuilds: the t-th, from 1, comes after step ``sum_{i<t} round(first * exp(growth *
    i))``.

    Tables are built from the vectors as they are, and the vectors move on: early in training fast, later
    slowly. Hence the exponentially growing gaps (SLIDE, MLSys 2020, section 3.2.2: N0 = 50). ``growth=0``
    makes the period fixed, ``first=0`` switches it off.

    Attributes
    ----------
    first : int
        Steps to the first rebuild, N0; 0 for never.
    growth : float
        Lambda: each gap is ``exp(growth)`` times the one before.
    new_functions : bool
        Draw new hash functions at each rebuild, so that what one draw misses another finds; else keep them.
        :class:`Drift` always keeps them.
    strategy : Strategy or str
        What is done at those times: :class:`Rebuild`, :class:`Drift` or :class:`Background`, by name
        (``"rebuild"``, ``"drift"``, ``"background"``) with their default options; or one of your own.

    Examples
    --------
    >>> schedule = Rehash(first=50, growth=0.1)
    >>> [step for step in range(1, 400) if schedule.count(step) > schedule.count(step - 1)]
    [50, 105, 166, 233, 308, 390]
    >>> Rehash(strategy="drift").strategy
    Drift(threshold=0.01, sketch=256)
    """

    first: int = attrs.field(default=50, validator=specs.integer(0, 2**31 - 1))
    growth: float = attrs.field(default=0.1, validator=specs.number(0.0, 10.0))
    new_functions: bool = attrs.field(default=True, validator=specs.one_of(True, False))
    strategy: Strategy = attrs.field(factory=Rebuild, converter=_strategy, kw_only=True)

    @property
    def is_asynchronous(self) -> bool:
        """Whether results depend on timing; a synchronous schedule gives the same bits for any threads."""
        return self.strategy.is_asynchronous

    @property
    def keeps_functions(self) -> bool:
        """Whether all builds have the functions of the first."""
        return self.first == 0 or not self.new_functions or self.strategy.keeps_functions

    @classmethod
    def of(cls, value: Rehash | Mapping[str, Any] | int) -> Rehash:
        """A schedule from itself, from plain data, or from a fixed period (0 for never)."""
        if isinstance(value, Rehash):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, Integral) and not isinstance(value, bool):
            return cls(int(value), 0.0)
        raise ArgumentError("rehash", repr(value), "a Rehash, a mapping of its fields or a period in steps")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rehash:
        """A schedule from plain data: its fields, with the options of a named strategy beside them.

        Examples
        --------
        >>> Rehash.from_dict({"first": 20, "strategy": "drift", "threshold": 0.05}).strategy
        Drift(threshold=0.05, sketch=256)
        """
        own = [field.name for field in attrs.fields(cls)]
        every = [field.name for kind in STRATEGIES.values() for field in attrs.fields(kind)]
        for key in data:
            if key not in own and key not in every:
                wanted = f"only the keys {', '.join(dict.fromkeys([*own, *every]))}"
                raise ArgumentError(f"{cls.__name__}.{key}", data[key], wanted)
        fields = {key: value for key, value in data.items() if key in own}
        strategy = fields.get("strategy", Rebuild())
        if not isinstance(strategy, Strategy):
            kind = strategy_class(strategy)
            # The options of other strategies say nothing here: the first format wrote those of all of them.
            options = {field.name: data[field.name] for field in attrs.fields(kind) if field.name in data}
            strategy = kind(**options)
        return cls(**{**fields, "strategy": strategy})

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain data, which :meth:`from_dict` reads.

        Raises
        ------
        ArgumentError
            Its strategy has no name in ``STRATEGIES``.
        """
        named = {"first": self.first, "growth": self.growth, "new_functions": self.new_functions}
        return {**named, "strategy": strategy_name(self.strategy), **specs.to_dict(self.strategy)}

    def count(self, step: int) -> int:
        """How many rebuilds are due up to and including ``step``; O(their number)."""
        if self.first == 0:
            return 0
        if self.growth == 0.0:
            return step // self.first
        done, at = 0, self.first
        while at <= step:
            done += 1
            at += round(self.first * math.exp(min(self.growth * done, 40.0)))
        return done


specs.write_as(Rehash, Rehash.to_dict)
specs.read_as(Rehash, Rehash.from_dict)
