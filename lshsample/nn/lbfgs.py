"""Progressive-batching L-BFGS: a quasi-Newton method whose batches grow as its gradients need it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.core import threads_or_default
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError, CheckpointError, DivergenceError
from lshsample.nn.network import Network
from lshsample.nn.signals import Run, take_rows
from lshsample.specs import checked_integer, checked_number

__all__ = ["BatchStep", "NetworkObjective", "Objective", "ProgressiveLBFGS"]

Floats = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: The mean loss over some rows and its gradient, from (weights, rows, seed): the same for the same three.
Objective = Callable[[Floats, Int64, int], tuple[float, Floats]]

#: Relative rounding errors of a loss that the line search forgives.
_ROUNDING = 16 * np.finfo(np.float64).eps
#: Every so many steps with batches of one size their mean gradient is looked at; independent noise leaves
#: 1 / sqrt(10) = 0.32 of its length in the mean of ten.
_RECENT = 10
_CANCELLED = 0.38


@attrs.frozen
class BatchStep:
    """What one step did.

    Attributes
    ----------
    loss : float
        Mean loss of the step's rows before it.
    gradient_norm : float
        Length of their mean gradient.
    batch_size : int
        Rows of the step.
    wanted_size : float
        Rows for which the variance would have been as small as the test asks for.
    step_length : float
        Share of the quasi-Newton step that was taken; 0 if none decreased the loss.
    evaluations : int
        Gradients of single rows that were computed.
    """

    loss: float
    gradient_norm: float
    batch_size: int
    wanted_size: float
    step_length: float
    evaluations: int


@attrs.frozen(eq=False)
class _Part:
    """Rows of a batch that are evaluated together, with the seed of what is drawn for them."""

    rows: Int64
    seed: int


@attrs.frozen(eq=False)
class _Batch:
    """A step's batch: its parts, loss and gradient, the gradient's variance, and the size it should have."""

    parts: list[_Part]
    loss: float
    gradient: Floats
    noise: float
    wanted: float
    size: int


class ProgressiveLBFGS:
    """L-BFGS on batches that grow when their gradient is too noisy for the next quasi-Newton step.

    Parameters
    ----------
    weights : (d,) array
        The weights to start from.
    n_rows : int
        Rows of the training data.
    batch_size : int
        Rows of the first batches.
    theta : float
        How noisy a direction may be: the standard deviation of the inner product below, over its mean.
    memory : int
        Pairs of steps and gradient changes that are kept.
    n_parts : int
        Parts of a batch, at least 2, that are evaluated apart; their spread estimates the variance.
    armijo : float
        Share of the linear decrease that a step must reach.
    halvings : int
        How often a step is halved, at most, until it does.
    curvature : float
        A pair (s, y) is left out if ``y.s <= curvature |s|²``.
    seed : int
        Determines the batches, and the seeds given to the objective.

    Attributes
    ----------
    weights : (d,) float64 array
        The weights now.
    batch_size : int
        Rows of the next batch.
    steps : int
        Steps done.

    Notes
    -----
    Bollapragada et al. 2018 (arXiv 1802.05374). With H the L-BFGS matrix and g the gradient of a batch of n
    rows, the inner-product quasi-Newton test asks that ``Var_i(g_i . H² g) / n <= theta² |H g|^4``; otherwise
    the batch grows to the size for which it holds. The first trial step is
    ``1 / (1 + Var_i(g_i) / n / |g|²)`` long, and is halved until the loss of the same batch decreases enough.
    Curvature pairs are of one batch, at both ends.

    A gradient that is noise alone passes the test, for its own inner product with it is large. Where the mean
    of ten gradients is much shorter than each, the mean takes the gradient's place in the test (as in
    Bollapragada, Byrd & Nocedal 2018, arXiv 1710.11258).

    Variances are estimated from the gradients of the batch's parts, each with a seed of its own. Whatever the
    objective draws by it, such as the negatives of a sampled layer, is thus part of the variance: a batch
    also grows where it is the sampler that is noisy. All evaluations of a step use the same seeds, so that
    both of its ends see the same draws.

    A step takes two gradients of its batch if the first trial is accepted, and O(memory d) beyond.

    Examples
    --------
    >>> from lshsample.nn import ProgressiveLBFGS
    >>> rng = np.random.default_rng(0)
    >>> x, target = rng.standard_normal((2000, 5)), np.arange(5.0)
    >>> y = x @ target
    >>> def objective(weights, rows, seed):
    ...     off = x[rows] @ weights - y[rows]
    ...     return float(off @ off / len(rows) / 2), off @ x[rows] / len(rows)
    >>> optimizer = ProgressiveLBFGS(np.zeros(5), len(x), batch_size=64)
    >>> for _ in range(20):
    ...     report = optimizer.step(objective)
    >>> bool(np.abs(optimizer.weights - target).max() < 1e-8)
    True
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        n_rows: int,
        *,
        batch_size: int = 512,
        theta: float = 0.9,
        memory: int = 10,
        n_parts: int = 8,
        armijo: float = 1e-4,
        halvings: int = 10,
        curvature: float = 1e-8,
        seed: int = 0,
    ) -> None:
        start = np.array(weights, np.float64)
        if start.ndim != 1 or not start.size or not np.isfinite(start).all():
            raise ArgumentError(
                "weights", f"shape {start.shape}", "a finite 1-D array of at least one number"
            )
        self.weights = start
        self._n_rows = checked_integer("n_rows", n_rows, 2)
        self._n_parts = checked_integer("n_parts", n_parts, 2)
        self.batch_size = min(checked_integer("batch_size", batch_size, self._n_parts), self._n_rows)
        self._theta = checked_number("theta", theta, 0.0, float("inf"), open_low=True, open_high=True)
        self._memory = checked_integer("memory", memory, 0)
        self._armijo = checked_number("armijo", armijo, 0.0, 0.5, open_low=True)
        self._halvings = checked_integer("halvings", halvings, 0)
        self._curvature = checked_number("curvature", curvature, 0.0, float("inf"), open_high=True)
        self._seed, self.steps = checked_integer("seed", seed, 0, 2**63 - 1), 0
        self._pairs: list[tuple[Floats, Floats]] = []
        # Gradients of the last steps with batches of this size.
        self._sum, self._summed = np.zeros_like(start), 0

    def step(self, objective: Objective) -> BatchStep:
        """One step: a batch, which grows if it must, a direction, and a line search.

        Parameters
        ----------
        objective : callable
            ``objective(weights, rows, seed)`` gives the mean loss over the rows and its gradient, (d,). If
            it has a method ``begin(step)``, that is called first.

        Raises
        ------
        DivergenceError
            The loss or the gradient of the batch is not finite; nothing was changed.
        """
        begin = getattr(objective, "begin", None)
        if begin is not None:
            begin(self.steps)
        batch = self._drawn(objective)
        taken, evaluations = self._search(objective, batch)
        self._sum, self._summed = self._sum + batch.gradient, self._summed + 1
        if batch.size > self.batch_size or self._summed == _RECENT:
            self._sum, self._summed = np.zeros_like(batch.gradient), 0
        self.batch_size, self.steps = batch.size, self.steps + 1
        norm = float(np.linalg.norm(batch.gradient))
        return BatchStep(batch.loss, norm, batch.size, batch.wanted, taken, batch.size + evaluations)

    def _drawn(self, objective: Objective) -> _Batch:
        """This step's batch, which grows at once if the test asks for more rows."""
        rng = np.random.default_rng((self._seed, self.steps))
        order = rng.permutation(self._n_rows)
        seed = int(rng.integers(2**31))
        size = self.batch_size
        parts = self._parts(order[:size], seed)
        losses, gradients = self._evaluated(objective, self.weights, parts)
        gradient = _shares(parts) @ gradients
        wanted = self._wanted(gradients, gradient, size)
        noise = _spread(gradients, gradient) / self._n_parts
        if wanted > size < self._n_rows:
            larger = min(int(np.ceil(wanted)), self._n_rows)
            more = self._parts(order[size:larger], seed + self._n_parts)
            more_losses, more_gradients = self._evaluated(objective, self.weights, more)
            parts, losses = parts + more, np.concatenate([losses, more_losses])
            gradient = _shares(parts) @ np.vstack([gradients, more_gradients])
            noise, size = noise * size / larger, larger
        return _Batch(parts, float(_shares(parts) @ losses), gradient, noise, wanted, size)

    def _search(self, objective: Objective, batch: _Batch) -> tuple[float, int]:
        """Go along the direction as far as the loss of the batch decreases: how far, and evaluations."""
        direction, evaluations = self._direction(batch.gradient), 0
        squared, decrease = float(batch.gradient @ batch.gradient), float(batch.gradient @ direction)
        noise = 0.0 if batch.size == self._n_rows else batch.noise
        length = 1.0 / (1.0 + noise / squared) if squared > 0 else 0.0
        for _ in range(self._halvings + 1 if decrease > 0 else 0):
            at = self.weights - length * direction
            loss, gradient = self._mean(objective, at, batch.parts)
            evaluations += batch.size
            if loss <= batch.loss - self._armijo * length * decrease + _ROUNDING * abs(batch.loss):
                self._keep(at - self.weights, gradient - batch.gradient)
                self.weights = at
                return length, evaluations
            length /= 2
        self._pairs.clear()
        return 0.0, evaluations

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on, as arrays and numbers: for :meth:`restore`."""
        pairs = np.array(self._pairs).reshape(len(self._pairs), 2, len(self.weights))
        return {
            "weights": self.weights.copy(),
            "pairs": pairs,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "sum": self._sum.copy(),
            "summed": self._summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the optimizer did whose :meth:`state` this is, of the same arguments, to the bit.

        Raises
        ------
        CheckpointError
            The state is of another number of weights, or is not one.
        """
        names, d = {*self.state()}, len(self.weights)
        if set(state) != names:
            raise CheckpointError(
                f"a state of ProgressiveLBFGS has {sorted(names)}, this one {sorted(state)}"
            )
        weights, pairs = np.array(state["weights"], np.float64), np.array(state["pairs"], np.float64)
        if weights.shape != (d,) or pairs.shape[1:] != (2, d) or len(pairs) > self._memory:
            raise CheckpointError(f"the state is not one of {d} weights and up to {self._memory} pairs")
        self.weights, self._pairs = weights, [(s, y) for s, y in pairs]
        self.batch_size, self.steps = int(state["batch_size"]), int(state["steps"])
        self._sum, self._summed = np.array(state["sum"], np.float64), int(state["summed"])

    def _parts(self, rows: Int64, seed: int) -> list[_Part]:
        pieces = [np.sort(piece) for piece in np.array_split(rows, self._n_parts) if len(piece)]
        return [_Part(piece, seed + k) for k, piece in enumerate(pieces)]

    def _evaluated(self, objective: Objective, at: Floats, parts: list[_Part]) -> tuple[Floats, Floats]:
        """The loss and the gradient of each part."""
        found = [objective(at, part.rows, part.seed) for part in parts]
        losses = np.array([loss for loss, _ in found], np.float64)
        gradients = np.array([gradient for _, gradient in found], np.float64)
        if gradients.shape[1:] != self.weights.shape:
            wanted = f"a function that returns a loss and a gradient of {len(self.weights)} numbers"
            raise ArgumentError("objective", f"gradients of shape {gradients.shape[1:]}", wanted)
        if not (np.isfinite(losses).all() and np.isfinite(gradients).all()):
            raise DivergenceError(f"the loss or the gradient is not finite (losses {losses.tolist()})")
        return losses, gradients

    def _mean(self, objective: Objective, at: Floats, parts: list[_Part]) -> tuple[float, Floats]:
        """Mean loss and gradient at a trial point, where the loss may be infinite."""
        loss, gradient = 0.0, np.zeros_like(at)
        for share, part in zip(_shares(parts), parts, strict=True):
            with np.errstate(over="ignore", invalid="ignore"):
                try:
                    one, slope = objective(at, part.rows, part.seed)
                except DivergenceError:
                    return float("inf"), gradient
            loss, gradient = loss + share * one, gradient + share * slope
        return (loss, gradient) if np.isfinite(gradient).all() else (float("inf"), gradient)

    def _wanted(self, gradients: Floats, gradient: Floats, size: int) -> float:
        """The batch size at which the inner-product quasi-Newton test holds."""
        if size == self._n_rows:
            return float(size)
        if self._summed == _RECENT - 1:
            mean = (self._sum + gradient) / _RECENT
            if np.linalg.norm(mean) < _CANCELLED * np.linalg.norm(gradient):
                gradient = mean
        direction = self._direction(gradient)
        products = gradients @ self._direction(direction)
        share = float(products.var(ddof=1)) / len(products)
        if share == 0.0:
            return float(size)
        return size * share / (self._theta**2 * float(direction @ direction) ** 2)

    def _direction(self, vector: Floats) -> Floats:
        """The L-BFGS matrix times a vector, by the two loops of Nocedal 1980."""
        out, alphas = vector.copy(), []
        for s, y in reversed(self._pairs):
            alphas.append(float(s @ out) / float(s @ y))
            out -= alphas[-1] * y
        if self._pairs:
            s, y = self._pairs[-1]
            out *= float(s @ y) / float(y @ y)
        for (s, y), alpha in zip(self._pairs, reversed(alphas), strict=True):
            out += (alpha - float(y @ out) / float(s @ y)) * s
        return out

    def _keep(self, s: Floats, y: Floats) -> None:
        if float(s @ y) > self._curvature * float(s @ s):
            self._pairs.append((s, y))
            del self._pairs[: -self._memory or len(self._pairs)]


