"""Losses and accuracy of a run for TensorBoard."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from lshsample.errors import needs_extra
from lshsample.files import as_path
from lshsample.specs import checked_integer
from lshsample.training.callbacks import Callback
from lshsample.training.history import EpochRecord, Evaluation

if TYPE_CHECKING:
    from lshsample.nn import StepReport

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes losses, active units, step times and accuracy of a run for TensorBoard.

    Needs ``pip install 'lshsample[tensorboard]'``; ``tensorboard --logdir FOLDER`` shows them.

    Parameters
    ----------
    folder : path
        Where the files are written; a folder for each run, below a common one.
    every : int
        Steps of which one is written.

    Raises
    ------
    LshsampleError
        The package tensorboard is not installed.

    Notes
    -----
    The steps of a run that is continued follow those before. Several fits of one callback, as of the networks
    of a classifier, are written to ``folder/1``, ``folder/2`` and so on, in their order.
    """

    def __init__(self, folder: str | PathLike[str], *, every: int = 10) -> None:
        try:
            from tensorboard.summary import Writer
        except ModuleNotFoundError as error:
            raise needs_extra("TensorBoard", "tensorboard", error) from error
        self._make, self._folder = Writer, as_path(folder)
        self._every = checked_integer("every", every, 1)
        self._fits = 0
        self._writer: Any = None

    def on_start(self, trainer: Any, steps_done: int, steps_total: int | None) -> None:
        """Begin the files of a fit."""
        self._fits += 1
        self._writer = self._make(str(self._folder / str(self._fits)))

    def _write(self, step: int, **values: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name.replace("_", "/", 1), value, step)

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> None:
        """Write the figures of a step."""
        if step % self._every == 0:
            self._write(step, step_loss=report.loss, step_active=report.active, step_ms=milliseconds)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Write the accuracy on validation data."""
        for name, value in evaluation.validation.items():
            self._writer.add_scalar(f"validation/{name}", value, evaluation.step)

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the mean loss of an epoch."""
        self._write(record.step, epoch_loss=record.loss, epoch_active=record.active)
        self._writer.flush()

    def close(self) -> None:
        """End the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
