"""A training run as plain data: values of a command line or TOML file, the others chosen from the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import tomli_w

from lshsample import specs
from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily
from lshsample.nn import LOSSES, OPTIMIZERS, SCHEDULES, Dense, Network, Sampled, Sharded, Sparse
from lshsample.nn.coded import CODED_PRECISIONS
from lshsample.nn.inputs import WEIGHTINGS
from lshsample.nn.names import NameTable
from lshsample.nn.network_spec import PRECISIONS, check_moments
from lshsample.nn.sampled import ACTIVE_SETS, IMPORTANCE
from lshsample.nn.schedules import warmup_of
from lshsample.nn.sums import MAX_PARTS
from lshsample.registry import family_to_dict, resolve_family
from lshsample.training import Trainer
from lshsample.training.defaults import DataShape, Defaults, choose_defaults, defaults_of

__all__ = ["TrainConfig", "build_network", "build_trainer"]

_optional = attrs.validators.optional
_WIDTHS = "one or more integers from 1 to 2147483647, such as 128 or 128,64"


def _widths(value: Any) -> tuple[int, ...]:
    """Hidden widths from ``128``, ``"128,64"``, ``[128, 64]``."""
    try:
        if isinstance(value, str):
            return tuple(map(int, value.split(",")))
        return tuple(value) if isinstance(value, Iterable) else (value,)
    except ValueError as error:
        raise ArgumentError("hidden", repr(value), _WIDTHS) from error


def _check_widths(_: Any, __: Any, value: tuple[Any, ...]) -> None:
    whole = all(isinstance(width, int) and not isinstance(width, bool) for width in value)
    if not whole or not value or min(value) < 1 or max(value) >= 2**31:
        raise ArgumentError("hidden", ",".join(map(str, value)) or "none", _WIDTHS)


def _numbers(value: Any) -> Any:
    """Numbers from ``"0.55,1.5"`` or a list, as a tuple."""
    try:
        return tuple(map(float, value.split(","))) if isinstance(value, str) else tuple(value)
    except (TypeError, ValueError):
        return value


def _share(value: Any) -> Any:
    """A number for the text of one; other text is a path."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _check_share(_: Any, __: Any, value: Any) -> None:
    number = isinstance(value, float) and 0 < value < 1
    if not number and not (isinstance(value, str) and value):
        raise ArgumentError("valid", repr(value), "a number between 0 and 1, or the path of a data file")


