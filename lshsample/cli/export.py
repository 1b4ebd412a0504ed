"""The export command: the network of a model as an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lshsample.cli.app import check_writable, output
from lshsample.cli.messages import working
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.xc import load_model

__all__ = ["export"]


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model, of train --save.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE.onnx", help="The file to write.", callback=check_writable)
    ],
) -> None:
    """Write the exact prediction of a network as an ONNX file, for other runtimes.

    Of a classifier its network is written, the first one of several: the linear path, the neighbours and the
    mixture stay behind.
    """
    if file.suffix != ".onnx":
        raise ArgumentError("FILE", file, "a file whose name ends with .onnx")
    with working(f"loading {model}"):
        loaded = load_model(model)
    metadata, left = {}, ""
    if isinstance(loaded, Network):
        network = loaded
    else:
        network = loaded.network
        others = [name for name in loaded.mixture.parts if name != "network"]
        left = f"; not in it: {', '.join([*others, 'the mixture'])}"
        if loaded.names is not None:
            metadata["labels"] = json.dumps(loaded.names.names, ensure_ascii=False)
    with working("writing"):
        network.to_onnx(file, metadata)
    output.print(
        f"{file}: the network, {network.n_features:,} features, {network.n_labels:,} labels{left}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
