"""The export command: a classifier or a network as an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lshsample.cli.app import check_writable, output
from lshsample.cli.messages import working
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.xc import Classifier, load_model

__all__ = ["export"]


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model, of train --save.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE.onnx", help="The file to write.", callback=check_writable)
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of a classifier to write, without the mixture: rows, linear, network or hidden; "
            "repeat it.",
            show_default="all parts, and their mixture",
        ),
    ] = None,
    network: Annotated[
        bool,
        typer.Option(
            "--network",
            help="Write the network of a classifier alone, the first of several, for sparse rows.",
        ),
    ] = False,
) -> None:
    """Write a classifier, or the exact prediction of a network, as an ONNX file for other runtimes.

    A classifier takes dense rows of features, and has dense matrices in the file: of its linear path and of
    its training rows, if it looks for neighbours. A network takes the features of a row with their values.
    """
    if file.suffix != ".onnx":
        raise ArgumentError("FILE", file, "a file whose name ends with .onnx")
    if part and network:
        raise ArgumentError("--network", "--network with --part", "one of both")
    with working(f"loading {model}"):
        loaded = load_model(model)
    written: Network | Classifier
    if isinstance(loaded, Network):
        if part:
            raise ArgumentError("--part", ", ".join(part), "left out: the model is a network")
        written, what, metadata = loaded, "the network", dict[str, str]()
    else:
        names = loaded.names
        metadata = {} if names is None else {"labels": json.dumps(names.names, ensure_ascii=False)}
        written, what = (loaded.network, "the network") if network else (loaded, "")
    with working("writing"):
        if isinstance(written, Network):
            written.to_onnx(file, metadata)
        else:
            written.to_onnx(file, part, metadata=metadata)
            mixed = ", ".join(written.mixture.parts)
            what = ", ".join(part) if part else f"the mixture of {mixed}"
    output.print(
        f"{file}: {what}; {written.n_features:,} features, {written.n_labels:,} labels",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
