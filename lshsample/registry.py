"""Hash families by name: found among the installed plugins, and made from text, options or plain data."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs
import tomli_w

from lshsample import specs
from lshsample.errors import ArgumentError, LshsampleError, PluginError
from lshsample.family import FamilySpec, HashFamily, WrapperFamily
from lshsample.family_text import format_family, parse_family
from lshsample.plugin_manager import Registry, describe_error, installed_plugins

__all__ = [
    "FamilyLike",
    "FamilyRegistry",
    "default_registry",
    "families",
    "family_from_dict",
    "family_from_json",
    "family_from_toml",
    "family_of_bits",
    "family_option",
    "family_to_dict",
    "family_to_json",
    "family_to_toml",
    "make_family",
    "named_family",
    "resolve_family",
]

FamilyLike = str | HashFamily | FamilySpec | Mapping[str, Any]
"""A hash family as its text (``"simhash:projection=gaussian"``), as an object, its spec or plain data."""

#: What the inner family of a wrapper takes from the wrapper's spec.
_SHAPE = ("dim", "n_hashes", "n_tables", "seed")
_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


class FamilyRegistry(Registry[HashFamily]):
    """The hash families of a set of plugins.

    Parameters
    ----------
    plugins : Plugins, or iterable of (str, object)
        The plugins; or their names, and modules or objects with hooks.

    Raises
    ------
    PluginError
        A plugin's hook is broken, what it returns is not a dict of family classes, or two plugins claim one
        name. The message names the plugin.
    """

    hook = "lshsample_hash_families"
    kind = "family"
    base = HashFamily

    @classmethod
    def installed(cls) -> FamilyRegistry:
        """The registry of every plugin that is installed."""
        return cls(installed_plugins())

    def check(self, where: str, name: Any, cls: type[HashFamily]) -> None:
        """Raise PluginError for a name or a class that cannot be made or stored."""
        if not isinstance(name, str) or not _NAME.match(name):
            raise PluginError(f"{where}: a name must consist of lower-case letters, digits, - and _")
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))
            raise PluginError(f"{where}: {cls.__qualname__} lacks {missing}")
        spec = f"{where}: {cls.__qualname__}.Spec"
        if not (isinstance(cls.Spec, type) and issubclass(cls.Spec, FamilySpec) and attrs.has(cls.Spec)):
            raise PluginError(f"{spec} is {cls.Spec!r}, expected a subclass of FamilySpec")
        if issubclass(cls, WrapperFamily) and "inner" not in attrs.fields_dict(cls.Spec):
            raise PluginError(f"{spec} lacks the field inner, which family_option makes")
        if not isinstance(getattr(cls, "similarity", None), str):
            raise PluginError(
                f"{where}: {cls.__qualname__}.similarity is missing, expected a name such as 'cosine'"
            )

    def families(self) -> dict[str, type[HashFamily]]:
        """Names and classes of the families, by name."""
        return self.classes()

    def name_of(self, family: HashFamily) -> str:
        """The name that a family's class is registered under."""
        for name, cls in self._classes.items():
            if cls is type(family):
                return name
        raise ArgumentError("family", type(family).__qualname__, f"one of {self._known()}")

    def parse(self, text: str, argument: str = "family") -> tuple[str, dict[str, Any]]:
        """A registered name, and options, from text; see :func:`named_family`."""
        name, options = parse_family(text, argument)
        if name not in self._classes:
            wanted = f"one of {self._known()}, also with options as family:option=value,option=value"
            raise ArgumentError(argument, repr(text), wanted + self.hint(name))
        self._check_options(name, options)
        return name, options

    def read(self, family: FamilyLike, argument: str = "family") -> tuple[str, dict[str, Any]]:
        """A registered name, and options, from any way to name a family; see :func:`named_family`."""
        if isinstance(family, FamilySpec):
            family = self._of_spec(family, argument)
        if isinstance(family, HashFamily):
            data = self.to_dict(family)
            return data.pop("family"), {key: value for key, value in data.items() if key not in _SHAPE}
        if not isinstance(family, Mapping):
            return self.parse(family, argument)
        given = dict(family)
        text = given.pop("family", None)
        if not isinstance(text, str):
            wanted = 'a mapping with the name of a family under "family"'
            raise ArgumentError(argument, repr(family), wanted)
        name, options = self.parse(text)
        options = _merged(options, given)
        self._check_options(name, options)
        return name, options

    def _check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Refuse unknown options, and values that are invalid whatever the others are."""
        specs.check_keys(self._classes[name].Spec, options)
        fields = attrs.fields_dict(self._classes[name].Spec)
        for key, value in options.items():
            validate = fields[key].validator
            wrapped = key == "inner" and issubclass(self._classes[name], WrapperFamily)
            if wrapped and isinstance(value, (str, Mapping)):
                try:
                    self.read(value)
                except ArgumentError as error:
                    raise ArgumentError(f"inner.{error.argument}", error.given, error.wanted) from None
            elif validate is not None and fields[key].converter is None:
                try:
                    validate(_Stub(), fields[key], value)
                except ArgumentError:
                    raise
                except (AttributeError, TypeError, ValueError):
                    pass  # a validator of other fields, too, or one of attrs: called again for the whole spec

    def resolve(self, family: FamilyLike, argument: str = "family") -> str | HashFamily:
        """Checked text, or a family; see :func:`resolve_family`."""
        if isinstance(family, HashFamily):
            return family
        if isinstance(family, FamilySpec):
            return self._of_spec(family, argument)
        name, options = self.read(family, argument)
        if "dim" in options:
            return self.make(name, **options)
        return family if isinstance(family, str) else format_family(name, options)

    def _of_spec(self, spec: FamilySpec, argument: str) -> HashFamily:
        names = [name for name, cls in self._classes.items() if cls.Spec is type(spec)]
        if len(names) != 1:
            which = f"several families have: {', '.join(names)}" if names else "no installed family has"
            given = f"a {type(spec).__name__}, which {which}"
            raise ArgumentError(argument, given, "a family, its text, or a spec of one family alone")
        return self._made(names[0], spec)

    def make(self, family: FamilyLike, **options: Any) -> HashFamily:
        """A family from text, plain data, a spec or another family; see :func:`make_family`."""
        if isinstance(family, FamilySpec):
            family = self._of_spec(family, "family")
        if isinstance(family, HashFamily):
            return _changed(family, options)
        name, given = self.read(family)
        return self._made(name, specs.from_dict(self._classes[name].Spec, _merged(given, options)))

    def _made(self, name: str, spec: FamilySpec) -> HashFamily:
        cls = self._classes[name]
        try:
            return cls(spec)
        except (LshsampleError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(
                f"plugin {self._owners[name]}: {cls.__qualname__} raised {describe_error(error)}"
            ) from error

    def to_dict(self, family: HashFamily) -> dict[str, Any]:
        """A family as plain data, with its name under ``"family"``."""
        data = {"family": self.name_of(family), **specs.to_dict(family.spec)}
        for key, value in data.items():
            if not isinstance(value, (str, int, float, list, tuple, dict)):
                raise ArgumentError(
                    f"{type(family.spec).__name__}.{key}",
                    f"{value!r}",
                    "plain data, to be stored (a function must be importable by its path)",
                )
        return data

    def from_dict(self, data: Mapping[str, Any]) -> HashFamily:
        """A family from what :meth:`to_dict` returned."""
        if not isinstance(data, Mapping):
            raise ArgumentError("data", repr(data), 'a mapping with the name of a family under "family"')
        name, options = self.read(data, "data")
        return self.make(name, **options)

    def _known(self) -> str:
        return ", ".join(sorted(self._classes)) or "the installed families (no plugin is installed)"


class _Stub:
    """Stands for a spec that is not made yet, where single values are validated."""


def _merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """The options of all parts; an option in two parts is an error."""
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in merged:
                raise ArgumentError(name, f"{merged[name]!r} and {value!r}", "given once")
            merged[name] = value
    return merged


def _changed(family: HashFamily, options: Mapping[str, Any]) -> HashFamily:
    """The family with other options; another seed is set by its ``with_seed``."""
    specs.check_keys(type(family.spec), options)
    others = {name: value for name, value in options.items() if name != "seed"}
    if others:
        family = type(family)(attrs.evolve(family.spec, **others))
    return family.with_seed(options["seed"]) if "seed" in options else family


@functools.cache
def default_registry() -> FamilyRegistry:
    """The registry of the installed plugins, made at the first call.

    Warns
    -----
    PluginWarning
        An installed plugin is broken and was left out.
    """
    return FamilyRegistry.installed()


def families() -> dict[str, type[HashFamily]]:
    """Names and classes of the installed families.

    Warns
    -----
    PluginWarning
        An installed plugin is broken and was left out; the message names it.

    Examples
    --------
    >>> "simhash" in families()
    True
    """
    return default_registry().families()


def named_family(family: FamilyLike, argument: str = "family") -> tuple[str, dict[str, Any]]:
    """A registered family's name and options, from text or any other way to name a family.

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        As for :func:`make_family`; text is parsed by :func:`lshsample.family_text.parse_family`.
    argument : str
        The argument's name in errors.

    Returns
    -------
    name : str
        A name from :func:`families`.
    options : dict
        Options that were given, each checked by itself. Of a family or a spec all but dim, n_hashes, n_tables
        and seed.

    Raises
    ------
    ArgumentError
        No such family, or unknown or invalid options.

    Examples
    --------
    >>> named_family("e2lsh:width=2.5,bits=8")
    ('e2lsh', {'width': 2.5, 'bits': 8})
    """
    return default_registry().read(family, argument)


def resolve_family(family: FamilyLike, argument: str = "family") -> str | HashFamily:
    """What a caller gave for a family, checked: text of a family whose shape is still open, or a family.

    Names of options, and values that are invalid whatever the others are, are refused here already.

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        As for :func:`make_family`.
    argument : str
        The argument's name in errors.

    Returns
    -------
    str or HashFamily
        A family where ``dim`` is among the options, otherwise its text.

    Raises
    ------
    ArgumentError
        An unknown name or option, or an invalid value.

    Examples
    --------
    >>> resolve_family("simhash:projection=gaussian")
    'simhash:projection=gaussian'
    >>> resolve_family({"family": "e2lsh", "width": 2.5})
    'e2lsh:width=2.5'
    >>> resolve_family("simhash:dim=8,n_hashes=3").code_bits
    3
    """
    return default_registry().resolve(family, argument)


def make_family(family: FamilyLike, **options: Any) -> HashFamily:
    """A hash family by name.

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        A name from :func:`families`, also with options (``"simhash:projection=gaussian"``). Or plain data, as
        :func:`family_to_dict` returns it, or a spec. Or a family, of which the result is a copy with other
        options.
    **options
        The fields of the family's spec: ``dim`` (required), ``n_hashes`` (K), ``n_tables`` (L), ``seed``, and
        further options of the family.

    Returns
    -------
    HashFamily

    Raises
    ------
    ArgumentError
        An unknown name or option, an option that is given twice, or a value out of range.
    PluginError
        The family's class fails; the message names its plugin.

    Examples
    --------
    >>> make_family("simhash", dim=128, n_hashes=6, n_tables=50).code_bits
    6
    >>> family = make_family("simhash:projection=gaussian,density=0.5", dim=128)
    >>> family.spec.projection, make_family(family, dim=64).dim
    ('gaussian', 64)
    """
    return default_registry().make(family, **options)


def family_of_bits(family: FamilyLike, code_bits: int, **options: Any) -> HashFamily:
    """A family with as many hashes as fit into codes of ``code_bits`` bits, and at least one.

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        As for :func:`make_family`.
    code_bits : int
        Bits of a code, from 1 to 32; not used if text or plain data has ``n_hashes``.
    **options
        As for :func:`make_family`.

    Examples
    --------
    >>> family_of_bits("dwta", 10, dim=32, window=8).n_hashes
    3
    >>> family_of_bits("dwta:n_hashes=2", 10, dim=32, window=8).n_hashes
    2
    """
    if isinstance(family, (str, Mapping)):
        name, given = default_registry().read(family)
        family, options = name, _merged(given, options)
    if "n_hashes" in options:
        return make_family(family, **options)
    # Four hashes first: one alone may have fewer codes than the family probes by itself.
    for n_hashes in (4, 1):
        try:
            bits = make_family(family, n_hashes=n_hashes, **options).code_bits // n_hashes
            break
        except ArgumentError:
            if n_hashes == 1:
                raise
    return make_family(family, n_hashes=max(1, code_bits // bits), **options)


def family_to_dict(family: HashFamily) -> dict[str, Any]:
    """A family as plain data: its name under ``"family"`` and the fields of its spec.

    Examples
    --------
    >>> data = family_to_dict(make_family("simhash", dim=16, n_hashes=2))
    >>> data["family"], data["n_hashes"], family_from_dict(data) == make_family("simhash", dim=16, n_hashes=2)
    ('simhash', 2, True)
    """
    return default_registry().to_dict(family)


def family_from_dict(data: Mapping[str, Any]) -> HashFamily:
    """A family from the data of :func:`family_to_dict`; unknown keys and names are refused."""
    return default_registry().from_dict(data)


def family_to_json(family: HashFamily) -> str:
    """A family as JSON text."""
    return json.dumps(family_to_dict(family), sort_keys=True)


def family_from_json(text: str) -> HashFamily:
    """A family from JSON text."""
    return family_from_dict(specs.parsed_json(text))


def family_to_toml(family: HashFamily) -> str:
    """A family as TOML text."""
    return tomli_w.dumps(family_to_dict(family))


def family_from_toml(text: str) -> HashFamily:
    """A family from TOML text."""
    return family_from_dict(specs.parsed_toml(text))


def _inner_to_dict(family: HashFamily) -> dict[str, Any]:
    return {name: value for name, value in family_to_dict(family).items() if name not in _SHAPE}


def _inner_family(value: Any, outer: Any, field: attrs.Attribute[Any]) -> HashFamily:
    shape = {name: getattr(outer, name) for name in _SHAPE}
    if isinstance(value, HashFamily):
        return type(value)(attrs.evolve(value.spec, **shape))
    if not isinstance(value, (str, Mapping)):
        wanted = 'a HashFamily, text as family:option=value, or a mapping with a name under "family"'
        raise ArgumentError(field.name, repr(value), wanted)
    try:
        name, options = default_registry().read(value)
        for key in _SHAPE:
            if key in options:
                wanted = f"left out: {', '.join(_SHAPE)} are inherited from the wrapper"
                raise ArgumentError(key, options[key], wanted)
        return make_family(name, **options, **shape)
    except ArgumentError as error:
        raise ArgumentError(f"{field.name}.{error.argument}", error.given, error.wanted) from None


def family_option(default: str, **options: Any) -> Any:
    """An attrs field for the inner family of a wrapper's spec.

    It accepts a family, text (``"e2lsh:width=2.5"``) or plain data (``{"family": "e2lsh", "width": 2.5}``).
    dim, n_hashes, n_tables and seed are inherited from the wrapper; do not set them. It is stored as plain
    data.

    Parameters
    ----------
    default : str
        Name of the default family.
    **options
        Options of the default family.

    Returns
    -------
    attrs field
    """
    converter = attrs.Converter(_inner_family, takes_self=True, takes_field=True)
    return attrs.field(default={"family": default, **options}, converter=converter)


specs.write_as(HashFamily, _inner_to_dict)
