"""How a classifier is fitted to rows that need not fit into memory: its network, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from lshsample.streams import StreamBatches, StreamedRows
from lshsample.training import Callback
from lshsample.xc.fitting import Judge, Mixed, Reporting, finished, made_trainer
from lshsample.xc.parts import NetworkPart, Part, Queries

__all__ = ["StreamFit"]


@attrs.define(kw_only=True)
class StreamFit(Reporting):
    """A fit of a network to streamed rows; :meth:`run` does it.

    Attributes
    ----------
    rows : StreamedRows
    window, parsers
        See :class:`~lshsample.streams.StreamBatches`.
    max_seconds, callbacks, checkpoint, checkpoint_seconds, curve_rows
        See :meth:`Classifier.fit_stream <lshsample.xc.Classifier.fit_stream>`.
    """

    rows: StreamedRows
    window: int
    parsers: int
    max_seconds: float | None = None
    callbacks: Sequence[Callback] = ()
    checkpoint: Path | None = None
    checkpoint_seconds: float = 300.0
    curve_rows: int = 0

    def run(self) -> tuple[dict[str, Part], Mixed]:
        """The network, and how its values become probabilities, by the held-out rows."""
        since, rows, config = self.elapsed(), self.rows, self.recipe.network
        assert config is not None
        place = None if self.checkpoint is None else self.checkpoint / "network-0"
        run: dict[str, Any] = {
            "threads": self.threads,
            "callbacks": self.callbacks,
            "max_seconds": self.max_seconds,
            "checkpoint_seconds": self.checkpoint_seconds,
            "curve_rows": self.curve_rows,
        }
        config = attrs.evolve(config, seed=self.recipe.seed)
        trainer = made_trainer(config, rows.n_features, rows.n_labels, place, **run)
        network, settings = trainer.network, trainer.settings
        source = StreamBatches(
            rows, network, settings.batch_size, settings.seed, window=self.window, parsers=self.parsers
        )
        with source:
            history = trainer.fit(source, validation=(rows.held_x, rows.held_y))
        part = NetworkPart([finished(trainer, history, self.histories)], self.recipe.storage)
        part.round()
        queries = Queries(rows.held_x, rows.held_x, self.threads)
        part.normalize(queries, self.recipe.candidates)
        judge = Judge(self, queries, rows.held_y, rows.counts)
        judge.heard(part, since)
        return {"network": part}, judge.mixed(rows.n_rows)