@attrs.frozen(kw_only=True)
class TrainConfig:
    """The configuration of a training run; None means "choose it from the data" (:meth:`resolve`).

    Attributes
    ----------
    hidden : tuple of int, optional
        Widths of the hidden layers; ``128`` and ``"128,64"`` are accepted too.
    loss, sampler, family, n_hashes, n_tables, active_set, n_active, importance
        The output layer; see :class:`~lshsample.nn.Sampled`.
    label_smoothing : float, optional
        The loss's ``smoothing``; see :class:`~lshsample.nn.Softmax`.
    propensity : tuple of two floats, optional
        The loss's propensity model (A, B), also as ``"0.55,1.5"``; by default all labels weigh the same.
    precision : str
        The type of the network's weights and of their optimizer state; see :class:`~lshsample.nn.Network`.
    cache_share : float, optional
        With the precisions ``"int8"`` and ``"int4"``: the share of the rows that stay in float32.
    moments : str, optional
        ``"float8"``, or ``"float4"`` with the precisions ``"int8"`` and ``"int4"``: the optimizer state is in
        8 or 4 bits; see :class:`~lshsample.nn.Network`.
    parts : int, optional
        The output layer is a :class:`~lshsample.nn.Sharded` one, below which a batch is computed in this
        number of parts, a power of two: by workers, if there are some.
    weighting, input_dropout, dropout
        Weighting and dropout of the input, dropout of the hidden units; see :class:`~lshsample.nn.Sparse` and
        :class:`~lshsample.nn.Dense`.
    batch_size, epochs, lr, optimizer, schedule, seed
        The run; see :class:`~lshsample.training.Trainer`. The schedule is a name.
    warmup : int or float
        Steps over which the learning rate first rises from 0; a number below 1 is their share of the run.
    weight_decay : float
        That of the optimizer; see :class:`~lshsample.nn.Adam`.
    valid : float or str, optional
        The share of the training rows that are held out, or the path of a data file, to evaluate on after
        each epoch; ``0.1`` and ``"0.1"`` are the same.
    patience : int, optional
        See :meth:`Trainer.fit <lshsample.training.Trainer.fit>`; needs ``valid``.

    Raises
    ------
    ArgumentError
        A value out of its range; the message names the setting.

    Examples
    --------
    >>> TrainConfig(hidden="128,64", epochs=3).hidden
    (128, 64)
    """

    hidden: tuple[int, ...] | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_widths),
        validator=_optional(_check_widths),
    )
    loss: str | None = attrs.field(default=None, validator=_optional(LOSSES.validator))
    label_smoothing: float | None = attrs.field(
        default=None, validator=_optional(specs.number(0, 1, open_high=True))
    )
    propensity: tuple[float, float] | None = attrs.field(
        default=None, converter=attrs.converters.optional(_numbers), validator=_optional(specs.positive_pair)
    )
    sampler: str = attrs.field(default="lsh", validator=specs.text)
    family: str | HashFamily = attrs.field(default="simhash", converter=resolve_family)
    n_hashes: int | None = attrs.field(default=None, validator=_optional(specs.integer(1, 32)))
    n_tables: int | None = attrs.field(default=None, validator=_optional(specs.integer(1, 65535)))
    active_set: str = attrs.field(default="batch", validator=specs.one_of(*ACTIVE_SETS))
    n_active: int | None = attrs.field(default=None, validator=_optional(specs.integer(1)))
    batch_size: int | None = attrs.field(default=None, validator=_optional(specs.integer(1)))
    epochs: int | None = attrs.field(default=None, validator=_optional(specs.integer(1)))
    lr: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 1e6, open_low=True)))
    schedule: str = attrs.field(default="linear", validator=SCHEDULES.validator)
    warmup: float = attrs.field(default=0, converter=warmup_of)
    optimizer: str = attrs.field(default="adam", validator=OPTIMIZERS.validator)
    weight_decay: float = attrs.field(default=0.0, validator=specs.number(0, 1e6))
    precision: str = attrs.field(default="float32", validator=specs.one_of(*PRECISIONS))
    cache_share: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 1)))
    moments: str | None = attrs.field(default=None, validator=check_moments)
    input_dropout: float = attrs.field(default=0.0, validator=specs.number(0, 1, open_high=True))
    dropout: float | None = attrs.field(default=None, validator=_optional(specs.number(0, 1, open_high=True)))
    parts: int | None = attrs.field(default=None, validator=_optional(specs.power_of_two(MAX_PARTS)))
    weighting: str | None = attrs.field(default=None, validator=_optional(specs.one_of(*WEIGHTINGS)))
    importance: str | None = attrs.field(default=None, validator=_optional(specs.one_of(*IMPORTANCE)))
    valid: float | str | None = attrs.field(
        default=None, converter=attrs.converters.optional(_share), validator=_optional(_check_share)
    )
    patience: int | None = attrs.field(default=None, validator=_optional(specs.integer(1)))
    seed: int = attrs.field(default=0, validator=specs.integer(0, 2**63 - 1))

    def __attrs_post_init__(self) -> None:
        if self.patience is not None and self.valid is None:
            raise ArgumentError("patience", f"{self.patience} without valid", "used with valid")
        if self.cache_share is not None and self.precision not in CODED_PRECISIONS:
            given = f"{self.cache_share:g} with precision={self.precision!r}"
            wanted = f"used with the precision {' or '.join(CODED_PRECISIONS)}"
            raise ArgumentError("cache_share", given, wanted)
        if self.parts is not None and (self.precision != "float32" or self.moments is not None):
            given = f"{self.parts} with precision={self.precision!r} and moments={self.moments!r}"
            raise ArgumentError("parts", given, "used with the precision float32, and without moments")

    def merged(self, changes: Mapping[str, Any]) -> TrainConfig:
        """This config with every value of ``changes`` that is not None."""
        return attrs.evolve(self, **{key: value for key, value in changes.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """The values that are not None, as plain data for a recipe and JSON."""
        data = attrs.asdict(self, recurse=False, filter=lambda _, value: value is not None)
        for name in ("hidden", "propensity"):
            if name in data:
                data[name] = list(data[name])
        if isinstance(self.family, HashFamily):
            data["family"] = family_to_dict(self.family)
        return data

    def to_toml(self) -> str:
        """The values that are not None as TOML; a resolved config gives the same run from it.

        Examples
        --------
        >>> TrainConfig(epochs=3).to_toml().splitlines()[-2:]
        ['input_dropout = 0.0', 'seed = 0']
        """
        return tomli_w.dumps(self.to_dict())

    def resolve(self, data: Dataset) -> TrainConfig:
        """This config with every None replaced by the choice of :func:`choose_defaults` for the data."""
        return self._filled(choose_defaults(data.x, data.y, self.loss))

    def resolve_shape(self, shape: DataShape) -> TrainConfig:
        """As :meth:`resolve`, for data of a shape."""
        return self._filled(defaults_of(shape, self.loss))

    def _filled(self, chosen: Defaults) -> TrainConfig:
        open_values = {
            key: value for key, value in attrs.asdict(chosen).items() if getattr(self, key) is None
        }
        return attrs.evolve(self, **open_values)


def build_network(config: TrainConfig, n_features: int, n_labels: int) -> Network:
    """The network of a resolved config: sparse input, hidden layers, one sampled output layer, in blocks of
    labels if there are ``parts``.
    """
    assert config.hidden is not None
    assert config.dropout is not None
    hidden = [Dense(width, "relu", dropout=config.dropout) for width in config.hidden]
    last = Sampled(
        n_labels,
        _with(
            LOSSES, config.loss or "softmax", smoothing=config.label_smoothing, propensity=config.propensity
        ),
        family=config.family,
        n_hashes=config.n_hashes,
        n_tables=config.n_tables,
        sampler=config.sampler,
        n_active=config.n_active,
        active_set=config.active_set,
        importance=config.importance or "off",
    )
    if config.parts is not None:
        last = attrs.evolve(Sharded.of(last), parts=config.parts)
    first = Sparse(n_features, weighting=config.weighting or "none", dropout=config.input_dropout)
    layers = [first, *hidden, last]
    return Network(
        layers,
        config.seed,
        precision=config.precision,
        row_cache=config.cache_share,
        moments=config.moments,
    )


def _with(table: NameTable[Any], name: str, **options: Any) -> Any:
    """An instance by its name, with the options that are not None and not 0, which other classes lack."""
    return table.make({table.kind: name, **{key: value for key, value in options.items() if value}})


def build_trainer(config: TrainConfig, network: Network, **run: Any) -> Trainer:
    """The trainer of a resolved config; ``run`` has options that do not change the result (threads, ...)."""
    assert config.batch_size is not None
    assert config.epochs is not None
    assert config.lr is not None
    return Trainer(
        network,
        batch_size=config.batch_size,
        epochs=config.epochs,
        lr=config.lr,
        optimizer=_with(OPTIMIZERS, config.optimizer, weight_decay=config.weight_decay),
        schedule={"schedule": config.schedule, **({"warmup": config.warmup} if config.warmup else {})},
        seed=config.seed,
        **run,
    )
