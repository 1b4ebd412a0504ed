"""Tables that are built on a thread of their own while training goes on."""

from __future__ import annotations

from threading import Thread

import numpy as np
import numpy.typing as npt

from lshsample.family import HashFamily
from lshsample.tables import HashTables

__all__ = ["BackgroundBuild"]


class BackgroundBuild:
    """A build over a copy of the weights, begun at once on one thread.

    Which step the new tables come to depends on timing: whoever uses this says so (``is_asynchronous``).

    Parameters
    ----------
    family : HashFamily
        The functions.
    weights : (units, inputs) float32 array
        Copied before this returns; training may go on to change them.
    number : int
        Which build it is, counted from 1.
    """

    def __init__(self, family: HashFamily, weights: npt.NDArray[np.float32], number: int) -> None:
        self.number = number
        self._tables: HashTables | None = None
        self._error: BaseException | None = None
        self._thread = Thread(
            target=self._build, args=(family, weights.copy()), name=f"lshsample-build-{number}", daemon=True
        )
        self._thread.start()

    def _build(self, family: HashFamily, weights: npt.NDArray[np.float32]) -> None:
        try:
            self._tables = HashTables(family, threads=1).build(weights)
        except BaseException as error:  # handed to the thread that asks for the tables
            self._error = error

    def result(self, timeout: float | None = 0.0) -> HashTables | None:
        """The tables, or None while they are not done; waits so many seconds at most, or (None) to the end.

        Raises
        ------
        Exception
            What the build raised.
        """
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self._tables
