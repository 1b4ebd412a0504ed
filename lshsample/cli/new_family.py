"""The new-family command: a starter package for a hash family."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lshsample.cli.app import output
from lshsample.scaffold import write_package

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
        Path, typer.Option(help="The folder in which the package folder NAME is created.")
    ] = Path(),
) -> None:
    """Write a package with a new hash family: collision probability, tests, benchmark, and packaging."""
    folder = dest / name
    lines = [str(folder / path) for path in write_package(name, kind.value, folder)]
    lines += [
        "",
        "pip install 'setuptools>=77'",
        f"pip install --no-build-isolation '{folder.absolute()}[test]'",
        f"pytest {folder / 'tests'}",
        "lshsample families",
    ]
    output.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
