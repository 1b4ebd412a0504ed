"""What a run exchanges, and how it goes, among the metrics of Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lshsample.ray.cluster import the_ray
from lshsample.training import Callback

if TYPE_CHECKING:
    from lshsample.nn import StepReport
    from lshsample.training import Trainer

__all__ = ["RayMetrics"]


class RayMetrics(Callback):
    """Counts steps and the bytes that they exchange as metrics of Ray; loss and duration of the last step.

    Ray's dashboard shows them, and Prometheus collects them: ``lshsample_steps``,
    ``lshsample_exchanged_bytes`` (with the busiest process), ``lshsample_loss`` and
    ``lshsample_step_milliseconds``, with the tag ``run``.

    Parameters
    ----------
    run : str
        Tells several runs apart.

    Raises
    ------
    UnsupportedError
        Ray is not installed.
    """

    def __init__(self, run: str = "run") -> None:
        the_ray()
        self._tags = {"run": run}
        self._made: dict[str, Any] = {}

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        """Make the metrics, once Ray runs."""
        from ray.util.metrics import Counter, Gauge

        kinds = {
            "steps": (Counter, "Training steps."),
            "exchanged_bytes": (Counter, "Bytes sent to and received from the busiest process."),
            "loss": (Gauge, "Mean loss of the last batch."),
            "step_milliseconds": (Gauge, "Duration of the last step."),
        }
        for name, (kind, text) in kinds.items():
            if name not in self._made:
                self._made[name] = kind(f"lshsample_{name}", description=text, tag_keys=("run",))

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> None:
        """Count a step."""
        self._made["steps"].inc(1, self._tags)
        if report.exchanged:
            self._made["exchanged_bytes"].inc(report.exchanged, self._tags)
        self._made["loss"].set(report.loss, self._tags)
        self._made["step_milliseconds"].set(milliseconds, self._tags)
