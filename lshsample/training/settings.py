"""What determines a run, bit for bit, together with the network and the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs

from lshsample import specs
from lshsample.nn.optimizers import Adam, LearningRate, Optimizer, optimizer_from, optimizer_to_dict

__all__ = ["Settings"]


def _schedule(value: LearningRate | str | Mapping[str, Any]) -> LearningRate:
    return LearningRate.of(value)


@attrs.frozen(kw_only=True)
class Settings:
    """A run's settings: what determines it, together with the network and the data.

    Attributes
    ----------
    batch_size, epochs, lr, optimizer, schedule, seed
        As :class:`~lshsample.training.Trainer`'s parameters; optimizer and schedule as objects.

    Examples
    --------
    >>> Settings.from_dict(Settings(epochs=3, optimizer="sgd").to_dict())
    Settings(batch_size=256, epochs=3, lr=0.005, optimizer=SGD(), schedule=LearningRate(kind='linear', ...),
    seed=0)
    """

    batch_size: int = attrs.field(default=256, validator=specs.integer(1, 2**31 - 1))
    epochs: int = attrs.field(default=5, validator=specs.integer(1, 2**31 - 1))
    lr: float = attrs.field(default=0.005, validator=specs.at_least(0.0))
    optimizer: Optimizer = attrs.field(factory=Adam, converter=optimizer_from)
    schedule: LearningRate = attrs.field(factory=LearningRate, converter=_schedule)
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {
            **specs.to_dict(self),
            "optimizer": optimizer_to_dict(self.optimizer),
            "schedule": specs.to_dict(self.schedule),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Settings from plain data; unknown keys are refused by name."""
        return specs.from_dict(cls, data)
