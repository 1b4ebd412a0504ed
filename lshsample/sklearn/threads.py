"""scikit-learn's arguments for threads and seeds."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from lshsample.errors import ArgumentError

__all__ = ["seed_of", "threads_of"]


def threads_of(n_jobs: int | None) -> int:
    """Threads of ``n_jobs``: one by default, all with -1; fewer where joblib runs jobs beside each other."""
    is_integer = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool) and n_jobs != 0
    if n_jobs is not None and not is_integer:
        raise ArgumentError("n_jobs", repr(n_jobs), "None, or an integer other than 0")
    return int(effective_n_jobs(n_jobs))


def seed_of(random_state: Any, default: int) -> int:
    """The seed of ``random_state``; None is the default, so that results never depend on the clock."""
    if random_state is None:
        return default
    if isinstance(random_state, Integral) and not isinstance(random_state, bool):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
