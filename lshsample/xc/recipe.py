"""Recipes: how a classifier is made, as plain data that can be printed, changed and given back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from os import PathLike
from typing import Any, Self, cast

import attrs
import tomli_w

from lshsample import specs
from lshsample.config import TrainConfig
from lshsample.data import Dataset
from lshsample.errors import ArgumentError, did_you_mean
from lshsample.files import as_path
from lshsample.text import VectorizerSpec
from lshsample.training.defaults import DataShape

__all__ = ["PRESETS", "LinearRecipe", "NeighboursRecipe", "Recipe"]

#: The recipes that come with the package: three classifiers, the quickest first, and a network alone.
PRESETS = ("fast", "balanced", "accurate", "propensity", "network")
#: Held-out rows, at most.
_HELD_OUT = 5_000
#: Settings that a network alone has no use for.
_OF_MIXTURES = ("n_networks", "network_rows", "holdout", "refit", "candidates", "storage", "tail")
#: Length of the vector of pairs, and the number of training rows from which there are pairs.
_PAIRS, _PAIRS_FROM = 0.5, 20_000
#: Sections that leave a part out if they are false.
_SECTIONS = ("linear", "neighbours", "network")
_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class LinearRecipe:
    """The linear path; see :meth:`LinearModel.fit <lshsample.xc.LinearModel.fit>`.

    Attributes
    ----------
    c : float, optional
        Weight of the loss against the L2 penalty; by default by the number of labels.
    n_trees : int, optional
        Label trees; by default by the number of labels.
    beam : int
        Nodes of a level that are kept in prediction.
    prune : float
        Weights of a smaller magnitude are removed.
    pairs : float, optional
        Length of the vector of a row's pairs of features, beside that of its features; see
        :class:`~lshsample.xc.FeaturePairs`. 0 for no pairs; by default 0.5 for 20,000 rows or more, else 0.
    """

    c: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 1e6, open_low=True)))
    n_trees: int | None = attrs.field(default=None, validator=_optional(specs.integer(1, 1000)))
    beam: int = attrs.field(default=10, validator=specs.integer(1))
    prune: float = attrs.field(default=0.1, validator=specs.number(0, 1e6))
    pairs: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 10)))

    def resolve(self, n_rows: int) -> Self:
        """With ``pairs`` chosen for a number of training rows.

        Rows of titles (586,605, 8 features a row) had a P@1 of 38.8 % without pairs and 40.3 % with them,
        package descriptions (24,083, 44 features) 85.4 and 85.6 %, and bookmarks (6,656) 63.3 and 61.9 %.
        """
        if self.pairs is not None:
            return self
        return attrs.evolve(self, pairs=_PAIRS if n_rows >= _PAIRS_FROM else 0.0)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class NeighboursRecipe:
    """The neighbours among the training rows; see :class:`~lshsample.xc.RowNeighbours`.

    Attributes
    ----------
    of : tuple of str
        ``"rows"`` (the sparse rows), ``"hidden"`` (the hidden vectors of the network), or both.
    k : int
        Neighbours that are looked for; how many of them vote is chosen on held-out rows.
    recall : float
        The share of the nearest hidden vectors that hash tables are chosen to find.
    """

    of: tuple[str, ...] = attrs.field(default=("rows", "hidden"), converter=_names)
    k: int = attrs.field(default=50, validator=specs.integer(1, 10_000))
    recall: float = attrs.field(default=0.8, validator=specs.number(0, 1, open_low=True))

    @of.validator
    def _check_of(self, _: Any, value: tuple[Any, ...]) -> None:
        if not value or not set(value) <= {"rows", "hidden"} or len(set(value)) != len(value):
            raise ArgumentError("of", repr(list(value)), '["rows"], ["hidden"] or ["rows", "hidden"]')


def _section(cls: type[Any], value: Any) -> Any:
    """A section: a mapping becomes a spec; None and false leave the part out, true has its defaults."""
    if value is None or value is False:
        return None
    if value is True:
        return cls()
    return specs.from_dict(cls, value) if isinstance(value, Mapping) else value


def _linear(value: Any) -> LinearRecipe | None:
    return cast(LinearRecipe | None, _section(LinearRecipe, value))


def _neighbours(value: Any) -> NeighboursRecipe | None:
    return cast(NeighboursRecipe | None, _section(NeighboursRecipe, value))


def _network(value: Any) -> TrainConfig | None:
    return cast(TrainConfig | None, _section(TrainConfig, value))


def _text(value: Any) -> VectorizerSpec:
    return cast(VectorizerSpec, _section(VectorizerSpec, value) or VectorizerSpec())


def _is(cls: type[Any]) -> Any:
    """A validator: a section's spec, or None."""

    def validate(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not isinstance(value, cls):
            raise ArgumentError(attribute.name, repr(value), "true, false or a section with its settings")

    return validate


@attrs.frozen(kw_only=True)
class Recipe:
    """How a :class:`~lshsample.xc.Classifier` is made.

    Attributes
    ----------
    linear : LinearRecipe, optional
        The linear path; None leaves the part out.
    neighbours : NeighboursRecipe, optional
        The neighbours among the training rows; None leaves them out.
    network : TrainConfig, optional
        The network; None leaves it out. Its values of None are chosen from the data.
    n_networks : int
        Networks of different seeds whose outputs are averaged.
    network_rows : int, optional
        Training rows up to which a network is trained beside other parts; by default for any number.
    holdout : float
        Share of the training rows by which the mixture's weights are fitted, 5,000 rows at most.
    refit : bool
        Train the parts again on all rows, when the weights are fitted, if more than 2 % were held out.
    candidates : int
        Labels that each part names for a row.
    storage : str
        How the network's weights are stored: ``"int8"``, ``"bfloat16"`` or ``"float32"``.
    tail : float
        Favours rare labels: they are ranked by probability / propensity^tail.
    seed : int
        Determines every random choice.
    text : VectorizerSpec, optional
        How texts become rows; see :class:`~lshsample.text.VectorizerSpec`. Not used for rows of features.

    Examples
    --------
    >>> recipe = Recipe.preset("fast")
    >>> recipe.network is None, recipe.linear.beam
    (True, 10)
    """

    linear: LinearRecipe | None = attrs.field(
        default=LinearRecipe(), converter=_linear, validator=_is(LinearRecipe)
    )
    neighbours: NeighboursRecipe | None = attrs.field(
        default=NeighboursRecipe(), converter=_neighbours, validator=_is(NeighboursRecipe)
    )
    network: TrainConfig | None = attrs.field(
        factory=TrainConfig, converter=_network, validator=_is(TrainConfig)
    )
    n_networks: int = attrs.field(default=1, validator=specs.integer(1, 100))
    network_rows: int | None = attrs.field(default=None, validator=_optional(specs.integer(0)))
    holdout: float = attrs.field(default=0.1, validator=specs.number(0, 0.9, open_low=True))
    refit: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    candidates: int = attrs.field(default=50, validator=specs.integer(1, 10_000))
    storage: str = attrs.field(default="int8", validator=specs.one_of("int8", "bfloat16", "float32"))
    tail: float = attrs.field(default=0.0, validator=specs.number(0, 2))
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))
    text: VectorizerSpec = attrs.field(factory=VectorizerSpec, converter=_text, validator=_is(VectorizerSpec))

    def __attrs_post_init__(self) -> None:
        if self.linear is None and self.neighbours is None and self.network is None:
            raise ArgumentError("recipe", "no part", "linear, neighbours or network")
        if self.network is None and self.neighbours is not None and "hidden" in self.neighbours.of:
            raise ArgumentError("neighbours.of", '"hidden" without network', 'used with network, or ["rows"]')
        if self.network is None:
            return
        if self.network.seed:
            raise ArgumentError("network.seed", self.network.seed, "left out: seed is a key of the recipe")
        for name in ("valid", "patience"):
            value = getattr(self.network, name)
            if value is not None and not self.is_network_alone:
                wanted = "left out: it is for a network alone; holdout sets the rows that are held out"
                raise ArgumentError(f"network.{name}", repr(value), wanted)
        if self.network.parts is not None and not self.is_network_alone:
            raise ArgumentError("network.parts", self.network.parts, "left out: it is for a network alone")

    @property
    def is_network_alone(self) -> bool:
        """Whether there is nothing but one network."""
        return self.linear is None and self.neighbours is None and self.n_networks == 1

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts, in the order in which they are trained."""
        of = () if self.neighbours is None else self.neighbours.of
        wanted = {
            "rows": "rows" in of,
            "linear": self.linear is not None,
            "network": self.network is not None,
            "hidden": "hidden" in of,
        }
        return tuple(name for name, is_in in wanted.items() if is_in)

    def n_held_out(self, n: int) -> int:
        """How many of n rows with labels are held out for the mixture."""
        return min(max(1, round(self.holdout * n)), _HELD_OUT)

    def resolve(self, X: Any, Y: Any) -> Self:
        """The recipe with what is left open, of pairs and of the network, chosen for the training rows."""
        linear = None if self.linear is None else self.linear.resolve(X.shape[0])
        found = attrs.evolve(self, linear=linear)
        if self.network is None:
            return found
        of = () if self.neighbours is None else self.neighbours.of
        others = self.linear is not None or "rows" in of
        if others and self.network_rows is not None and X.shape[0] > self.network_rows:
            rows = None
            if self.neighbours is not None and "rows" in of:
                rows = attrs.evolve(self.neighbours, of=("rows",))
            return attrs.evolve(found, network=None, neighbours=rows)
        return attrs.evolve(found, network=self.network.resolve(Dataset.of(X, Y)))

    def resolve_stream(self, shape: DataShape) -> Self:
        """As :meth:`resolve`, for rows that are not all in memory, after :meth:`check_stream`."""
        self.check_stream()
        assert self.network is not None
        return attrs.evolve(self, network=self.network.resolve_shape(shape))

    def check_stream(self) -> None:
        """ArgumentError if it cannot be followed without all rows in memory."""
        if not self.is_network_alone:
            others = [name for name in self.parts if name != "network"]
            given = f"one with {', '.join(others)}" if others else f"one with {self.n_networks} networks"
            wanted = (
                "a network alone (the preset network), as other parts need all rows in memory; to have them, "
                "train on rows that are not streamed"
            )
            raise ArgumentError("recipe", given, wanted)
        for name in ("valid", "patience"):
            if getattr(self.network, name) is not None:
                wanted = "left out for rows that are streamed, some of which are held out by themselves"
                raise ArgumentError(name, repr(getattr(self.network, name)), wanted)
        self.check_classifier()

    def check_classifier(self) -> None:
        """ArgumentError if it is for a network that is not part of a classifier."""
        if self.network is not None and self.network.parts is not None:
            wanted = (
                "left out: it is for a network alone that is trained by lshsample train, without --stream"
            )
            raise ArgumentError("parts", self.network.parts, wanted)

    def merged(self, changes: Mapping[str, Any]) -> Self:
        """The recipe with other settings of its network, which is trained for any number of rows then.

        Raises
        ------
        ArgumentError
            The recipe has no network.
        """
        if not changes:
            return self
        if self.network is None:
            name, value = next(iter(changes.items()))
            raise ArgumentError(name, repr(value), "used with a recipe that has a network")
        return attrs.evolve(self, network=self.network.merged(changes), network_rows=None)

    @classmethod
    def of(cls, value: Recipe | str | Mapping[str, Any]) -> Recipe:
        """A recipe from one, from the name of a preset, or from plain data."""
        if isinstance(value, str):
            return cls.preset(value)
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if not isinstance(value, Recipe):
            wanted = "a Recipe, the name of one, or a mapping of its settings"
            raise ArgumentError("recipe", type(value).__name__, wanted)
        return value

    @classmethod
    def preset(cls, name: str) -> Self:
        """A recipe that comes with the package: one of :data:`PRESETS`."""
        if name not in PRESETS:
            wanted = f"one of {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}"
            raise ArgumentError("recipe", repr(name), wanted)
        file = files("lshsample.xc").joinpath("presets", f"{name}.toml")
        return cls.from_toml(file.read_text(encoding="utf-8"))

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """A recipe from TOML text; unknown keys and bad values are errors that name them."""
        return cls.from_dict(specs.parsed_toml(text))

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Self:
        """A recipe from a TOML file."""
        file = as_path(path)
        try:
            return cls.from_dict(tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ArgumentError("recipe", f"{file}: {error}", "a readable TOML file") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A recipe from plain data; a section that is false leaves its part out."""
        known = {field.name for field in attrs.fields(cls)}
        for name in data:
            if name not in known and name in {field.name for field in attrs.fields(TrainConfig)}:
                raise ArgumentError(name, repr(data[name]), "a key of the section [network]")
        recipe = specs.from_dict(cls, data)
        for name in _OF_MIXTURES:
            if recipe.is_network_alone and name in data:
                raise ArgumentError(name, repr(data[name]), "left out for a network alone")
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, for :meth:`from_dict`."""
        data: dict[str, Any] = {}
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if self.is_network_alone and field.name in _OF_MIXTURES:
                continue
            if self.is_network_alone and value == VectorizerSpec():  # most networks alone are not of texts
                continue
            if value is None:
                if field.name in _SECTIONS:
                    data[field.name] = False
            elif isinstance(value, TrainConfig):
                data[field.name] = {key: one for key, one in value.to_dict().items() if key != "seed"}
            elif attrs.has(type(value)):
                data[field.name] = {k: list(v) if k == "of" else v for k, v in specs.to_dict(value).items()}
            else:
                data[field.name] = value
        return data

    def to_toml(self) -> str:
        """The recipe as TOML text.

        Examples
        --------
        >>> Recipe.from_toml(Recipe.preset("balanced").to_toml()) == Recipe.preset("balanced")
        True
        """
        data = self.to_dict()
        plain = {key: value for key, value in data.items() if not isinstance(value, dict)}
        return tomli_w.dumps(plain | {key: value for key, value in data.items() if key not in plain})
