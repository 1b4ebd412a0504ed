"""The hooks of plugins: pluggy's markers and the specification of each hook."""

from __future__ import annotations

from typing import Any

import pluggy

from lshsample.family import HashFamily

__all__ = ["GROUP", "hookimpl", "hookspec", "lshsample_hash_families", "lshsample_sampler_stages"]

#: The group of entry points of plugins, and pluggy's project name.
GROUP = "lshsample"

#: Marks the hooks of a plugin.
hookimpl = pluggy.HookimplMarker(GROUP)
hookspec = pluggy.HookspecMarker(GROUP)


@hookspec
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """Return the plugin's hash families as a dict of names to classes. A name belongs to one plugin only."""
    raise NotImplementedError


@hookspec
def lshsample_sampler_stages() -> dict[str, type[Any]]:
    """Return the plugin's stages, subclasses of :class:`~lshsample.plugin.SamplerStage`, as a dict of names
    to classes. The name is that of the class, and belongs to one plugin only.
    """
    raise NotImplementedError
