"""The items' frequencies that a sampler is bound to, with an alias table for each law of drawing by them."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import AliasTable, alias_table

__all__ = ["ItemFrequencies"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class ItemFrequencies:
    """Relative frequencies, and the tables by which stages draw from functions of them.

    Attributes
    ----------
    relative : (n_items,) float64 array
        Frequencies that sum to 1.
    """

    relative: Floats
    _tables: dict[Hashable, AliasTable] = attrs.field(factory=dict, init=False, repr=False)

    def table(self, law: Hashable, probabilities: Callable[[Floats], Floats]) -> AliasTable:
        """The alias table of a law, made at its first use.

        Parameters
        ----------
        law : hashable
            Identifies the law.
        probabilities : callable
            From the relative frequencies to the probability (n_items,) of each item in one draw.
        """
        if law not in self._tables:
            self._tables[law] = alias_table(np.ascontiguousarray(probabilities(self.relative)))
        return self._tables[law]
