"""The public plugin API: what a package needs to define custom hash families and sampler stages.

A plugin is a module (or object) that an entry point of the group ``lshsample`` names; its hooks are marked
with :data:`hookimpl`. The built-in families are such a plugin (``lshsample_families``), and import nothing
else of lshsample.
"""

from __future__ import annotations

from pathlib import Path

from lshsample._native.core import isa
from lshsample._native.labels import label_rows
from lshsample._native.sources import digest_of
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.family import (
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    QuantizingFamily,
    Rows,
    WrapperFamily,
    checked_rows,
    dense_rows,
)
from lshsample.hookspecs import hookimpl
from lshsample.registry import family_option
from lshsample.sampling import ActiveSet, Batch, Expected, Inclusion, Pairs, Population, SamplerStage
from lshsample.specs import integer, number, one_of

__all__ = [
    "ActiveSet",
    "ArgumentError",
    "Batch",
    "Codes",
    "Expected",
    "FamilySpec",
    "Floats",
    "HashFamily",
    "Inclusion",
    "NativeKernel",
    "Pairs",
    "PluginError",
    "Population",
    "QuantizingFamily",
    "Rows",
    "SamplerStage",
    "UnsupportedError",
    "WrapperFamily",
    "checked_rows",
    "dense_rows",
    "family_option",
    "get_include",
    "hookimpl",
    "integer",
    "isa",
    "label_rows",
    "number",
    "one_of",
    "source_digest",
]


def get_include() -> str:
    """The include directory of the C headers (``lshsample/family.h``, ``lshsample/simd.h``) for compilers."""
    here = Path(__file__).resolve().parent
    installed, checkout = here / "include", here.parent / "cext" / "include"
    return str(installed if installed.is_dir() else checkout)


def source_digest(folder: str | Path) -> str:
    """The SHA-256 digest of the C sources and headers in a folder, to be compiled into a plugin's library.

    :func:`lshsample.testing.stale_package` looks for it there, to recognise a library that was built from
    other sources than those in the folder.

    Parameters
    ----------
    folder : path
        The folder with the ``.c`` and ``.h`` files.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ArgumentError
        There are no such files.
    """
    digest = digest_of(Path(folder), ("**/*.c", "**/*.h"))
    if not digest:
        raise ArgumentError("folder", str(folder), "a folder with .c or .h files")
    return digest


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
