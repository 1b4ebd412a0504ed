"""The new-family command: a starter package for a hash family."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from lshsample.cli.app import output
from lshsample.errors import ArgumentError
from lshsample.scaffold import add_kernel, write_package

__all__ = ["new_family"]


class KindName(StrEnum):
    """How the kernel of the family is compiled."""

    python = "python"
    numba = "numba"
    c = "c"
    cffi = "cffi"


def new_family(
    name: Annotated[str, typer.Argument(help="The family's name, such as my-signs.")],
    kind: Annotated[
        KindName,
        typer.Option(
            help="python: NumPy alone. numba: a compiled Python function. c: a shared library, through "
            "ctypes. cffi: a cffi module."
        ),
    ] = KindName.python,
    dest: Annotated[
        Path | None,
        typer.Option(help="The folder in which the package folder NAME is created; by default the current."),
    ] = None,
    from_package: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of a package that has the family NAME in NumPy: a kernel is added, with a "
            "test that compares its codes with those of the NumPy reference.",
        ),
    ] = None,
) -> None:
    """Write a package with a new hash family: collision probability, tests, benchmark, and packaging."""
    if from_package is None:
        folder = (dest or Path()) / name
        lines = [str(folder / path) for path in write_package(name, kind.value, folder)]
    elif dest is not None:
        raise ArgumentError("dest", str(dest), "left out with --from-package, which names the folder")
    else:
        folder = from_package
        added, extended = add_kernel(name, kind.value, folder)
        lines = [str(folder / path) for path in added]
        lines += [f"{folder / path}: lines added" for path in extended]
    lines += [
        "",
        f"cd {quote(str(folder.absolute()))}",
        "pip install 'setuptools>=77'",
        "pip install --no-build-isolation -e '.[test]'",
        "pytest",
        "lshsample families",
    ]
    output.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
