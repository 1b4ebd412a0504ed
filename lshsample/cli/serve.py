"""The serve command: predictions of a classifier over HTTP; and the reasons for a label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lshsample.cli.app import Threads
from lshsample.cli.messages import say, set_verbosity

__all__ = ["serve"]

_LIMITS = "Limits"


def serve(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a classifier, written by train --save.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer requests.")] = 1,
    threads: Threads = None,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.", rich_help_panel=_LIMITS)] = 1
    << 20,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows of a request.", rich_help_panel=_LIMITS)] = 256,
    max_top: Annotated[
        int, typer.Option(min=1, help="Labels per row that can be asked for.", rich_help_panel=_LIMITS)
    ] = 100,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=1, help="Requests that wait in a worker; more are refused.", rich_help_panel=_LIMITS
        ),
    ] = 64,
    timeout: Annotated[
        float, typer.Option(help="Seconds until a waiting request is refused.", rich_help_panel=_LIMITS)
    ] = 10.0,
) -> None:
    """Serve the predictions of a classifier over HTTP, and a page to try it on.

    A new version that is saved to the folder is served at once. Ctrl-C or SIGTERM ends the server when the
    requests that have begun are answered.
    """
    from lshsample.serve import ServeSettings, run
    from lshsample.xc import Classifier

    settings = ServeSettings(
        model=model,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        max_body=max_body,
        max_rows=max_rows,
        max_top=max_top,
        max_waiting=max_waiting,
        timeout=timeout,
    )
    with set_verbosity(quiet=False, verbose=False):
        Classifier.load(settings.model)  # what cannot be served is refused before the port is taken
        run(settings, lambda address: say(f"serving {model} on {address} (Ctrl-C ends it)"))
