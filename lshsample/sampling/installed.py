"""Finds sampler stages by name among the installed plugins, as :mod:`lshsample.registry` finds families."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from lshsample.errors import PluginError
from lshsample.registry import hook_results, installed_plugins
from lshsample.sampling.stage import Stage

__all__ = ["StageRegistry"]


class StageRegistry:
    """The stages of a set of plugins.

    Parameters
    ----------
    plugins : iterable of (str, object)
        Names and plugins (modules or objects with hooks).
    builtin : collection of str
        Names of the built-in stages, which no plugin may take.

    Raises
    ------
    PluginError
        A hook is broken, what it returns is not a dict of stage classes under their own names, or a name is
        taken. The message names the plugin.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]], builtin: Collection[str] = ()) -> None:
        self._stages: dict[str, type[Stage]] = {}
        self._owners: dict[str, str] = {}
        for owner, found in hook_results(plugins, "lshsample_sampler_stages", "SamplerStage"):
            for name, cls in found.items():
                _check_class(owner, name, cls)
                taken = "lshsample itself" if name in builtin else self._owners.get(name)
                if taken is not None:
                    raise PluginError(
                        f"plugin {owner}: claims the stage name {name!r}, which {taken} has; "
                        "one of the two must rename its stage"
                    )
                self._stages[name], self._owners[name] = cls, owner

    @classmethod
    def installed(cls, builtin: Collection[str] = ()) -> StageRegistry:
        """The registry of every plugin that is installed."""
        return cls(installed_plugins(), builtin)

    def stages(self) -> dict[str, type[Stage]]:
        """Names and classes of the stages, by name."""
        return dict(sorted(self._stages.items()))

    def owner(self, name: str) -> str | None:
        """The plugin that brings a stage; None for a stage that no plugin brings."""
        return self._owners.get(name)


def _check_class(owner: str, name: Any, cls: Any) -> None:
    where = f"plugin {owner}: stage {name!r}"
    if not (isinstance(cls, type) and issubclass(cls, Stage)):
        raise PluginError(f"{where} is {cls!r}; wanted a subclass of SamplerStage")
    if name != cls.name:
        raise PluginError(f"{where}: wanted the name of its class, {cls.name!r}, which its text shows")
    if "__attrs_attrs__" not in vars(cls):
        raise PluginError(f"{where}: {cls.__qualname__} is not a frozen attrs class (@attrs.frozen)")
    if cls.apply is Stage.apply:
        raise PluginError(f"{where}: {cls.__qualname__} lacks apply")
