"""When the tables of a sampled layer are brought up to date, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError

__all__ = ["Rehash"]


@attrs.frozen
class Rehash:
    """The schedule of rebuilds: the t-th, from 1, comes after step ``sum_{i<t} round(first * exp(growth *
    i))``.

    Tables are built from the weights as they are, and the weights move on: early in training fast, later
    slowly. Hence the exponentially growing gaps (SLIDE, MLSys 2020, section 3.2.2: N0 = 50). ``growth=0``
    makes the period fixed, ``first=0`` switches it off.

    What happens at those times is the strategy:

    - ``"rebuild"``: all units are hashed and the tables built anew.
    - ``"drift"``: a sketch of the units that steps have touched since is hashed; if at least ``threshold`` of
      its codes have changed, the touched units whose codes changed move, and nothing else (MONGOOSE, ICLR
      2021, whose threshold is 0.01). The functions stay. A family that fits itself to all rows (a norm
      bound) is built anew instead.
    - ``"background"``: the tables are built on a thread of their own from a copy of the weights, while
      training goes on with the old ones; the first build is waited for. Which step sees the new tables
      depends on timing, so that two runs differ: ``is_asynchronous`` says so, and so do checkpoints.

    Attributes
    ----------
    first : int
        Steps to the first rebuild, N0; 0 for never.
    growth : float
        Lambda: each gap is ``exp(growth)`` times the one before.
    new_functions : bool
        Draw new hash functions at each rebuild, so that what one draw misses another finds; else keep them.
        The drift strategy keeps them.
    strategy : str
        ``"rebuild"``, ``"drift"`` or ``"background"``.
    threshold : float
        Share of the sketch's codes that must have changed before units move.
    sketch : int
        Units in the sketch.

    Examples
    --------
    >>> schedule = Rehash(first=50, growth=0.1)
    >>> [step for step in range(1, 400) if schedule.count(step) > schedule.count(step - 1)]
    [50, 105, 166, 233, 308, 390]
    """

    first: int = attrs.field(default=50, validator=specs.integer(0, 2**31 - 1))
    growth: float = attrs.field(default=0.1, validator=specs.number(0.0, 10.0))
    new_functions: bool = attrs.field(default=True, validator=specs.one_of(True, False))
    strategy: str = attrs.field(
        default="rebuild", validator=specs.one_of("rebuild", "drift", "background"), kw_only=True
    )
    threshold: float = attrs.field(default=0.01, validator=specs.number(0.0, 1.0), kw_only=True)
    sketch: int = attrs.field(default=256, validator=specs.integer(1, 2**20), kw_only=True)

    @property
    def is_asynchronous(self) -> bool:
        """Whether results depend on timing; a synchronous schedule gives the same bits for any threads."""
        return self.strategy == "background"

    @classmethod
    def of(cls, value: Rehash | Mapping[str, Any] | int) -> Rehash:
        """A schedule from itself, from plain data, or from a fixed period (0 for never)."""
        if isinstance(value, Rehash):
            return value
        if isinstance(value, Mapping):
            return specs.from_dict(cls, value)
        if isinstance(value, Integral) and not isinstance(value, bool):
            return cls(int(value), 0.0)
        raise ArgumentError("rehash", repr(value), "a Rehash, a mapping of its fields or a period in steps")

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
