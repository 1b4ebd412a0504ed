"""The installed plugins, their hooks, and registries of the classes that hooks return.

A plugin is an entry point of the group ``lshsample``. One that is broken, or claims a name that another
plugin has, is left out, alone, with a :class:`~lshsample.errors.PluginWarning` that names it; the others are
not affected. Registries that are made from given plugins raise the error instead.
"""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar

import pluggy

from lshsample import hookspecs
from lshsample.errors import PluginError, PluginWarning, did_you_mean
from lshsample.hookspecs import GROUP

__all__ = [
    "NO_PLUGINS",
    "InstalledPlugins",
    "Plugins",
    "Registry",
    "describe_error",
    "installed_plugins",
]

C = TypeVar("C")

#: The environment variable with the names of plugins that are not loaded, separated by commas.
NO_PLUGINS = "LSHSAMPLE_NO_PLUGINS"

_HOOKS = [name for name in vars(hookspecs) if name.startswith("lshsample_")]


def describe_error(error: BaseException) -> str:
    """An exception's class and message."""
    return f"{type(error).__name__}: {error}"


class Plugins:
    """Plugins whose hooks are registered and checked.

    Parameters
    ----------
    plugins : iterable of (str, object)
        Names and plugins (modules or objects with hooks).

    Raises
    ------
    PluginError
        A plugin has no hooks, a hook of the wrong signature, one that is not in :mod:`lshsample.hookspecs`,
        or one that is not marked with ``@hookimpl``. The message names the plugin.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]]) -> None:
        #: The errors of plugins that were left out.
        self.failures: dict[str, PluginError] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        for name, plugin in plugins:
            self.register(name, plugin)

    def register(self, name: str, plugin: object) -> None:
        """Add a plugin; PluginError if its hooks are not valid."""
        try:
            _check_marks(name, plugin)
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.get_plugin(name) is plugin:
                self._manager.unregister(plugin)
            raise PluginError(f"plugin {name}: {error}") from error

    def refuse(self, name: str, error: PluginError) -> None:
        """Called for a plugin whose hook fails: raises the error."""
        raise error

    def distribution(self, name: str) -> tuple[str, str] | None:
        """Name and version of the distribution that a plugin was installed by; None if it was not."""
        return None

    def results(self, hook: str, classes: str) -> list[tuple[str, dict[Any, Any]]]:
        """What each plugin's hook of a name returns, with the plugin's name.

        Parameters
        ----------
        hook : str
            A hook of :mod:`lshsample.hookspecs`.
        classes : str
            Name of the base class of the hook's classes, for errors.

        Raises
        ------
        PluginError
            A hook is a wrapper, fails, or does not return a dict; the message names the plugin.
        """
        found = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                found.append((implementation.plugin_name, _call(implementation, hook, classes)))
            except PluginError as error:
                self.refuse(implementation.plugin_name, error)
        return found


class InstalledPlugins(Plugins):
    """The entry points of the group ``lshsample``: those that work.

    Those that :data:`NO_PLUGINS` names are not loaded. A broken one is left out, with a warning.
    """

    def __init__(self) -> None:
        super().__init__(())
        self._distributions: dict[str, tuple[str, str]] = {}
        self._states: dict[str, str] = {}
        self._points: dict[str, str] = {}
        for point in _entry_points():
            label = _label(point)
            self._points[label] = point.name
            if _names(point) & _switched_off():
                self._states[label] = "switched off"
                continue
            if point.dist is not None:
                self._distributions[label] = point.dist.name, point.dist.version
            self._states[label] = " ".join(self._distributions.get(label, ("no version",))[1:])
            try:
                self.register(label, _load(point, label))
            except PluginError as error:
                self.refuse(label, error)

    def refuse(self, name: str, error: PluginError) -> None:
        """Record the failure of a plugin, and warn of it."""
        self.failures[name] = error
        self._states[name] = "left out"
        off = f"{NO_PLUGINS}={self._points[name]} switches it off"
        warnings.warn(f"{error}; it is left out ({off})", PluginWarning, stacklevel=2)

    def distribution(self, name: str) -> tuple[str, str] | None:
        """Name and version of the distribution that a plugin was installed by; None if it was not."""
        return self._distributions.get(name)

    def states(self) -> dict[str, str]:
        """The version of each plugin, or that it is switched off or was left out."""
        return dict(self._states)


@functools.cache
def installed_plugins() -> InstalledPlugins:
    """The installed plugins, loaded at the first call.

    Warns
    -----
    PluginWarning
        An installed plugin is broken.
    """
    return InstalledPlugins()


def _entry_points() -> list[metadata.EntryPoint]:
    """In an order that does not depend on the path: lshsample's own first, which no other can replace."""

    def place(point: metadata.EntryPoint) -> tuple[bool, str, str]:
        owner = point.dist.name if point.dist else ""
        return owner != GROUP, owner, point.name

    return sorted(metadata.entry_points(group=GROUP), key=place)


def _names(point: metadata.EntryPoint) -> set[str]:
    """The names that a plugin is switched off by: its entry point's, its distribution's, its module's."""
    return {point.name, point.value, *([point.dist.name] if point.dist else [])}


def _switched_off() -> set[str]:
    return {name.strip() for name in os.environ.get(NO_PLUGINS, "").split(",")} - {""}


