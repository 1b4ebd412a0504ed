"""A training run of the command line: what it makes, of which data, and in which folder."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

import lshsample
from lshsample.cli.app import RESULT, console, write_json
from lshsample.cli.card import model_card
from lshsample.cli.messages import Stopping
from lshsample.data import Dataset, atomic_file
from lshsample.errors import ArgumentError
from lshsample.nn.bundle import MANIFEST, Kind, claim, kind_of, remove_bundle
from lshsample.ray import Cluster, RayMetrics
from lshsample.streams import StreamedRows
from lshsample.streams.rows import ROWS
from lshsample.text import LabelNames, TextVectorizer
from lshsample.training import Callback, ProgressBar, TensorBoard
from lshsample.training.checkpoint import CHECKPOINT
from lshsample.xc import KINDS, Recipe

__all__ = ["RECIPE", "STREAMED", "TrainingRun", "check_folder", "is_interrupted", "stored_recipe"]

#: The file in the folder of a run with its settings, for --config.
RECIPE = "recipe.toml"
#: The folder in that of the checkpoint with what a pass over streamed rows has found.
STREAMED = "rows"
#: The file in the folder of a run that describes the model.
CARD = "README.md"


@attrs.frozen(kw_only=True)
class TrainingRun:
    """A run.

    Attributes
    ----------
    recipe : Recipe
        Resolved for ``data``.
    data : Dataset or StreamedRows
        Training data.
    test : Dataset, optional
        What is evaluated at the end.
    validation : Dataset, optional
        The data file of ``--valid``.
    folder : Path, optional
        Where the model is kept.
    overwrite, is_continued : bool
        Whether what is in the folder is replaced, or continued.
    json : Path, optional
        Where the result is written too.
    threads, max_seconds, curve_rows
        Options that do not change what is trained.
    to_continue : str
        The command that continues it.
    tensorboard : Path, optional
        Where TensorBoard's files are written.
    cluster : Cluster, optional
        The workers of ``--workers``.
    vectorizer, names : TextVectorizer and LabelNames, optional
        What made rows of texts, and the names of the labels.
    window, parsers : int
        How streamed rows are shuffled and parsed.
    checkpoint_seconds : float
        Training time between two checkpoints, in seconds.
    """

    recipe: Recipe
    data: Dataset | StreamedRows
    test: Dataset | None
    validation: Dataset | None
    folder: Path | None
    overwrite: bool
    is_continued: bool
    json: Path | None
    threads: int | None
    max_seconds: float | None
    curve_rows: int
    to_continue: str
    tensorboard: Path | None = None
    cluster: Cluster | None = None
    vectorizer: TextVectorizer | None = None
    names: LabelNames | None = None
    window: int = 64
    parsers: int = 1
    checkpoint_seconds: float = 300.0

    @property
    def checkpoint(self) -> Path | None:
        """The folder of the checkpoint."""
        return None if self.folder is None else self.folder / "checkpoint"

    def callbacks(self) -> list[Callback]:
        """What shows the training of networks, and says that a signal ends the run."""
        stopping = Stopping(" (the model is not kept, as there is no --save)")
        if self.folder is not None:
            stopping = Stopping(f" and writing the checkpoint to {self.folder}")
        board = [] if self.tensorboard is None else [TensorBoard(self.tensorboard)]
        counted = [] if self.cluster is None else [RayMetrics()]
        return [ProgressBar(console), stopping, *board, *counted]

    def begin(self, kind: Kind) -> None:
        """Check that the model can be saved, before it is trained, and write the recipe."""
        if self.folder is None:
            return
        if not (self.overwrite and kind_of(self.folder / "model") not in (None, kind.name)):
            claim(self.folder / "model", kind).release()
        if self.overwrite:
            self.forget_checkpoint()
        if not self.is_continued:
            self.folder.mkdir(parents=True, exist_ok=True)
            again = f"lshsample train TRAIN --config {RECIPE}"
            text = f"# lshsample {lshsample.__version__}; the same run: {again}\n{self.recipe.to_toml()}"
            with atomic_file(self.folder / RECIPE) as file:
                file.write(text.encode())

    def make_place(self, kind: Kind) -> Path | None:
        """The folder of the model, without a model of another kind that is to be replaced."""
        if self.folder is None:
            return None
        place = self.folder / "model"
        for other in KINDS:
            if kind_of(place) == other.name != kind.name:
                remove_bundle(place, other)
        return place

    def write(self, result: dict[str, Any]) -> None:
        """Write the result, with what is known of the data, and the card of the model."""
        model = None if self.folder is None else self.folder / "model"
        size = None
        if model is not None and model.is_dir():
            size = sum(file.stat().st_size for file in model.iterdir())
        versions = {
            "lshsample": lshsample.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
        whole = {**result, "data": self._shapes(), "versions": versions, "model_bytes": size}
        for path in (self.json, self.folder and self.folder / RESULT):
            write_json(path, whole)
        if self.folder is not None:
            with atomic_file(self.folder / CARD) as file:
                file.write(model_card(whole, self.recipe.to_toml()).encode())

    def _shapes(self) -> dict[str, Any]:
        """The shapes of the data."""
        sets = {"training": self.data, "test": self.test, "validation": self.validation}
        totals = {name: _totals(one) for name, one in sets.items() if one is not None}
        return {
            "sets": {
                name: {
                    "rows": n_rows,
                    "features_per_row": n_values / max(n_rows, 1),
                    "labels_per_row": labels.sum() / max(n_rows, 1),
                }
                for name, (n_rows, n_values, labels) in totals.items()
            },
            "n_features": self.data.n_features,
            "n_labels": self.data.n_labels,
            "labels_without_rows": int((totals["training"][2] == 0).sum()),
            "texts": self.vectorizer is not None,
        }

    def forget_checkpoint(self) -> None:
        """Remove what is needed to continue the run."""
        if self.checkpoint is None or not self.checkpoint.is_dir():
            return
        for place in (*self.checkpoint.iterdir(), self.checkpoint):
            if _holds(place):
                remove_bundle(place, ROWS if kind_of(place) == ROWS.name else CHECKPOINT)
        with contextlib.suppress(OSError):  # other files are kept
            self.checkpoint.rmdir()


def _totals(data: Dataset | StreamedRows) -> tuple[int, int, npt.NDArray[np.int64]]:
    """The numbers of rows, of values, and of rows with each label."""
    if isinstance(data, StreamedRows):
        return data.n_rows, data.n_values, data.label_counts()
    return data.n_rows, data.x.nnz, np.bincount(data.y.indices, minlength=data.n_labels)


def stored_recipe(folder: Path) -> Recipe | None:
    """The recipe of the run of a folder."""
    file = folder / RECIPE
    return Recipe.from_file(file) if file.exists() else None


def _holds(folder: Path) -> bool:
    return os.path.lexists(folder / MANIFEST)


def is_interrupted(folder: Path) -> bool:
    """Whether the folder of a run has a checkpoint, which is removed when the run is finished."""
    place = folder / "checkpoint"
    return place.is_dir() and any(map(_holds, (place, *place.iterdir())))


def check_folder(save: Path | None, resume: Path | None, overwrite: bool) -> None:
    """Refuse a folder whose content would be lost, and one that has nothing to continue."""
    if overwrite and save is None:
        raise ArgumentError("--overwrite", "--overwrite without --save", "used with --save")
    if save is not None and resume is None and not (overwrite or is_interrupted(save)):
        for model in (save / "model", save):
            if _holds(model):
                wanted = "a folder without a model (--overwrite replaces it)"
                raise ArgumentError("--save", f"{save}, which has one", wanted)
    if resume is None:
        return
    if save is not None:
        raise ArgumentError(
            "--resume", "--resume with --save", "used without --save: a continued run stays in its folder"
        )
    if not is_interrupted(resume):
        done = " (its run is finished)" if _holds(resume / "model") else ""
        wanted = "the folder of an interrupted run; one without a checkpoint is started again with --save"
        raise ArgumentError("--resume", f"{resume}{done}", wanted)
