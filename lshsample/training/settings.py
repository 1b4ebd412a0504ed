"""The settings that, with the network and the data, determine the result of a run bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs

from lshsample import specs
from lshsample.nn.optimizers import OPTIMIZERS, Adam, Optimizer
from lshsample.nn.schedules import SCHEDULES, LearningRate, Schedule

__all__ = ["TrainingSettings"]


def _optimizer(value: Optimizer | str | Mapping[str, Any]) -> Optimizer:
    return OPTIMIZERS.make(value)


def _schedule(value: Schedule | str | Mapping[str, Any]) -> Schedule:
    return SCHEDULES.make(value)


@attrs.frozen(kw_only=True)
class TrainingSettings:
    """The settings that, with the network and the data, determine the result of a run.

    Attributes
    ----------
    batch_size, epochs, lr, optimizer, schedule, seed
        As the parameters of :class:`~lshsample.training.Trainer`; optimizer and schedule as instances.

    Examples
    --------
    >>> TrainingSettings.from_dict(TrainingSettings(epochs=3, optimizer="sgd").to_dict())
    TrainingSettings(batch_size=256, epochs=3, lr=0.005, optimizer=SGD(weight_decay=0.0),
    schedule=LearningRate(kind='linear', ...), seed=0)
    """

    batch_size: int = attrs.field(default=256, validator=specs.integer(1, 2**31 - 1))
    epochs: int = attrs.field(default=5, validator=specs.integer(1, 2**31 - 1))
    lr: float = attrs.field(default=0.005, validator=specs.at_least(0.0))
    optimizer: Optimizer = attrs.field(factory=Adam, converter=_optimizer)
    schedule: Schedule = attrs.field(factory=LearningRate, converter=_schedule)
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data.

        Raises
        ------
        UnsupportedError
            If the optimizer or schedule is not registered; the message says how to register it.
        """
        plain = attrs.asdict(self, recurse=False)
        named = {
            "optimizer": OPTIMIZERS.to_data(self.optimizer), "schedule": SCHEDULES.to_data(self.schedule)
        }  # fmt: skip
        return {**plain, **named}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Settings from plain data; ArgumentError names unknown keys."""
        return specs.from_dict(cls, data)
