"""Sharpness of a minimum: how much the loss can rise within a small box around the weights."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, DivergenceError
from lshsample.specs import checked_integer, checked_number

__all__ = ["Sharpness", "sharpness"]

Floats = npt.NDArray[np.float64]


@attrs.frozen
class Sharpness:
    """The result of :func:`sharpness`.

    Attributes
    ----------
    value : float
        ``100 (highest - loss) / (1 + loss)``.
    loss : float
        The loss at the weights.
    highest : float
        The largest loss that was found in the box.
    evaluations : int
        Losses, with their gradients, that were computed.
    """

    value: float
    loss: float
    highest: float
    evaluations: int


def sharpness(
    objective: Callable[[Floats], tuple[float, Floats]],
    weights: npt.ArrayLike,
    *,
    eps: float = 1e-3,
    n_directions: int | None = None,
    scale_free: bool = False,
    iterations: int = 10,
    seed: int = 0,
) -> Sharpness:
    """How much the loss can rise in a box around the weights, by some iterations of SciPy's L-BFGS-B.

    Parameters
    ----------
    objective : callable
        ``objective(weights)`` gives the loss and its gradient, (d,): for a network a
        :class:`NetworkObjective` with rows and a seed that stay the same.
    weights : (d,) array
        The weights to look around; the objective's last call is at them.
    eps : float
        Size of the box.
    n_directions : int, optional
        Dimensions of a random subspace to search, which takes ``8 d n_directions`` bytes; by default all
        directions.
    scale_free : bool
        Whether to measure changes of a weight in units of its own size.
    iterations : int
        Iterations of L-BFGS-B.
    seed : int
        Determines the subspace and where the search begins.

    Raises
    ------
    DivergenceError
        The loss at the weights is not finite.

    Notes
    -----
    Keskar et al. 2017 (arXiv 1609.04836): ``100 (max f(x + A z) - f(x)) / (1 + f(x))`` over ``|z_i| <= eps
    (|(A⁺x)_i| + 1)``, with eps 1e-3 or 5e-4, ten iterations, and A the identity or random with 100 columns;
    here its columns are orthonormal. The loss found is a lower bound of the largest one in the box.

    This number is not one of the function that a network computes (Dinh et al. 2017, arXiv 1703.04933): where
    a ReLU layer's weights are multiplied by c and the next one's divided by c, outputs stay and the number
    changes. With ``scale_free`` it is taken in the coordinates ``w = |x| u``, whose box moves with the
    weights, so that such changes leave it as it is; a weight of 0 does not move (compare adaptive sharpness,
    Kwon et al. 2021, arXiv 2102.11600).

    Examples
    --------
    >>> from lshsample.nn import sharpness
    >>> curvatures = np.array([1.0, 100.0])
    >>> found = sharpness(lambda w: (float(curvatures @ w**2 / 2), curvatures * w), np.zeros(2), eps=1e-2)
    >>> round(found.value, 4), 100 * 101 * 1e-4 / 2
    (0.505, 0.505)
    """
    at = np.array(weights, np.float64)
    if at.ndim != 1 or not at.size or not np.isfinite(at).all():
        raise ArgumentError("weights", f"shape {at.shape}", "a finite 1-D array of at least one number")
    eps = checked_number("eps", eps, 0.0, 1.0, open_low=True)
    iterations = checked_integer("iterations", iterations, 1)
    rng = np.random.default_rng(checked_integer("seed", seed, 0, 2**63 - 1))
    if scale_free not in (True, False):
        raise ArgumentError("scale_free", repr(scale_free), "True or False")
    unit = np.abs(at) if scale_free else np.ones_like(at)
    place = np.sign(at) if scale_free else at
    basis = None
    if n_directions is not None:
        count = checked_integer("n_directions", n_directions, 1, len(at))
        basis = np.linalg.qr(rng.standard_normal((len(at), count)))[0]
        place = basis.T @ place
    bounds = eps * (np.abs(place) + 1)
    loss = float(objective(at)[0])
    if not np.isfinite(loss):
        raise DivergenceError(f"the loss at the weights is {loss}")
    highest, evaluations = loss, 1

    def falling(z: Floats) -> tuple[float, Floats]:
        nonlocal highest, evaluations
        moved = at + unit * (z if basis is None else basis @ z)
        value, gradient = objective(moved)
        evaluations += 1
        highest = max(highest, float(value))
        slope = unit * gradient
        return -float(value), -(slope if basis is None else basis.T @ slope)

    from scipy.optimize import Bounds, minimize  # takes as long to import as the rest of the package

    # At a minimum the gradient is 0, and the search would end where it begins.
    start = bounds * rng.uniform(-0.1, 0.1, len(bounds))
    minimize(
        falling,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-bounds, bounds),
        options={"maxiter": iterations},
    )
    objective(at)
    return Sharpness(100 * (highest - loss) / (1 + loss), loss, highest, evaluations + 1)
