"""Training: the trainer, its callbacks, history and checkpoints."""

from __future__ import annotations

from lshsample.training.callbacks import Callback, EarlyStop, ProgressBar
from lshsample.training.history import EpochRecord, History
from lshsample.training.settings import Settings
from lshsample.training.trainer import Trainer

__all__ = ["Callback", "EarlyStop", "EpochRecord", "History", "ProgressBar", "Settings", "Trainer"]
