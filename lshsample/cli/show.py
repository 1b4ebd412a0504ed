"""Commands that list families and stages, and describe the installation."""

from __future__ import annotations

import inspect
import platform
import re
from typing import Annotated, Any

import attrs
import typer
from rich.markup import escape
from rich.table import Column, Table

import lshsample
from lshsample import specs
from lshsample._native import core
from lshsample._native.sources import stale_extensions
from lshsample.cli.app import console, output
from lshsample.family import FamilySpec, HashFamily
from lshsample.plugin import get_include
from lshsample.plugin_manager import installed_plugins
from lshsample.registry import default_registry, named_family
from lshsample.sampling import NAMED_PIPELINES, named_pipeline
from lshsample.sampling import stages as all_stages
from lshsample.sampling.stage import plain_fields
from lshsample.sampling.text import stage_registry
from lshsample.xc import PRESETS, Recipe

__all__ = ["families", "info", "presets", "stages"]


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


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this recipe as TOML.")] = None,
) -> None:
    """List the recipes of `lshsample train --preset`, or print one as TOML, for --config."""
    if name is not None:
        output.print(Recipe.preset(name).to_toml(), end="", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table("recipe", "parts", "networks", box=None)
    for one in PRESETS:
        recipe = Recipe.preset(one)
        table.add_row(one, ", ".join(recipe.parts), str(recipe.n_networks if recipe.network else 0))
    output.print(table)
    output.print(
        "parts: linear functions of the features; the nearest training rows (rows), also by the hidden"
    )
    output.print("vectors of the network (hidden). `lshsample presets NAME` prints one.", markup=False)


def families(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Describe this family and its options.")
    ] = None,
) -> None:
    """List the installed hash families, built-in and from plugins, or describe one and its options."""
    registry = default_registry()
    if name is not None:
        _describe(named_family(name, "NAME")[0])
        return
    columns = Column("name", no_wrap=True), Column("similarity", max_width=16, overflow="fold")
    table = Table(*columns, "description, options, plugin", show_lines=True)
    for name, cls in registry.families().items():
        assert issubclass(cls, HashFamily)
        about = (_first_line(cls), _options(cls.Spec), registry.owner(name))
        table.add_row(escape(name), escape(cls.similarity), escape("\n".join(filter(None, about))))
    output.print(table)


def _describe(name: str) -> None:
    """A family's description, and the meaning, default and range of each option."""
    registry = default_registry()
    cls = registry.families()[name]
    text = inspect.cleandoc(cls.__doc__ or "")
    about = _plain(re.split(r"\n\n[A-Z][A-Za-z ]+\n-{3,}\n", text)[0])
    owner, distribution = registry.owner(name), registry.distribution(name)
    version = f", version {distribution[1]}" if distribution else ""
    lines = [name, "", about, "", f"similarity: {cls.similarity}", f"plugin: {owner}{version}"]
    output.print("\n".join(lines), markup=False, highlight=False)
    table = Table("option", "default", "allowed", Column("meaning", overflow="fold"), show_lines=True)
    meanings = _meanings(cls.Spec)
    for field in attrs.fields(cls.Spec):
        default = _default(field).removeprefix("=") or "required"
        words = (field.name, default, specs.allowed(field), meanings.get(field.name, ""))
        table.add_row(*map(escape, words))
    output.print(table)


def _meanings(spec: type[FamilySpec]) -> dict[str, str]:
    """What the docstrings of a spec's class and of its bases say of each attribute, as numpydoc has them."""
    found: dict[str, str] = {}
    for cls in spec.__mro__:
        section = re.split(r"\nAttributes\n-+\n", inspect.cleandoc(cls.__doc__ or ""))[1:]
        for entry in re.split(r"\n(?=\S)", section[0] if section else ""):
            head, _, body = entry.partition("\n")
            for name in head.partition(" :")[0].split(", "):
                found.setdefault(name.strip(), _plain(body))
    return found


def _plain(text: str) -> str:
    """Text of a docstring without its markup, each paragraph in one line."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


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
    """Show the version, the machine, the plugins, and the instruction sets that the C core can use."""
    facts = [
        ("lshsample", lshsample.__version__),
        ("Python", platform.python_version()),
        ("machine", platform.machine()),
        ("processors", str(core.processors())),
        ("instruction set", f"{core.isa()} (of {', '.join(core.available_isas())})"),
        ("C headers", get_include()),
        *(("plugin", f"{label}: {state}") for label, state in installed_plugins().states().items()),
    ]
    # Lines, not a table: a path that is there to be copied is neither cut nor folded.
    for name, value in facts:
        output.print(f"{name:<16} {value}", markup=False, highlight=False, soft_wrap=True)
    for message in stale_extensions():
        console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)
