"""The command line: ``lshsample train``, ``lshsample predict`` and the rest; see ``lshsample --help``."""

from __future__ import annotations

import signal
import sys
import warnings
from types import FrameType

from lshsample.errors import LshsampleError

__all__ = ["main"]


class _Interrupted(BaseException):
    """A signal that ends the command; no ``except Exception`` takes it for an error."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise _Interrupted(number)


def main() -> None:
    """Run a command.

    Errors that a user can correct are one line on standard error, with exit status 2. After SIGINT (Ctrl-C),
    SIGTERM and SIGHUP the exit status is 130, 143 and 129.
    """
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
        # Imported here, since an installation without its C core is such an error too.
        from lshsample.cli.commands import app, show_warning

        warnings.showwarning = show_warning
        app(prog_name="lshsample")
    except _Interrupted as error:
        sys.stderr.write(f"interrupted ({signal.Signals(error.args[0]).name})\n")
        sys.exit(128 + error.args[0])
    except (LshsampleError, OSError, MemoryError) as error:
        from rich.console import Console

        console = Console(stderr=True)
        console.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
