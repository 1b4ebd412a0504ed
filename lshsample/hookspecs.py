"""The hooks of plugins: pluggy's markers, and the specification of each hook."""

from __future__ import annotations

from typing import Any

import pluggy

from lshsample.family import HashFamily

__all__ = ["GROUP", "hookimpl", "hookspec", "lshsample_hash_families", "lshsample_sampler_stages"]

#: The group of entry points that plugins are found in, and the name of their hooks' project.
GROUP = "lshsample"

#: Marks a plugin's hooks.
hookimpl = pluggy.HookimplMarker(GROUP)
hookspec = pluggy.HookspecMarker(GROUP)


@hookspec
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """Return the plugin's families: name to class. A name that another plugin has taken is an error."""
    raise NotImplementedError


@hookspec
def lshsample_sampler_stages() -> dict[str, type[Any]]:
    """Return the plugin's stages (subclasses of :class:`~lshsample.plugin.SamplerStage`): name, which is the
    class's own, to class. A taken name is an error.
    """
    raise NotImplementedError