def switch_off(names: Iterable[str]) -> None:
    """Do not load plugins of these names, in this process and in those that it starts.

    Raises
    ------
    PluginError
        No plugin is installed under a name.
    """
    known = sorted(set().union(*(_names(point) for point in _entry_points())))
    chosen = list(names)
    for name in chosen:
        if name not in known:
            raise PluginError(
                f"no plugin {name!r} is installed{did_you_mean(name, known)} (there are {', '.join(known)})"
            )
    os.environ[NO_PLUGINS] = ",".join(sorted(_switched_off() | set(chosen)))
    installed_plugins.cache_clear()


def _label(point: metadata.EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist else ""
    return f"{point.name!r}{package} ({point.value})"


def _load(point: metadata.EntryPoint, label: str) -> object:
    # A plugin's code is foreign: SystemExit while it is imported is one of its errors, too.
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {label}: cannot be imported: {describe_error(error)}") from error


def _check_marks(name: str, plugin: object) -> None:
    """Refuse functions with the name of a hook that are not marked, and plugins without any hook."""
    marked = 0
    for attribute in dir(plugin):
        member = inspect.getattr_static(plugin, attribute, None)
        member = getattr(member, "__func__", member)
        if hasattr(member, f"{GROUP}_impl"):
            marked += 1
        elif (
            attribute.startswith(f"{GROUP}_")
            and inspect.isfunction(member)
            and not hasattr(member, f"{GROUP}_spec")
        ):
            raise PluginError(f"plugin {name}: the function {attribute} lacks the decorator @hookimpl")
    if not marked:
        raise PluginError(f"plugin {name}: it has no hooks, expected one of {', '.join(_HOOKS)}")


def _call(hook: pluggy.HookImpl, name: str, classes: str) -> dict[Any, Any]:
    where = f"plugin {hook.plugin_name}: {name}"
    if hook.hookwrapper or hook.wrapper:
        raise PluginError(f"{where} is a hook wrapper, expected a plain hook")
    try:
        found = hook.function()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{where} raised {describe_error(error)}") from error
    if not isinstance(found, dict):
        raise PluginError(
            f"{where} returned {type(found).__name__}, expected a dict of names to {classes} classes"
        )
    return found


class Registry(ABC, Generic[C]):
    """Classes by name, with the plugins that they come from.

    Parameters
    ----------
    plugins : Plugins, or iterable of (str, object)
        The plugins; or their names, and modules or objects with hooks.
    reserved : collection of str
        Names that no plugin may take.

    Raises
    ------
    PluginError
        A hook is broken, or returns a class that breaks its contract or a name that is taken. The message
        names the plugin. Of the installed plugins, all that such a hook returns is left out with a warning.
    """

    #: The hook that returns the classes.
    hook: ClassVar[str]
    #: What one of them is called, and the class that they are subclasses of.
    kind: ClassVar[str]
    base: ClassVar[type[Any]]

    def __init__(
        self, plugins: Plugins | Iterable[tuple[str, object]], reserved: Collection[str] = ()
    ) -> None:
        self._plugins = plugins if isinstance(plugins, Plugins) else Plugins(plugins)
        self._classes: dict[str, type[C]] = {}
        self._owners: dict[str, str] = {}
        results = self._plugins.results(self.hook, self.base_name())
        for owner, found in results:
            try:
                for name, cls in found.items():
                    self._check(owner, name, cls, reserved)
            except PluginError as error:
                self._plugins.refuse(owner, error)
                continue
            self._classes |= found
            self._owners |= dict.fromkeys(found, owner)

    def _check(self, owner: str, name: Any, cls: Any, reserved: Collection[str]) -> None:
        where = f"plugin {owner}: {self.kind} {name!r}"
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise PluginError(f"{where} is {cls!r}, expected a subclass of {self.base_name()}")
        self.check(where, name, cls)
        taken = "lshsample itself" if name in reserved else self._owners.get(name)
        if taken is not None:
            raise PluginError(
                f"plugin {owner}: claims the {self.kind} name {name!r}, which {taken} has; one of the two "
                "must be renamed or uninstalled"
            )

    @classmethod
    def base_name(cls) -> str:
        """The class that plugins subclass, by name."""
        return cls.base.__name__

    @abstractmethod
    def check(self, where: str, name: Any, cls: type[C]) -> None:
        """Raise PluginError for a name or class that breaks the contract; ``where`` begins its message."""

    def classes(self) -> dict[str, type[C]]:
        """Names and classes, by name."""
        return dict(sorted(self._classes.items()))

    def owner(self, name: str) -> str | None:
        """The plugin that a class comes from; None for a name that no plugin has."""
        return self._owners.get(name)

    def distribution(self, name: str) -> tuple[str, str] | None:
        """Name and version of the distribution that a class comes from; None for other classes."""
        return self._plugins.distribution(self._owners[name]) if name in self._owners else None

    def hint(self, name: object) -> str:
        """For errors with a name that no plugin has: the one that may be meant, and the plugins left out."""
        return did_you_mean(name, self._classes) + self.lost()

    def lost(self) -> str:
        """For errors with an unknown name: the plugins that were left out, which may have it."""
        return "".join(f"; left out: {error}" for error in self._plugins.failures.values())
