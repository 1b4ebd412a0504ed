"""Sampler stages by name among the installed plugins, as :mod:`lshsample.registry` finds families."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lshsample.errors import PluginError
from lshsample.plugin_manager import Registry, installed_plugins
from lshsample.sampling.stage import Stage

__all__ = ["StageRegistry"]


class StageRegistry(Registry[Stage]):
    """The stages of a set of plugins.

    Parameters
    ----------
    plugins : Plugins, or iterable of (str, object)
        The plugins; or their names, and modules or objects with hooks.
    reserved : collection of str
        Names of the built-in stages, which no plugin may take.

    Raises
    ------
    PluginError
        A hook is broken, what it returns is not a dict of stage classes under their own names, or a name is
        taken. The message names the plugin.
    """

    hook = "lshsample_sampler_stages"
    kind = "stage"
    base = Stage

    @classmethod
    def base_name(cls) -> str:
        """What plugins subclass: :class:`Stage` with ``|``."""
        return "SamplerStage"

    @classmethod
    def installed(cls, reserved: Collection[str] = ()) -> StageRegistry:
        """The registry of every plugin that is installed."""
        return cls(installed_plugins(), reserved)

    def check(self, where: str, name: Any, cls: type[Stage]) -> None:
        """Raise PluginError for a class that cannot stand in a pipeline's text under its name."""
        if name != cls.name:
            raise PluginError(f"{where}: wanted the name of its class, {cls.name!r}, which its text shows")
        if "__attrs_attrs__" not in vars(cls):
            raise PluginError(f"{where}: {cls.__qualname__} is not a frozen attrs class (@attrs.frozen)")
        if cls.apply is Stage.apply:
            raise PluginError(f"{where}: {cls.__qualname__} lacks apply")

    def stages(self) -> dict[str, type[Stage]]:
        """Names and classes of the stages, by name."""
        return self.classes()
