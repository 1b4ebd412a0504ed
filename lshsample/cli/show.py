"""Commands that list families and stages, and describe the installation."""

from __future__ import annotations

import platform
from typing import Any

import attrs
from rich.markup import escape
from rich.table import Column, Table

import lshsample
from lshsample._native import core
from lshsample._native.sources import stale_extensions
from lshsample.cli.app import console, output
from lshsample.family import FamilySpec, HashFamily
from lshsample.plugin import get_include
from lshsample.registry import default_registry
from lshsample.sampling import NAMED_PIPELINES, named_pipeline
from lshsample.sampling import stages as all_stages
from lshsample.sampling.stage import plain_fields
from lshsample.sampling.text import stage_registry

__all__ = ["families", "info", "stages"]


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0].replace("``", "")


def _options(spec: type[FamilySpec]) -> str:
    """The options of a family, with their defaults."""
    common = {field.name for field in attrs.fields(FamilySpec)}
    own = [field for field in attrs.fields(spec) if field.name not in common]
    return ", ".join(f"{field.name}{_default(field)}" for field in own)


def _default(field: attrs.Attribute[Any]) -> str:
    """``=value``; empty for a required option."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if default is attrs.NOTHING:
        return ""
    return f"={default:.4g}" if isinstance(default, float) else f"={default!r}"


def families() -> None:
    """List the installed hash families, built-in and from plugins."""
    registry = default_registry()
    columns = Column("name", no_wrap=True), Column("similarity", max_width=16, overflow="fold")
    table = Table(*columns, "description, options, plugin", show_lines=True)
    for name, cls in registry.families().items():
        assert issubclass(cls, HashFamily)
        about = (_first_line(cls), _options(cls.Spec), registry.owner(name))
        table.add_row(escape(name), escape(cls.similarity), escape("\n".join(filter(None, about))))
    output.print(table)


def stages() -> None:
    """List the stages of sampler pipelines, and the named pipelines."""
    table = Table("stage", "description", "plugin")
    for name, cls in all_stages().items():
        options = ", ".join(field.name for field in plain_fields(cls))
        owner = stage_registry().owner(name) or "built in"
        table.add_row(f"{name}({options})", _first_line(cls), owner)
    output.print(table)
    named = Table("named pipeline", "for 100,000 units and 2,000 active ones")
    for name in NAMED_PIPELINES:
        named.add_row(name, str(named_pipeline(name, n_active=2_000, n_items=100_000)))
    output.print(named)


def info() -> None:
    """Show the version, the machine, and the instruction sets that the C core can use."""
    table = Table(show_header=False)
    table.add_row("lshsample", lshsample.__version__)
    table.add_row("Python", platform.python_version())
    table.add_row("machine", platform.machine())
    table.add_row("processors", str(core.processors()))
    table.add_row("instruction set", f"{core.isa()} (of {', '.join(core.available_isas())})")
    table.add_row("C headers", get_include())
    output.print(table)
    for message in stale_extensions():
        console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)
