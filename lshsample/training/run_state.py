"""Where a run stands between two steps."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Self

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample.nn.batches import Rows
from lshsample.nn.network import StepReport
from lshsample.training.history import EpochRecord, History, peak_rss_mb

__all__ = ["RunState", "TrainingData", "fingerprint"]


@attrs.frozen(eq=False)
class TrainingData:
    """Checked rows and labels, and the rows that are trained on.

    Attributes
    ----------
    rows : Rows
        Features.
    labels : csr_array
        Labels.
    used : ndarray of int64
        The rows in use: all, or to a softmax those with a label.
    """

    rows: Rows
    labels: sp.csr_array
    used: np.ndarray[Any, np.dtype[np.int64]]


def fingerprint(data: TrainingData) -> list[int]:
    """Numbers that tell one data set from another: shapes and checksums."""
    x, y = data.rows.data, data.labels
    arrays = [x.indptr, x.indices, x.data] if sp.issparse(x) else [np.ascontiguousarray(x)]
    sums = [zlib.crc32(memoryview(array).cast("B")) for array in (*arrays, y.indptr, y.indices) if array.size]
    return [*map(int, x.shape), *map(int, y.shape), *sums]


@attrs.define
class RunState:
    """What a checkpoint holds beside weights and tables.

    Attributes
    ----------
    step, epoch, position : int
        Steps done, epochs done, steps done in the epoch under way.
    seconds : float
        Training time so far.
    epoch_loss, epoch_active : float
        Sums over the steps of the epoch under way.
    active : float
        Sum of the active-set sizes over all steps.
    records : list of EpochRecord
        The finished epochs.
    step_ms : list of float
        Milliseconds of each step.
    data : list of int
        Fingerprint of the training data; empty before the first step with checkpoints.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_active: float = 0.0
    active: float = 0.0
    records: list[EpochRecord] = attrs.field(factory=list)
    step_ms: list[float] = attrs.field(factory=list)
    data: list[int] = attrs.field(factory=list)

    def add(self, report: StepReport, seconds: float) -> None:
        """Count a step that is done."""
        self.step += 1
        self.position += 1
        self.seconds += seconds
        self.epoch_loss += report.loss
        self.epoch_active += report.active
        self.active += report.active
        self.step_ms.append(1e3 * seconds)

    def end_epoch(self, validation: dict[str, float]) -> EpochRecord:
        """Close the epoch under way."""
        n = max(self.position, 1)
        record = EpochRecord(
            self.epoch + 1, self.step, self.seconds, self.epoch_loss / n, self.epoch_active / n, validation
        )
        self.records.append(record)
        self.epoch, self.position, self.epoch_loss, self.epoch_active = self.epoch + 1, 0, 0.0, 0.0
        return record

    def history(self, stopped: str) -> History:
        """The totals so far."""
        mean = self.active / max(self.step, 1)
        return History(
            tuple(self.records), self.step, self.seconds, tuple(self.step_ms), mean, peak_rss_mb(), stopped
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, without the step times."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "step_ms")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A state from plain data."""
        return cls(**{**data, "records": [EpochRecord(**record) for record in data["records"]]})
