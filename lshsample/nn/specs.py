"""What a network is made of, as plain frozen values: layers, and their order.

A spec says how to make a network again; it holds no weights. It round-trips through plain data, JSON and
TOML.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs
import tomli_w

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.sampling import Rehash

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "WEIGHTINGS",
    "Dense",
    "Input",
    "LayerSpec",
    "NetworkSpec",
    "Sampled",
    "Sparse",
]

#: Activations of hidden layers.
ACTIVATIONS = ("relu", "tanh", "linear")
#: Activations of the last layer; each names its loss.
LOSSES = ("softmax", "sigmoid")
#: What a sparse input does to its rows first.
WEIGHTINGS = ("none", "l2", "idf-l2")

_WIDTH = specs.integer(1, 2**31 - 1)
_RATE = specs.number(0.0, 1.0, open_high=True)


@attrs.frozen
class Sparse:
    """The input: sparse rows (CSR).

    Attributes
    ----------
    n_features : int
        Columns of the input.
    dropout : float
        Share of a row's values that are dropped in training; the others are scaled by 1/(1 - dropout).
    weighting : str
        ``"none"`` takes values as they are; ``"l2"`` scales each row to length 1; ``"idf-l2"`` first
        multiplies each value by ``1 + log((1 + n) / (1 + rows with that feature))`` over the n rows that the
        network is trained on. The weights are kept with the network, so prediction takes the same raw rows.
    """

    n_features: int = attrs.field(validator=_WIDTH)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)
    weighting: str = attrs.field(default="none", validator=specs.one_of(*WEIGHTINGS), kw_only=True)

    @property
    def units(self) -> int:
        """Columns that the next layer sees."""
        return self.n_features


@attrs.frozen
class Input:
    """The input: dense rows.

    Attributes
    ----------
    n_features : int
        Columns of the input.
    dropout : float
        Share of the values that are dropped in training.
    """

    n_features: int = attrs.field(validator=_WIDTH)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)

    @property
    def units(self) -> int:
        """Columns that the next layer sees."""
        return self.n_features


@attrs.frozen
class Dense:
    """A layer that computes all of its units: ``activation(x @ W + b)``.

    Attributes
    ----------
    units : int
        Width.
    activation : str
        ``"relu"``, ``"tanh"``, ``"linear"``; in the last layer ``"softmax"`` or ``"sigmoid"``, which name the
        loss.
    bias : bool
        Whether it has a bias.
    dropout : float
        Share of its outputs that are dropped in training.
    init_scale : float, optional
        Standard deviation of the initial weights; by default ``sqrt(2 / fan)`` before a relu and
        ``sqrt(1 / fan)`` elsewhere. The fan is the width of the input, or four times the layer's own where
        the input is sparse: for rows of unit length the layer's width alone would keep the length, and half
        of that deviation ranked better where it was compared.
    """

    units: int = attrs.field(validator=_WIDTH)
    activation: str = attrs.field(default="relu", validator=specs.one_of(*ACTIVATIONS, *LOSSES))
    bias: bool = attrs.field(default=True, validator=specs.one_of(True, False), kw_only=True)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)
    init_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0)), kw_only=True
    )


def _rehash(value: Rehash | Mapping[str, Any] | int) -> Rehash:
    return Rehash.of(value)


def _plain_options(value: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ArgumentError("family_options", repr(value), "a mapping of option names to plain values")
    return dict(value)


@attrs.frozen
class Sampled:
    """A layer that computes, for each batch or each sample, only the units that a sampler picks.

    Attributes
    ----------
    units : int
        Width.
    activation : str
        As in :class:`Dense`; in the last layer ``"softmax"`` or ``"sigmoid"``.
    family : str
        Name of the hash family over the units' weight rows (used if the sampler retrieves from tables).
    n_hashes, n_tables : int, optional
        K and L; by default K grows with the layer's width.
    family_options : mapping
        Options of the family's own.
    sampler : str or pipeline
        A pipeline as one writes it (``"Retrieve() | Cap(1000) | Include() | Uniform(1000)"``) or a named one
        (``"lsh"``, ``"uniform"``, ``"full"``, ...).
    n_active : int, optional
        The budget that a named pipeline is made with.
    active_set : str
        ``"batch"``: one set for the whole batch, computed as dense blocks (fast); ``"sample"``: a set per
        sample.
    importance : str
        ``"off"``: the loss is over the active set as it is, which ranks better where few of the units are
        active (measured: docs/probabilities.md). ``"auto"``: corrected by inclusion probabilities where the
        pipeline has a law, so that its sums estimate those over all units without bias. ``"on"``: the same,
        and a pipeline without a law is refused.
    rehash : Rehash
        When its tables are built anew.
    bias, dropout, init_scale
        As in :class:`Dense`.
    """

    units: int = attrs.field(validator=_WIDTH)
    activation: str = attrs.field(default="softmax", validator=specs.one_of(*ACTIVATIONS, *LOSSES))
    family: str = attrs.field(default="simhash", validator=specs.text, kw_only=True)
    n_hashes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 32)), kw_only=True
    )
    n_tables: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 65535)), kw_only=True
    )
    family_options: dict[str, Any] = attrs.field(factory=dict, converter=_plain_options, kw_only=True)
    sampler: str = attrs.field(default="lsh", converter=str, kw_only=True)
    n_active: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1)), kw_only=True
    )
    active_set: str = attrs.field(default="batch", validator=specs.one_of("batch", "sample"), kw_only=True)
    importance: str = attrs.field(default="off", validator=specs.one_of("auto", "on", "off"), kw_only=True)
    rehash: Rehash = attrs.field(factory=Rehash, converter=_rehash, kw_only=True)
    bias: bool = attrs.field(default=True, validator=specs.one_of(True, False), kw_only=True)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)
    init_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0)), kw_only=True
    )


LayerSpec = Sparse | Input | Dense | Sampled
_KINDS: dict[str, type[LayerSpec]] = {"sparse": Sparse, "input": Input, "dense": Dense, "sampled": Sampled}


def _layers(value: Sequence[LayerSpec]) -> tuple[LayerSpec, ...]:
    """Check the order of layers: one input, then layers, the last of which names a loss."""
    if not isinstance(value, Iterable):
        raise ArgumentError("layers", repr(value), "a sequence of layers")
    layers = tuple(value)
    for i, layer in enumerate(layers):
        if not isinstance(layer, LayerSpec):
            raise ArgumentError(f"layers[{i}]", repr(layer), "Sparse, Input, Dense or Sampled")
        if isinstance(layer, Sparse | Input) != (i == 0):
            raise ArgumentError(
                f"layers[{i}]", repr(layer), "an input (Sparse or Input) first and only there"
            )
        if isinstance(layer, Dense | Sampled) and (layer.activation in LOSSES) != (i == len(layers) - 1):
            wanted = f"one of {', '.join(LOSSES)} in the last layer and only there"
            raise ArgumentError(f"layers[{i}].activation", repr(layer.activation), wanted)
    if len(layers) < 2:
        raise ArgumentError("layers", f"{len(layers)} layers", "an input and at least one layer")
    if isinstance(layers[-1], Dense | Sampled) and layers[-1].dropout:
        raise ArgumentError(
            f"layers[{len(layers) - 1}].dropout", layers[-1].dropout, "no dropout in the last layer"
        )
    return layers


@attrs.frozen
class NetworkSpec:
    """A network's layers and the seed of its weights and hash functions.

    Attributes
    ----------
    layers : tuple of Sparse, Input, Dense, Sampled
        An input, then the layers; the last one names a loss.
    seed : int
        Names the initial weights and the hash functions.

    Examples
    --------
    >>> spec = NetworkSpec([Sparse(1000), Dense(16), Sampled(500, sampler="uniform", n_active=50)], seed=3)
    >>> NetworkSpec.from_toml(spec.to_toml()) == spec
    True
    """

    layers: tuple[LayerSpec, ...] = attrs.field(converter=_layers)
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain data."""
        names = {cls: name for name, cls in _KINDS.items()}
        layers = [{"layer": names[type(layer)], **specs.to_dict(layer)} for layer in self.layers]
        return {"seed": self.seed, "layers": layers}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A spec from plain data; unknown keys and layers are refused by name."""
        layers = data.get("layers") if isinstance(data, Mapping) else data
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise ArgumentError("layers", repr(layers), "a list of layers")
        made = []
        for i, layer in enumerate(layers):
            if not isinstance(layer, Mapping):
                raise ArgumentError(f"layers[{i}]", repr(layer), "a mapping of a layer's options")
            options = dict(layer)
            kind = options.pop("layer", None)
            if kind not in _KINDS:
                raise ArgumentError(f"layers[{i}].layer", repr(kind), f"one of {', '.join(_KINDS)}")
            made.append(specs.from_dict(_KINDS[kind], options))
        return specs.from_dict(cls, {**data, "layers": made})

    def to_json(self) -> str:
        """The spec as JSON text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A spec from JSON text."""
        return cls.from_dict(json.loads(text))

    def to_toml(self) -> str:
        """The spec as TOML text."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """A spec from TOML text."""
        return cls.from_dict(tomllib.loads(text))