def _shares(parts: list[_Part]) -> Floats:
    sizes = np.array([len(part.rows) for part in parts], np.float64)
    return np.asarray(sizes / sizes.sum())


def _spread(gradients: Floats, mean: Floats) -> float:
    """Sample variance of the parts' gradients, summed over the weights."""
    return float(np.square(gradients - mean).sum()) / (len(gradients) - 1)


class NetworkObjective:
    """The loss of a network over training rows as a function of all of its trained weights.

    Parameters
    ----------
    network : Network
        In float32. Its weights are those of the last call.
    X, Y : arrays
        Feature rows and labels, as for :meth:`Trainer.fit <lshsample.Trainer.fit>`.
    sampled : bool
        Whether sampled layers sample; otherwise all units are computed.
    threads : int, optional
        Number of threads; results do not depend on it.

    Notes
    -----
    What sampled layers and dropout draw is a function of the seed of a call. Units that are looked up in hash
    tables depend on the weights too: from one :meth:`begin` to the next, the active set of a seed is that of
    its first call, so that a line search compares losses over the same units.
    """

    def __init__(
        self, network: Network, X: Any, Y: Any, *, sampled: bool = True, threads: int | None = None
    ) -> None:
        if not isinstance(network, Network) or network.precision != "float32":
            given = getattr(network, "precision", type(network).__name__)
            raise ArgumentError("network", given, "a Network in float32")
        self._network = network
        rows = network.input.checked(X)
        labels = label_rows(Y, "Y", network.n_labels, len(rows))
        used = np.flatnonzero(np.diff(labels.indptr)) if network.loss.needs_labels else np.arange(len(rows))
        if not len(used):
            raise ArgumentError("X", f"{len(rows)} rows, none to train on", "a matrix with a row to train on")
        self._x, self._y, self._used = rows, labels, used
        self._sampled, self._threads = bool(sampled), threads_or_default(threads)
        network.allocate_for_prediction(self._threads)
        self._parameters = [p for p in network.parameters if p.trained]
        ends = np.cumsum([0, *(p.size for p in self._parameters)]).tolist()
        self._places = dict(zip(map(id, self._parameters), pairwise(ends), strict=True))
        self._size, self._steps = int(ends[-1]), 0

    @property
    def n_rows(self) -> int:
        """Rows to train on."""
        return len(self._used)

    @property
    def weights(self) -> Floats:
        """All trained weights of the network now, (d,)."""
        return np.concatenate([p.values.ravel() for p in self._parameters]).astype(np.float64)

    def begin(self, step: int) -> None:
        """Forget the active sets, and build the tables that are due after ``step`` steps."""
        if self._sampled:
            self._network.prepare(step, self._threads)
        for layer in self._network.sampled_layers:
            layer.active.hold()
        self._steps = step

    def state(self) -> dict[str, Any]:
        """All that the next calls depend on, as arrays, bytes and plain data: for :meth:`restore`.

        Hash tables are of the weights that they were built from, which a network without them does not know.
        """
        layers = {}
        for layer in self._network.layers:
            saved = layer.state()
            if saved is not None:
                file = io.BytesIO()
                layer.save_state(file)
                layers[layer.index] = saved, file.getvalue()
        return {"weights": self.weights, "layers": layers}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the objective did whose :meth:`state` this is, of the same arguments, to the bit.

        Raises
        ------
        CheckpointError
            The state is of another network, or is not one.
        """
        if set(state) != {"weights", "layers"} or np.shape(state["weights"]) != (self._size,):
            raise CheckpointError(f"the state is not one of a network of {self._size} trained weights")
        self._set(state["weights"])
        for layer in self._network.layers:
            if layer.index in state["layers"]:
                saved, content = state["layers"][layer.index]
                with tempfile.TemporaryFile() as file:  # tables are mapped, which takes a real file
                    file.write(content)
                    file.seek(0)
                    layer.restore(saved, file)

    def _set(self, weights: Floats) -> None:
        for parameter in self._parameters:
            begin, end = self._places[id(parameter)]
            parameter.weights[...] = weights[begin:end].reshape(parameter.rows, parameter.columns)

    def __call__(self, weights: Floats, rows: Int64, seed: int) -> tuple[float, Floats]:
        """The mean loss over rows, numbered without those that are not trained on, and its gradient."""
        if np.shape(weights) != (self._size,):
            raise ArgumentError("weights", f"shape {np.shape(weights)}", f"an array of {self._size} numbers")
        self._set(weights)
        at = self._used[rows]
        labels = take_rows(self._y, at)
        run = Run(self._threads, seed, self._steps, True, self._sampled, labels)
        report, updates = self._network.gradients(self._x.take(at), labels, run)
        out = np.zeros(self._size)
        for update in updates:
            begin, end = self._places[id(update.parameter)]
            place = out[begin:end].reshape(update.parameter.rows, update.parameter.columns)
            place[slice(None) if update.rows is None else update.rows] += update.gradient
        return report.loss, out
