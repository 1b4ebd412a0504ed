"""Estimates with their standard errors and confidence intervals."""

from __future__ import annotations

from typing import Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample.display import SHOWN_ROWS, html_table
from lshsample.errors import ArgumentError, UnsupportedError

__all__ = ["Estimate"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Estimate:
    """Estimates, from a sample, of quantities over all items.

    Attributes
    ----------
    value : float64 array
        The estimates: one per query, or (queries, components).
    standard_error : float64 array or None
        Of that shape; None where it cannot be estimated from one sample.
    degrees : float64 array
        Degrees of freedom of the standard errors; one number, or one for each query.
    method : str
        Where the standard errors come from: "design" (the variance of a simple random sample), "replicates"
        (the spread between independent samples), "tables" (the spread between independent tables), "none".
    biased_by : str or None
        Why the sample has no inclusion probabilities, naming the stage, where the caller allowed that.
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
            The coverage probability, between 0 and 1.

        Raises
        ------
        UnsupportedError
            There are no standard errors, or the sample has no inclusion probabilities.

        Notes
        -----
        The nominal coverage is reached where the estimates are nearly normal. ``degrees`` indicates how
        nearly: with 20 and more, 95 % intervals covered 93 to 97 %; with a median of 10, 91 to 95 %; with 5
        to 7, where one or two items dominate the sum, 76 to 90 % (partition functions of 400 items at growing
        scales, 2,000 draws each). No sample shows what a missed item would have added: take more draws, or
        make large items certain (``Retrieve``, ``ExactTop`` or ``Include`` before the draw). Where all draws
        are of items that are certain anyway, the interval is infinite. The degrees of freedom of replicates
        are one less than their number, whatever the tails of the distribution: take 12 or more, and more
        where large weights are rare.

        Examples
        --------
        >>> low, high = Estimate(value=np.array([5.0]), standard_error=np.array([1.0])).interval(0.95)
        >>> low.round(2), high.round(2)
        (array([3.04]), array([6.96]))
        """
        if not 0 < level < 1:
            raise ArgumentError("level", level, "a number between 0 and 1")
        if self.biased_by is not None:
            raise UnsupportedError(
                f"an estimate from a biased sample has no confidence interval: {self.biased_by}"
            )
        if self.standard_error is None:
            raise UnsupportedError(
                "the variance of this pipeline cannot be estimated from one sample: take replicates "
                "(replicates=10, or samplers over independent tables), or end the pipeline in Uniform(n)"
            )
        width = scipy.special.stdtrit(self.degrees, (1 + level) / 2) * self.standard_error
        return self.value - width, self.value + width

    def log(self) -> Self:
        """The estimate of the logarithm of a positive quantity, corrected for its bias.

        Notes
        -----
        The logarithm of an unbiased estimate is too low by about half of its relative variance (Jensen's
        inequality), which is added. The standard error is the relative one (delta method). The logarithm of
        0, the estimate of a sample without ids, is -inf.

        Raises
        ------
        UnsupportedError
            An estimate is below 0.
        """
        if np.any(self.value < 0):
            raise UnsupportedError(f"there is no logarithm of an estimate below 0: {np.min(self.value):.6g}")
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(self.value)
            if self.standard_error is None:
                return attrs.evolve(self, value=log)
            relative = self.standard_error / self.value
        correction = np.where(np.isfinite(relative), relative, 0.0) ** 2 / 2
        return attrs.evolve(self, value=log + correction, standard_error=relative)

    def column(self) -> Self:
        """The estimates of the first component, without the axis of components."""
        error = None if self.standard_error is None else self.standard_error[:, 0]
        degrees = self.degrees[:, 0] if self.degrees.ndim == 2 else self.degrees
        return attrs.evolve(self, value=self.value[:, 0], standard_error=error, degrees=degrees)

    def __truediv__(self, factor: float | Floats) -> Self:
        error = None if self.standard_error is None else self.standard_error / np.abs(factor)
        return attrs.evolve(self, value=self.value / factor, standard_error=error)

    def __repr__(self) -> str:
        with np.printoptions(precision=6, threshold=SHOWN_ROWS, edgeitems=2):
            error = "None" if self.standard_error is None else str(self.standard_error).replace("\n", "")
            value = str(self.value).replace("\n", "")
        biased = "" if self.biased_by is None else f", biased_by={self.biased_by!r}"
        shape = f", shape={self.value.shape}" if self.value.size > SHOWN_ROWS else ""
        return f"Estimate(value={value}, standard_error={error}{shape}, method={self.method!r}{biased})"

    def _repr_html_(self) -> str:
        header, columns = ["row", "value"], [self.value]
        if self.standard_error is not None:
            header.append("standard error")
            columns.append(self.standard_error)
        if self.standard_error is not None and self.biased_by is None:
            header += ["95 % interval, from", "to"]
            columns += self.interval()
        rows = [
            [row, *(np.array2string(column[row], precision=6, threshold=SHOWN_ROWS) for column in columns)]
            for row in range(min(len(self.value), SHOWN_ROWS))
        ]
        biased = "" if self.biased_by is None else f", biased by {self.biased_by}"
        title = f"Estimate, method {self.method}{biased}"
        return html_table(title, header, rows, total=len(self.value))
