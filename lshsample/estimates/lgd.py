"""LSH-sampled gradient descent (LGD): training examples with large gradients are drawn more often."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, did_you_mean
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.inputs import finite_array, finite_number
from lshsample.estimates.samples import Samples
from lshsample.family import HashFamily
from lshsample.registry import FamilyLike, resolve_family
from lshsample.sampling import ActiveSet, Pipeline, Retrieve, Sampler, SamplerStage, Uniform
from lshsample.sampling.active_set import LAWS, Law
from lshsample.specs import checked_integer
from lshsample.tables import HashTables

__all__ = ["GradientSampler"]

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class _Loss(Protocol):
    """The rows that a loss hashes, the query for its parameters, and its slope by the margin theta.x."""

    copies: int

    def rows(self, x: Floats, y: Floats) -> Float32: ...
    def query(self, theta: Floats) -> Float32: ...
    def slopes(self, margin: Floats, y: Floats) -> Floats: ...


class _Squared:
    """(theta.x - y)^2: rows [x, y] and [-x, -y], query [theta, -1], so that large residuals collide."""

    def rows(self, x: Floats, y: Floats) -> Float32:
        both = np.hstack([x, y[:, None]])
        return np.vstack([both, -both]).astype(np.float32)

    def query(self, theta: Floats) -> Float32:
        return np.append(theta, -1.0).astype(np.float32)[None]

    def slopes(self, margin: Floats, y: Floats) -> Floats:
        return np.asarray(2 * (margin - y))

    copies = 2


class _Logistic:
    """log(1 + exp(-y theta.x)), y = +1 or -1: rows y x, query -theta, so that misclassified ones collide."""

    def rows(self, x: Floats, y: Floats) -> Float32:
        return (x * y[:, None]).astype(np.float32)

    def query(self, theta: Floats) -> Float32:
        return (-theta).astype(np.float32)[None]

    def slopes(self, margin: Floats, y: Floats) -> Floats:
        return np.asarray(-y * np.exp(-np.logaddexp(0, y * margin)))

    copies = 1


_LOSSES: dict[str, _Loss] = {"squared": _Squared(), "logistic": _Logistic()}


class GradientSampler:
    """Estimates of the mean gradient of a linear model's loss, from examples retrieved from hash tables.

    Parameters
    ----------
    features : (n, d) array
        Examples.
    targets : (n,) array
        Numbers for the squared loss, +1 or -1 for the logistic one.
    family : str, HashFamily, FamilySpec or mapping
        Hash functions, as for :class:`~lshsample.HashTables`, over rows of dim d + 1 for the squared loss, d
        for the logistic one.
    loss : "squared" or "logistic"
        (theta.x - y)^2 or log(1 + exp(-y theta.x)).
    pipeline : Pipeline, optional
        The pipeline that draws examples; ``Retrieve() | Uniform(n // 100)`` by default.
    law : str
        What the inclusion probabilities are over; see :class:`~lshsample.sampling.ActiveSet`. By default
        they are conditional on the tables, and with the default pipeline every gradient is unbiased.
    threads : int, optional
        Number of threads, for building the tables and for the draws.

    Notes
    -----
    Chen, Xu & Shrivastava 2019 (arXiv 1910.14162). The norm of an example's gradient grows with the inner
    product of a row made from the example and a query made from theta, so examples that collide with the
    query have large gradients. The tables are built once; only the query changes with theta. Residuals of the
    squared loss have two signs, so its tables hold each example twice, with weight 1/2. Rows are hashed
    without preprocessing: centre and scale the features before.

    Examples
    --------
    >>> from lshsample import make_family
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((4000, 5))
    >>> y = x @ np.arange(5.0) + 0.1 * rng.standard_normal(4000)
    >>> sampler = GradientSampler(x, y, make_family("simhash", dim=6, n_hashes=8, n_tables=8))
    >>> theta = sampler.descend(np.zeros(5), steps=200, rate=0.05)
    >>> bool(np.abs(theta - np.arange(5.0)).max() < 0.1)
    True
    """

    def __init__(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        family: FamilyLike,
        *,
        loss: str = "squared",
        pipeline: Pipeline | SamplerStage | None = None,
        law: Law = LAWS[0],
        threads: int | None = None,
    ) -> None:
        x = finite_array(features, "features", 2)
        y = finite_array(targets, "targets", 1)
        if y.shape != (len(x),) or not len(x):
            wanted = f"an array with one number for each row of features, whose shape is {x.shape}"
            raise ArgumentError("targets", f"shape {y.shape}", wanted)
        if law not in LAWS:
            raise ArgumentError("law", repr(law), f"one of {', '.join(LAWS)}")
        if loss not in _LOSSES:
            wanted = f"one of {', '.join(_LOSSES)}{did_you_mean(loss, _LOSSES)}"
            raise ArgumentError("loss", repr(loss), wanted)
        if loss == "logistic" and not np.all(np.abs(y) == 1):
            raise ArgumentError("targets", "other numbers", "an array of +1 and -1 for the logistic loss")
        self._x, self._y, self._loss, self._law = x, y, _LOSSES[loss], law
        rows = self._loss.rows(x, y)
        family = resolve_family(family)
        if isinstance(family, HashFamily) and family.dim != rows.shape[1]:
            raise ArgumentError("family", f"dim {family.dim}", f"of dim {rows.shape[1]} for the {loss} loss")
        if pipeline is not None and not isinstance(pipeline, Pipeline | SamplerStage):
            raise ArgumentError("pipeline", repr(pipeline), "a Pipeline, such as Retrieve() | Uniform(100)")
        stages = Retrieve() | Uniform(max(2, len(rows) // 100)) if pipeline is None else pipeline
        tables = HashTables(family, threads=threads).build(rows)
        #: The sampler over the rows of the examples.
        self.sampler: Sampler = stages.bind(tables=tables, frequencies=np.ones(len(rows)))
        self._threads = threads

    def __repr__(self) -> str:
        n, d = self._x.shape
        return f"GradientSampler({n:,} examples of {d} features, {self.sampler!r})"

    def gradient(
        self, theta: npt.ArrayLike, *, seed: int = 0, step: int = 0, allow_biased: bool = False
    ) -> Estimate:
        """The mean gradient over all examples at ``theta``, (1, d).

        Parameters
        ----------
        theta : (d,) array
            The parameters.
        seed, step : int
            Determine the draws.
        allow_biased : bool
            Whether to accept a pipeline without inclusion probabilities, every id with weight 1.

        Raises
        ------
        BiasedSampleError
            The pipeline has no inclusion probabilities; the message names the stage.
        """
        at = self._checked(theta)
        active = self.sampler.sample(
            self._loss.query(at), seed=seed, step=step, law=self._law, threads=self._threads
        )
        samples = Samples.of(active, allow_biased)
        total = samples.linear(samples.values(lambda found: self._gradients(at, found)))
        return total / (len(self._x) * self._loss.copies)

    def _checked(self, theta: npt.ArrayLike) -> Floats:
        """Parameters as a finite float64 array (d,)."""
        at, d = finite_array(theta, "theta", 1), self._x.shape[1]
        if len(at) != d:
            raise ArgumentError(
                "theta", f"{len(at)} numbers", f"an array of {d} numbers, one for each feature"
            )
        return at

    def _gradients(self, theta: Floats, active: ActiveSet) -> Floats:
        at = active.ids % len(self._x)
        x, y = self._x[at], self._y[at]
        return x * self._loss.slopes(x @ theta, y)[:, None]

    def full_gradient(self, theta: npt.ArrayLike) -> Floats:
        """The mean gradient over all examples at ``theta``, (d,), computed from all of them."""
        at: Any = self._checked(theta)
        return np.asarray(self._loss.slopes(self._x @ at, self._y) @ self._x / len(self._x))

    def descend(self, theta: npt.ArrayLike, *, steps: int, rate: float, seed: int = 0) -> Floats:
        """Parameters (d,) after ``steps`` steps of stochastic gradient descent from ``theta``.

        Parameters
        ----------
        theta : (d,) array
            The initial parameters.
        steps : int
            Number of steps, each with the gradient estimated from one sample.
        rate : float
            Learning rate.
        seed : int
            Determines the draws.
        """
        at = self._checked(theta).copy()
        size = finite_number("rate", rate)
        for step in range(checked_integer("steps", steps, 0)):
            at -= size * self.gradient(at, seed=seed, step=step).value[0]
        return at
