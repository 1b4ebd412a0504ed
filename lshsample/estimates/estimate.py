"""An estimate: values with their standard errors, and the intervals that these give."""

from __future__ import annotations

from typing import Self

import attrs
import numpy as np
import numpy.typing as npt
from scipy import special

from lshsample.errors import ArgumentError, UnsupportedError

__all__ = ["Estimate"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True)
class Estimate:
    """Values that a sample gives for what all items would give.

    Attributes
    ----------
    value : float64 array
        The estimates: one per query, or (queries, components).
    standard_error : float64 array or None
        Of that shape; None where one sample does not tell it.
    degrees : float64 array
        Degrees of freedom behind the standard errors; one number, or one per query.
    method : str
        What they come from: "design" (the exact variance of a simple random sample), "replicates"
        (independent samples), "tables" (independent tables), or "none".
    biased_by : str or None
        The stage that left the sample without a law, where the caller allowed that.
    """

    value: Floats
    standard_error: Floats | None = None
    degrees: Floats = attrs.field(factory=lambda: np.array(np.inf))
    method: str = "none"
    biased_by: str | None = None

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Lower and upper ends of the confidence intervals (Student's t).

        Parameters
        ----------
        level : float
            The probability to cover, between 0 and 1.

        Raises
        ------
        UnsupportedError
            There are no standard errors, or the sample has no law.

        Notes
        -----
        Student's intervals cover as they say where sums are nearly normal. ``degrees`` tells how near: with
        20 and more, 95 % intervals covered 93 to 97 %; with a median of 10, 91 to 95 %; with 5 to 7, where
        one or two items carry the sum, 76 to 90 % (partition functions of 400 items at growing scales, 2,000
        draws each). A sample cannot tell what an item that it missed would have added: take more draws, or
        make heavy items certain (``Retrieve``, ``ExactTop`` or ``Include`` before the draw). Where draws hit
        nothing that was uncertain, the interval is infinite. Between replicates, degrees are one less than
        their number whatever the tails are: take 12 or more, and more the rarer the weights are.

        Examples
        --------
        >>> low, high = Estimate(value=np.array([5.0]), standard_error=np.array([1.0])).interval(0.95)
        >>> low.round(2), high.round(2)
        (array([3.04]), array([6.96]))
        """
        if not 0 < level < 1:
            raise ArgumentError("level", level, "a probability between 0 and 1")
        if self.biased_by is not None:
            raise UnsupportedError(f"an estimate from a biased sample has no interval: {self.biased_by}")
        if self.standard_error is None:
            raise UnsupportedError(
                "one sample of this pipeline does not tell its variance: take replicates (replicates=10, or "
                "samplers over independent tables), or end the pipeline in Uniform(n)"
            )
        width = special.stdtrit(self.degrees, (1 + level) / 2) * self.standard_error
        return self.value - width, self.value + width

    def log(self) -> Self:
        """The estimate of the logarithm of a positive quantity.

        Notes
        -----
        The log of an unbiased estimate is too low by about half of its relative variance (Jensen); that is
        added back. The standard error is the relative one (delta method).
        """
        if self.standard_error is None:
            return attrs.evolve(self, value=np.log(self.value))
        relative = self.standard_error / self.value
        correction = np.where(np.isfinite(relative), relative, 0.0) ** 2 / 2
        return attrs.evolve(self, value=np.log(self.value) + correction, standard_error=relative)

    def column(self) -> Self:
        """The estimates without the axis of components, where there is one component."""
        error = None if self.standard_error is None else self.standard_error[:, 0]
        degrees = self.degrees[:, 0] if self.degrees.ndim == 2 else self.degrees
        return attrs.evolve(self, value=self.value[:, 0], standard_error=error, degrees=degrees)

    def __truediv__(self, factor: float | Floats) -> Self:
        error = None if self.standard_error is None else self.standard_error / np.abs(factor)
        return attrs.evolve(self, value=self.value / factor, standard_error=error)
