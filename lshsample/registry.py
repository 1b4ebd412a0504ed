"""Finds hash families by name among the installed plugins, and makes them from options or plain data.

A plugin is an entry point of the group ``lshsample`` (the built-in families are one). A plugin that is
broken, or claims a name that another one has, is reported as soon as families are listed or made, by name: a
family that is silently missing or silently replaced would change results.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

import attrs
import pluggy
import tomli_w

from lshsample import hookspecs, specs
from lshsample.errors import ArgumentError, LshsampleError, PluginError
from lshsample.family import FamilySpec, HashFamily
from lshsample.hookspecs import GROUP

__all__ = [
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
    "hook_results",
    "installed_plugins",
    "make_family",
]

#: What a family inside another one's spec takes from the outer spec.
_SHAPE = ("dim", "n_hashes", "n_tables", "seed")
_NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")


class FamilyRegistry:
    """The families of a set of plugins.

    Parameters
    ----------
    plugins : iterable of (str, object)
        Names and plugins (modules or objects with hooks).

    Raises
    ------
    PluginError
        A plugin has a hook of the wrong signature or an unknown one, its hook fails, what it returns is not a
        dict of family classes, or two plugins claim one name. The message names the plugin.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]]) -> None:
        self._families: dict[str, type[HashFamily]] = {}
        self._owners: dict[str, str] = {}
        for owner, found in hook_results(plugins, "lshsample_hash_families", "HashFamily"):
            for family_name, cls in found.items():
                self._add(owner, family_name, cls)

    @classmethod
    def installed(cls) -> FamilyRegistry:
        """The registry of every plugin that is installed."""
        return cls(installed_plugins())

    def _add(self, owner: str, name: Any, cls: Any) -> None:
        _check_class(owner, name, cls)
        if name in self._families:
            raise PluginError(
                f"plugin {owner}: claims the family name {name!r}, which plugin {self._owners[name]} has; "
                "one of the two must be uninstalled or rename its family"
            )
        self._families[name], self._owners[name] = cls, owner

    def families(self) -> dict[str, type[HashFamily]]:
        """Names and classes of the families, by name."""
        return dict(sorted(self._families.items()))

    def owner(self, name: str) -> str:
        """The plugin that brings a family."""
        self._class(name)
        return self._owners[name]

    def name_of(self, family: HashFamily) -> str:
        """The name that a family's class is registered under."""
        for name, cls in self._families.items():
            if cls is type(family):
                return name
        raise ArgumentError("family", type(family).__qualname__, f"a registered family ({self._known()})")

    def make(self, name: str, **options: Any) -> HashFamily:
        """A family by name; see :func:`make_family`."""
        cls = self._class(name)
        spec = specs.from_dict(cls.Spec, options)
        try:
            return cls(spec)
        except (LshsampleError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(
                f"plugin {self._owners[name]}: {cls.__qualname__} raised {_words(error)}"
            ) from error

    def to_dict(self, family: HashFamily) -> dict[str, Any]:
        """A family as plain data, with its name under ``"family"``."""
        data = {"family": self.name_of(family), **specs.to_dict(family.spec)}
        for key, value in data.items():
            if not isinstance(value, (str, int, float, list, tuple, dict)):
                raise ArgumentError(
                    f"{type(family.spec).__name__}.{key}",
                    f"{value!r}",
                    "plain data, to be stored (a function that can be imported has a path)",
                )
        return data

    def from_dict(self, data: Mapping[str, Any]) -> HashFamily:
        """A family from what :meth:`to_dict` gave."""
        if not isinstance(data, Mapping) or not isinstance(data.get("family"), str):
            raise ArgumentError("data", repr(data), 'a mapping with the name of a family under "family"')
        options = dict(data)
        return self.make(options.pop("family"), **options)

    def _class(self, name: str) -> type[HashFamily]:
        if not isinstance(name, str) or name not in self._families:
            raise ArgumentError("name", repr(name), f"the name of a family ({self._known()})")
        return self._families[name]

    def _known(self) -> str:
        return ", ".join(sorted(self._families)) or "no plugin is installed"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _entry_label(point: metadata.EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist else ""
    return f"{point.name!r}{package} ({point.value})"


def _load(point: metadata.EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise PluginError(f"plugin {_entry_label(point)}: cannot be imported: {_words(error)}") from error


def installed_plugins() -> list[tuple[str, object]]:
    """Names and plugins of every entry point of the group ``lshsample``; a broken one is an error."""
    return [(_entry_label(point), _load(point)) for point in metadata.entry_points(group=GROUP)]


def hook_results(
    plugins: Iterable[tuple[str, object]], hook_name: str, wanted: str
) -> list[tuple[str, dict[Any, Any]]]:
    """What each plugin's hook of a name returns, with the plugin's name.

    Raises
    ------
    PluginError
        A hook of the wrong signature or an unknown one, a hook that fails or returns something else than a
        dict (of names to classes of the kind ``wanted``); the message names the plugin.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins:
        _register(manager, name, plugin)
    implementations = getattr(manager.hook, hook_name).get_hookimpls()
    return [(hook.plugin_name, _call_hook(hook, hook_name, wanted)) for hook in implementations]


def _register(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"plugin {name}: {error}") from error


def _call_hook(hook: pluggy.HookImpl, hook_name: str, wanted: str) -> dict[Any, Any]:
    where = f"plugin {hook.plugin_name}: {hook_name}"
    if hook.hookwrapper or hook.wrapper:
        raise PluginError(f"{where} is a hook wrapper; wanted a plain hook")
    try:
        found = hook.function()
    except Exception as error:
        raise PluginError(f"{where} raised {_words(error)}") from error
    if not isinstance(found, dict):
        raise PluginError(
            f"{where} returned {type(found).__name__}; wanted a dict of names to {wanted} classes"
        )
    return found


def _check_class(owner: str, name: Any, cls: Any) -> None:
    where = f"plugin {owner}: family {name!r}"
    if not isinstance(name, str) or not _NAME.match(name):
        raise PluginError(f"{where}: wanted a name of lower-case letters, digits, - and _")
    if not (isinstance(cls, type) and issubclass(cls, HashFamily)):
        raise PluginError(f"{where} is {cls!r}; wanted a subclass of HashFamily")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"{where}: {cls.__qualname__} lacks {missing}")
    if not (isinstance(cls.Spec, type) and issubclass(cls.Spec, FamilySpec) and attrs.has(cls.Spec)):
        raise PluginError(
            f"{where}: {cls.__qualname__}.Spec is {cls.Spec!r}; wanted a subclass of FamilySpec"
        )
    if not isinstance(getattr(cls, "similarity", None), str):
        raise PluginError(
            f"{where}: {cls.__qualname__}.similarity is missing; wanted a name such as 'cosine'"
        )


@functools.cache
def default_registry() -> FamilyRegistry:
    """The registry of the installed plugins, made when first asked for.

    Raises
    ------
    PluginError
        An installed plugin is broken; the next call tries again.
    """
    return FamilyRegistry.installed()


def families() -> dict[str, type[HashFamily]]:
    """Names and classes of the installed families.

    Raises
    ------
    PluginError
        An installed plugin is broken; the message names it.

    Examples
    --------
    >>> "simhash" in families()
    True
    """
    return default_registry().families()


def make_family(name: str, **options: Any) -> HashFamily:
    """A hash family by name.

    Parameters
    ----------
    name : str
        A name from :func:`families`.
    **options
        The fields of the family's spec: ``dim`` (needed), ``n_hashes`` (K), ``n_tables`` (L), ``seed``, and
        its own.

    Returns
    -------
    HashFamily

    Raises
    ------
    ArgumentError
        An unknown name or option, or a value out of range.
    PluginError
        An installed plugin is broken.

    Examples
    --------
    >>> make_family("simhash", dim=128, n_hashes=6, n_tables=50).code_bits
    6
    """
    return default_registry().make(name, **options)


def family_of_bits(name: str, code_bits: int, **options: Any) -> HashFamily:
    """A family with as many hashes as fit into codes of so many bits, and at least one.

    Parameters
    ----------
    name : str
        A name from :func:`families`.
    code_bits : int
        Bits of a code, from 1 to 32.
    **options
        As for :func:`make_family`, without ``n_hashes``.

    Examples
    --------
    >>> family_of_bits("dwta", 10, dim=32, window=8).n_hashes
    3
    """
    # Four hashes first: one alone may have fewer codes than the family probes by itself.
    for n_hashes in (4, 1):
        try:
            bits = make_family(name, n_hashes=n_hashes, **options).code_bits // n_hashes
            break
        except ArgumentError:
            if n_hashes == 1:
                raise
    return make_family(name, n_hashes=max(1, code_bits // bits), **options)


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
    if not isinstance(value, Mapping):
        raise ArgumentError(
            field.name, repr(value), 'a HashFamily, or a mapping with its name under "family"'
        )
    for name in _SHAPE:
        if name in value:
            raise ArgumentError(
                f"{field.name}.{name}",
                value[name],
                "the family's own options only: its shape is the outer one's",
            )
    try:
        return family_from_dict({**value, **shape})
    except ArgumentError as error:
        raise ArgumentError(f"{field.name}.{error.argument}", error.given, error.wanted) from None


def family_option(default: str, **options: Any) -> Any:
    """An attrs field that holds a family, for the spec of a family that wraps one.

    It takes a family, or its plain data: ``{"family": name}`` and the family's own options. Its dim,
    n_hashes, n_tables and seed are always those of the spec that it stands in. Written out it is plain
    data again.

    Parameters
    ----------
    default : str
        Name of the family where none is given.
    **options
        Its own options.

    Returns
    -------
    attrs field
    """
    converter = attrs.Converter(_inner_family, takes_self=True, takes_field=True)
    return attrs.field(default={"family": default, **options}, converter=converter)


specs.write_as(HashFamily, _inner_to_dict)
