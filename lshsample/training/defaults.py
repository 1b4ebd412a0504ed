"""Hyperparameters chosen from the training data."""

from __future__ import annotations

import attrs
import scipy.sparse as sp

__all__ = ["Defaults", "choose_defaults"]


@attrs.frozen
class Defaults:
    """What a training run uses where nothing else was said; see :class:`lshsample.config.TrainConfig`."""

    hidden: tuple[int, ...]
    weighting: str
    dropout: float
    batch_size: int
    epochs: int
    lr: float
    n_active: int
    n_hashes: int | None
    n_tables: int | None
    importance: str


def choose_defaults(x: sp.csr_array, y: sp.csr_array) -> Defaults:
    """Hyperparameters from the training data alone: their size and number of labels."""
    large = x.shape[0] > 40_000
    return Defaults(
        hidden=(128,) if large else (256,),
        weighting="l2",
        dropout=0.5,
        batch_size=256 if large else 128,
        epochs=6 if large else 15,
        lr=5e-3,
        n_active=max(min(2000, y.shape[1] // 2), 1),
        n_hashes=None,
        n_tables=None,
        importance="off",
    )
