"""Networks of spiking neurons that compute non-negative sparse codes."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.arrays import Float32, Int64, whole
from lshsample._native.core import check, lib, pointer, threads_or_default
from lshsample.errors import ArgumentError

__all__ = ["Settled", "settle"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Settled:
    """What networks did until they settled; see ``lsh_spiking_codes``.

    Attributes
    ----------
    rates : (n, m) float64 array
    spikes : (n,) int64 array
    gaps, times : (n,) float64 arrays
    """

    rates: Floats
    spikes: Int64
    gaps: Floats
    times: Floats


def settle(
    lateral: Float32,
    drives: Float32,
    lam: float,
    *,
    tol: float,
    max_spikes: int,
    threads: int | None = None,
) -> Settled:
    """Run one network for each row of drives.

    Parameters
    ----------
    lateral : (m, m) float32 array
        Row j is what a spike of neuron j takes from all potentials; the diagonal is above 0.
    drives : (n, m) float32 array
    lam, tol : float
    max_spikes : int
    threads : int, optional
    """
    n, m = drives.shape
    if lateral.shape != (m, m) or not m or not (lateral.diagonal() > 0).all():
        raise ArgumentError("lateral", f"shape {lateral.shape}", f"({m}, {m}) with a diagonal above 0")
    out, spikes, gaps, times = np.empty((n, m)), np.empty(n, np.int64), np.empty(n), np.empty(n)
    status = lib.lsh_spiking_codes(
        pointer("float *", whole(lateral, "lateral")),
        m,
        pointer("float *", whole(drives, "drives")),
        n,
        lam,
        tol,
        max_spikes,
        pointer("double *", out),
        pointer("int64_t *", spikes),
        pointer("double *", gaps),
        pointer("double *", times),
        threads_or_default(threads),
    )
    check(status, "settling spiking networks")
    return Settled(out, spikes, gaps, times)
