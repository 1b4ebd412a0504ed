"""Sampler stages of the installed plugins, by name; :mod:`lshsample.registry` does the same for families."""

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
        The plugins, or pairs of a name and a module or object with hooks.
    reserved : collection of str
        Names of the built-in stages, which plugins must not use.

    Raises
    ------
    PluginError
        A hook fails, it does not return a dict from class names to stage classes, or a name is already in
        use. The message contains the plugin's name.
    """

    hook = "lshsample_sampler_stages"
    kind = "stage"
    base = Stage

    @classmethod
    def base_name(cls) -> str:
        """The public base class, which plugins subclass."""
        return "SamplerStage"

    @classmethod
    def installed(cls, reserved: Collection[str] = ()) -> StageRegistry:
        """The registry of all installed plugins."""
        return cls(installed_plugins(), reserved)

    def check(self, where: str, name: Any, cls: type[Stage]) -> None:
        """Raise PluginError for a class that cannot be written in a pipeline's text under this name."""
        if name != cls.name:
            raise PluginError(f"{where}: expected the name of the class, {cls.name!r}, which pipelines print")
        if "__attrs_attrs__" not in vars(cls):
            raise PluginError(f"{where}: {cls.__qualname__} is not a frozen attrs class (@attrs.frozen)")
        if cls.apply is Stage.apply:
            raise PluginError(f"{where}: {cls.__qualname__} lacks apply")

    def stages(self) -> dict[str, type[Stage]]:
        """Classes of the stages by name."""
        return self.classes()
