"""The installed plugins, their hooks, and registries of the classes that hooks return.

A plugin is an entry point of the group ``lshsample``. A plugin that is broken, or claims a name that another
plugin has, is an error that names it: a class that is silently missing or replaced would change results.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar

import pluggy

from lshsample import hookspecs
from lshsample.errors import PluginError
from lshsample.hookspecs import GROUP

__all__ = ["Plugins", "Registry", "describe_error", "installed_plugins"]

C = TypeVar("C")


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
        A plugin has a hook of the wrong signature, or one that is not in :mod:`lshsample.hookspecs`. The
        message names the plugin.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]]) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        for name, plugin in plugins:
            self._register(name, plugin)

    @classmethod
    def installed(cls) -> Plugins:
        """Every entry point of the group ``lshsample``, loaded."""
        return cls((_entry_label(point), _load(point)) for point in metadata.entry_points(group=GROUP))

    def _register(self, name: str, plugin: object) -> None:
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name}: {error}") from error

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
        return [
            (implementation.plugin_name, _call(implementation, hook, classes))
            for implementation in getattr(self._manager.hook, hook).get_hookimpls()
        ]


@functools.cache
def installed_plugins() -> Plugins:
    """The installed plugins, loaded at the first call.

    Raises
    ------
    PluginError
        An installed plugin is broken; the next call tries again.
    """
    return Plugins.installed()


def _entry_label(point: metadata.EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist else ""
    return f"{point.name!r}{package} ({point.value})"


def _load(point: metadata.EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {_entry_label(point)}: cannot be imported: {describe_error(error)}"
        ) from error


def _call(hook: pluggy.HookImpl, name: str, classes: str) -> dict[Any, Any]:
    where = f"plugin {hook.plugin_name}: {name}"
    if hook.hookwrapper or hook.wrapper:
        raise PluginError(f"{where} is a hook wrapper, expected a plain hook")
    try:
        found = hook.function()
    except Exception as error:
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
        names the plugin.
    """

    #: The hook that returns the classes.
    hook: ClassVar[str]
    #: What one of them is called, and the class that they are subclasses of.
    kind: ClassVar[str]
    base: ClassVar[type[Any]]

    def __init__(
        self, plugins: Plugins | Iterable[tuple[str, object]], reserved: Collection[str] = ()
    ) -> None:
        plugins = plugins if isinstance(plugins, Plugins) else Plugins(plugins)
        self._classes: dict[str, type[C]] = {}
        self._owners: dict[str, str] = {}
        for owner, found in plugins.results(self.hook, self.base_name()):
            for name, cls in found.items():
                self._add(owner, name, cls, reserved)

    def _add(self, owner: str, name: Any, cls: Any, reserved: Collection[str]) -> None:
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
        self._classes[name], self._owners[name] = cls, owner

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
