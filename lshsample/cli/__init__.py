"""The command line: ``lshsample train``, ``lshsample predict`` and the rest; see ``lshsample --help``."""

from __future__ import annotations

import sys
import warnings

from rich.console import Console

from lshsample.errors import LshsampleError

__all__ = ["main"]


def main() -> None:
    """Run a command; errors that a user can correct are one line on standard error, with exit status 2."""
    try:
        # Imported here, since an installation without its C core is such an error too.
        from lshsample.cli.commands import app, show_warning

        warnings.showwarning = show_warning
        app(prog_name="lshsample")
    except (LshsampleError, OSError, MemoryError) as error:
        console = Console(stderr=True)
        console.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
