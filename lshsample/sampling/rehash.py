"""The schedule by which tables over changing vectors are updated, and the strategy that updates them."""

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
    """The schedule of rebuilds: number t, from 1, is after step ``sum_{i<t} round(first * exp(growth * i))``.

    After the tables are built, the vectors keep changing: fast early in training, slowly later. Hence the
    intervals grow exponentially (SLIDE, MLSys 2020, section 3.2.2: N0 = 50). ``growth=0`` gives a fixed
    period, ``first=0`` switches rebuilds off.

    Attributes
    ----------
    first : int
        Steps to the first rebuild, N0; 0 for never.
    growth : float
        Lambda: each interval is ``exp(growth)`` times the one before.
    new_functions : bool
        Whether each rebuild draws new hash functions, so that items missed by one draw are found by another.
        :class:`Drift` never draws new ones.
    strategy : Strategy or str
        How the tables are updated: ``"rebuild"``, ``"drift"`` or ``"background"`` with default options, or
        an instance of :class:`Rebuild`, :class:`Drift`, :class:`Background` or a custom strategy.

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
        """Whether results depend on timing; otherwise they are the same bits for any number of threads."""
        return self.strategy.is_asynchronous

    @property
    def keeps_functions(self) -> bool:
        """Whether all builds have the same hash functions."""
        return self.first == 0 or not self.new_functions or self.strategy.keeps_functions

    @classmethod
    def of(cls, value: Rehash | Mapping[str, Any] | int) -> Rehash:
        """A schedule from an instance, from plain data, or from a fixed period (0 for never)."""
        if isinstance(value, Rehash):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, Integral) and not isinstance(value, bool):
            return cls(int(value), 0.0)
        raise ArgumentError("rehash", repr(value), "a Rehash, a mapping of its fields, or a period in steps")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rehash:
        """A schedule from plain data: its fields, and the options of its strategy.

        Examples
        --------
        >>> Rehash.from_dict({"first": 20, "strategy": "drift", "threshold": 0.05}).strategy
        Drift(threshold=0.05, sketch=256)
        """
        own = [field.name for field in attrs.fields(cls)]
        every = [field.name for kind in STRATEGIES.values() for field in attrs.fields(kind)]
        for key in data:
            if key not in own and key not in every:
                wanted = f"left out: the keys are {', '.join(dict.fromkeys([*own, *every]))}"
                raise ArgumentError(f"{cls.__name__}.{key}", data[key], wanted)
        fields = {key: value for key, value in data.items() if key in own}
        strategy = fields.get("strategy", Rebuild())
        if not isinstance(strategy, Strategy):
            kind = strategy_class(strategy)
            # Options of other strategies are ignored: files of the first format hold those of all strategies.
            options = {field.name: data[field.name] for field in attrs.fields(kind) if field.name in data}
            strategy = kind(**options)
        return cls(**{**fields, "strategy": strategy})

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain data, for :meth:`from_dict`.

        Raises
        ------
        ArgumentError
            The class of its strategy is not in ``STRATEGIES``.
        """
        named = {"first": self.first, "growth": self.growth, "new_functions": self.new_functions}
        return {**named, "strategy": strategy_name(self.strategy), **specs.to_dict(self.strategy)}

    def count(self, step: int) -> int:
        """Number of rebuilds due up to and including ``step``; O(this number)."""
        return self._until(step)[0]

    def next_due(self, step: int) -> int:
        """The first step after ``step`` at which a rebuild is due; 2**63 for never. O(:meth:`count`)."""
        return self._until(step)[1]

    def _until(self, step: int) -> tuple[int, int]:
        """The rebuilds due up to and including ``step``, and the step of the next one."""
        if self.first == 0:
            return 0, 2**63
        if self.growth == 0.0:
            done = step // self.first
            return done, (done + 1) * self.first
        done, at = 0, self.first
        while at <= step:
            done += 1
            at += round(self.first * math.exp(min(self.growth * done, 40.0)))
        return done, at


specs.write_as(Rehash, Rehash.to_dict)
specs.read_as(Rehash, Rehash.from_dict)
