"""What a search over recipes may change: ranges and choices of a recipe's settings, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn import LOSSES
from lshsample.sampling import NAMED_PIPELINES
from lshsample.xc.recipe import Recipe

__all__ = ["Choices", "Range", "Space", "default_space"]

_SCALES = ("log", "linear")
_WANTED = '[low, high, "log"], [low, high, "linear"] or a list of at least two choices'


@attrs.frozen
class Range:
    """All numbers from ``low`` to ``high``; integers if both are."""

    low: float
    high: float
    log: bool

    @property
    def is_whole(self) -> bool:
        """Whether it has integers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values by which it is checked."""
        return self.low, self.high

    def suggest(self, trial: Any, name: str) -> Any:
        """A value of a trial of Optuna."""
        suggest = trial.suggest_int if self.is_whole else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log)

    def known(self, value: Any) -> tuple[Any, Any] | None:
        """A value, and the distribution that it is from; None if it is outside of the range."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if not isinstance(value, int | float) or not self.low <= float(value) <= self.high:
            return None
        if self.is_whole:
            return int(value), IntDistribution(int(self.low), int(self.high), log=self.log)
        return float(value), FloatDistribution(self.low, self.high, log=self.log)

    def plain(self) -> list[Any]:
        """The range as plain data."""
        return [self.low, self.high, _SCALES[not self.log]]


@attrs.frozen
class Choices:
    """A few values of any kind."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values by which it is checked: all."""
        return self.values

    @property
    def _texts(self) -> list[str]:
        # Lists are no choices of Optuna, texts of all kinds of values are.
        return [json.dumps(value) for value in self.values]

    def suggest(self, trial: Any, name: str) -> Any:
        """A value of a trial of Optuna."""
        return json.loads(trial.suggest_categorical(name, self._texts))

    def known(self, value: Any) -> tuple[Any, Any] | None:
        """A value, and the distribution that it is from; None if it is no choice."""
        from optuna.distributions import CategoricalDistribution

        text = json.dumps(value)
        return (text, CategoricalDistribution(self._texts)) if text in self._texts else None

    def plain(self) -> list[Any]:
        """The choices as plain data."""
        return list(self.values)


@attrs.frozen
class Space:
    """The settings that a search changes, by their dotted names.

    Examples
    --------
    >>> space = Space.of({"linear.c": [0.1, 3.0, "log"], "network": {"hidden": [[256], [512]]}})
    >>> space.settings["network.hidden"].values
    ([256], [512])
    >>> Space.of(space.to_dict()) == space
    True
    """

    settings: dict[str, Range | Choices]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Space:
        """A space from plain data: dotted names or sections, with ranges or choices."""
        settings: dict[str, Range | Choices] = {}
        for name, value in _flat(data).items():
            settings[name] = _setting(name, value)
        if not settings:
            raise ArgumentError("space", "no setting", "a mapping of at least one setting to its values")
        return cls(dict(sorted(settings.items())))

    def check(self, base: Recipe) -> None:
        """Refuse names that a recipe does not have, and values that it does not allow."""
        for name, setting in self.settings.items():
            for value in setting.ends:
                try:
                    with_values(base, {name: value})
                except ArgumentError as error:
                    raise ArgumentError(f"space: {error.argument}", error.given, error.wanted) from error

    def to_dict(self) -> dict[str, list[Any]]:
        """The space as plain data."""
        return {name: setting.plain() for name, setting in self.settings.items()}


def _flat(data: Any, above: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted names."""
    if not isinstance(data, Mapping):
        raise ArgumentError("space", type(data).__name__, "a mapping of settings to ranges or choices")
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{above}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _setting(name: str, value: Any) -> Range | Choices:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise ArgumentError(f"space: {name}", repr(value), _WANTED)
    if len(value) == 3 and value[2] in _SCALES and isinstance(value[0], Real):
        low, high, scale = value
        plain = [specs.checked_number(f"space: {name}", end, -1e18, 1e18) for end in (low, high)]
        if not plain[0] < plain[1] or (scale == "log" and plain[0] <= 0):
            wanted = 'a range from a lower to a higher number, above 0 for "log"'
            raise ArgumentError(f"space: {name}", repr(value), wanted)
        return Range(plain[0], plain[1], scale == "log")
    try:
        texts = [json.dumps(one) for one in value]
    except TypeError as error:
        raise ArgumentError(f"space: {name}", repr(value), _WANTED) from error
    if len(set(texts)) < len(texts):
        raise ArgumentError(f"space: {name}", repr(value), "a list of different choices")
    return Choices(tuple(value))


def with_values(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with other settings, by their dotted names."""
    data = base.to_dict()
    for name, value in values.items():
        section, dot, key = name.partition(".")
        if not dot:
            data[section] = value
        elif isinstance(data.get(section), dict):
            data[section][key] = value
        else:
            raise ArgumentError(name, "a recipe without it", "a setting of a section that the recipe has")
    return Recipe.from_dict(data)


def value_of(recipe: Recipe, name: str) -> Any:
    """The plain value of a setting by its dotted name; None if it is not set."""
    value: Any = recipe.to_dict()
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def default_space(base: Recipe, n_labels: int) -> dict[str, list[Any]]:
    """The settings that a search changes by default, around those of a recipe.

    Parameters
    ----------
    base : Recipe
        Resolved for the training rows (:meth:`Recipe.resolve <lshsample.xc.Recipe.resolve>`).
    n_labels : int
        Number of labels.

    Returns
    -------
    dict
        For the ``space`` of :func:`~lshsample.xc.search_recipes`; settings of parts that the recipe does not
        have are left out.

    Examples
    --------
    >>> default_space(Recipe.preset("fast"), 1000)["neighbours.k"]
    [20, 50, 100]
    """
    space: dict[str, list[Any]] = {}
    if base.linear is not None:
        space["linear.c"] = [0.05, 3.0, "log"]
        space["linear.prune"] = [0.05, 0.1, 0.2]
    if base.neighbours is not None:
        space["neighbours.k"] = [20, 50, 100]
    network = base.network
    if network is None:
        return space
    assert network.hidden is not None
    assert network.epochs is not None
    assert network.lr is not None
    assert network.n_active is not None
    if len(network.hidden) == 1:
        width = network.hidden[0]
        space["network.hidden"] = [[one] for one in (width // 2, width, 2 * width) if one]
    space["network.epochs"] = [max(1, network.epochs // 2), 2 * network.epochs, "log"]
    space["network.lr"] = [network.lr / 4, network.lr * 4, "log"]
    space["network.dropout"] = [0.0, 0.9, "linear"]
    space["network.input_dropout"] = [0.0, 0.5, "linear"]
    space["network.label_smoothing"] = [0.0, 0.3, "linear"]
    space["network.loss"] = list(LOSSES)
    budgets = sorted({max(1, round(factor * network.n_active)) for factor in (0.5, 1, 2)})
    budgets = [budget for budget in budgets if budget < n_labels]  # with all of them nothing is sampled
    if network.sampler in NAMED_PIPELINES and network.sampler != "full" and len(budgets) > 1:
        space["network.n_active"] = budgets
    return space
