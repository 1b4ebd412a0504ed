"""The description of a network as plain frozen values: its layers, and their order.

A spec holds all that is needed to make the network again, but no weights. It round-trips through plain data,
JSON and TOML.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs
import tomli_w

from lshsample import specs
from lshsample._native.coded import RowCache
from lshsample._native.dtypes import KERNEL_DTYPES
from lshsample.errors import ArgumentError, did_you_mean
from lshsample.nn.coded import CODED_PRECISIONS
from lshsample.nn.layer import LAYERS, Layer
from lshsample.nn.losses import LOSSES

__all__ = ["MOMENTS", "PRECISIONS", "NetworkSpec", "check_moments"]

#: The types that weights and optimizer state may have, and those of rows in few bits.
PRECISIONS = (*(dtype.name for dtype in KERNEL_DTYPES), *CODED_PRECISIONS)

#: The types that optimizer state may have other than its own: of elements, and of rows in few bits.
MOMENTS = ("float8", "float4")


def _cache(value: RowCache | Mapping[str, Any] | float | None) -> RowCache | None:
    """A cache from itself, plain data, or its share of the rows."""
    if value is None or isinstance(value, RowCache):
        return value
    if isinstance(value, Mapping):
        return specs.from_dict(RowCache, value)
    return RowCache(specs.checked_number("row_cache", value, 0.0, 1.0))


def _check_cache(spec: NetworkSpec, _: Any, value: RowCache | None) -> None:
    if value is not None and spec.precision not in CODED_PRECISIONS:
        wanted = f"left out with precision={spec.precision!r}, which has no cache"
        raise ArgumentError("row_cache", repr(value), wanted)


def check_moments(spec: Any, field: Any, value: str | None) -> None:
    """Validator of moments, which are for some precisions."""
    if value is None:
        return
    specs.one_of(*MOMENTS)(spec, field, value)
    own = "float4" if spec.precision in CODED_PRECISIONS else "float8"
    if value != own:
        wanted = f"{own!r}, or left out, with precision={spec.precision!r}"
        raise ArgumentError("moments", repr(value), wanted)


def _layers(value: Sequence[Layer]) -> tuple[Layer, ...]:
    """Check the order of layers: an input first, a loss in the last one only."""
    if not isinstance(value, Iterable):
        raise ArgumentError("layers", repr(value), "a sequence of layers")
    layers = tuple(value)
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ArgumentError(f"layers[{i}]", repr(layer), "an instance of Layer, such as Dense(128)")
        if layer.is_input != (i == 0):
            wanted = "an input layer, such as Sparse or Input" if i == 0 else "a layer that is not an input"
            raise ArgumentError(f"layers[{i}]", repr(layer), wanted)
        if (layer.loss is not None) != (i == len(layers) - 1) and not layer.is_input:
            field = "activation" if hasattr(layer, "activation") else "loss"
            last = f"a loss in the last layer: one of {LOSSES}, or an instance of Loss"
            other = f"{'None' if field == 'loss' else 'an activation'}, as only the last layer has a loss"
            wanted = last if i == len(layers) - 1 else other
            raise ArgumentError(f"layers[{i}].{field}", repr(getattr(layer, field)), wanted)
    if len(layers) < 2:
        raise ArgumentError("layers", f"{len(layers)} layers", "an input and at least one other layer")
    if getattr(layers[-1], "dropout", 0):
        rate = getattr(layers[-1], "dropout", 0)
        raise ArgumentError(f"layers[{len(layers) - 1}].dropout", rate, "0 in the last layer")
    return layers


def _with_family(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A layer's data; in files of 0.1.0 the options of its family are a field of their own."""
    if "family_options" not in layer:
        return layer
    options = layer["family_options"]
    if not isinstance(options, Mapping):
        raise ArgumentError("family_options", repr(options), "a mapping of option names to plain values")
    rest = {key: value for key, value in layer.items() if key != "family_options"}
    return {**rest, "family": {"family": layer.get("family"), **options}}


@attrs.frozen
class NetworkSpec:
    """A network's layers and the seed of its weights and hash functions.

    Attributes
    ----------
    layers : tuple of Layer
        An input, then the layers; the last one has a loss.
    seed : int
        Determines the initial weights and the hash functions.
    precision : str
        The type of weights and optimizer state: ``"float32"`` or ``"bfloat16"``; or ``"int8"`` or
        ``"int4"``, for the rows of wide layers.
    row_cache : RowCache, optional
        The rows that ``"int8"`` and ``"int4"`` keep in float32; a number is their share.
    moments : str, optional
        ``"float8"``: optimizer state of weights in float32 or bfloat16 is in 8 bits. ``"float4"``: the first
        moments of rows in few bits are in 4 bits, and the second ones are one for each row.

    Examples
    --------
    >>> from lshsample.nn import Dense, Sampled, Sparse
    >>> spec = NetworkSpec([Sparse(1000), Dense(16), Sampled(500, sampler="uniform", n_active=50)], seed=3)
    >>> NetworkSpec.from_toml(spec.to_toml()) == spec
    True
    """

    layers: tuple[Layer, ...] = attrs.field(converter=_layers)
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))
    precision: str = attrs.field(default="float32", validator=specs.one_of(*PRECISIONS))
    row_cache: RowCache | None = attrs.field(default=None, converter=_cache, validator=_check_cache)
    moments: str | None = attrs.field(default=None, validator=check_moments)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain data.

        Raises
        ------
        UnsupportedError
            If a layer, loss or activation is not registered; the message says how to register it.
        """
        layers = [LAYERS.to_data(layer) for layer in self.layers]
        cache = {} if self.row_cache is None else {"row_cache": attrs.asdict(self.row_cache)}
        moments = {} if self.moments is None else {"moments": self.moments}
        return {"seed": self.seed, "precision": self.precision, **cache, **moments, "layers": layers}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A spec from plain data; ArgumentError names unknown keys and layers."""
        layers = data.get("layers") if isinstance(data, Mapping) else data
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise ArgumentError("layers", repr(layers), "a list of layers")
        made = []
        for i, layer in enumerate(layers):
            if not isinstance(layer, Mapping):
                raise ArgumentError(f"layers[{i}]", repr(layer), "a mapping of a layer's options")
            name = layer.get("layer")
            if name not in LAYERS:
                wanted = f"one of {LAYERS}{did_you_mean(name, LAYERS)}"
                raise ArgumentError(f"layers[{i}].layer", repr(name), wanted)
            made.append(LAYERS.make(_with_family(layer)))
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
