"""Training: the trainer, its callbacks, history and checkpoints."""

from __future__ import annotations

from lshsample.training.batch_source import ArrayBatches, BatchSource
from lshsample.training.callbacks import Callback, EarlyStop, ProgressBar
from lshsample.training.history import EpochRecord, Evaluation, History
from lshsample.training.settings import TrainingSettings
from lshsample.training.tensorboard import TensorBoard
from lshsample.training.trainer import Trainer

__all__ = [
    "ArrayBatches",
    "BatchSource",
    "Callback",
    "EarlyStop",
    "EpochRecord",
    "Evaluation",
    "History",
    "ProgressBar",
    "TensorBoard",
    "Trainer",
    "TrainingSettings",
]
