"""The pictures of docs/lsh-sampling.md: ``python tools/plot_sampling.py docs``.

Needs matplotlib (``pip install 'lshsample[plots]'``). The data are random with fixed seeds, so that the
pictures are the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lshsample as ls
from lshsample import laws
from lshsample.hashing import probe_rows

__all__ = ["PICTURES", "plot"]


def collisions(axes: Any) -> None:
    """The chance that a hash is the same, and that at least one table finds the pair."""
    cosine = np.linspace(-1, 1, 201)
    one = ls.make_family("simhash", dim=8, n_hashes=1, n_tables=1, projection="gaussian")
    axes[0].plot(cosine, one.collision_probability(cosine))
    axes[0].set_title("one hash of SimHash")
    axes[0].set_ylabel("probability of a collision")
    for n_hashes, n_tables in ((1, 1), (4, 4), (8, 20), (12, 100)):
        code = one.collision_probability(cosine) ** n_hashes
        axes[1].plot(cosine, laws.union_inclusion(code, n_tables), label=f"K = {n_hashes}, L = {n_tables}")
    axes[1].set_title("K hashes a code, L tables")
    axes[1].set_ylabel("probability of being retrieved")
    axes[1].legend()
    for axis in axes:
        axis.set_xlabel("cosine")


def inclusion(axes: Any) -> None:
    """How often each of 300 items is retrieved over 400 draws of the hash functions, and the law."""
    rng, draws = np.random.default_rng(0), 400
    query = np.zeros((1, 16), np.float32)
    query[0, 0] = 1
    cosine = rng.uniform(-0.2, 1, 300)
    rest = rng.standard_normal((300, 15))
    rest *= np.sqrt(1 - cosine**2)[:, None] / np.linalg.norm(rest, axis=1, keepdims=True)
    items = np.column_stack([cosine, rest]).astype(np.float32)
    family = ls.make_family("simhash", dim=16, n_hashes=6, n_tables=10, projection="gaussian")
    found = np.zeros((2, 300))
    for seed in range(draws):
        tables = ls.HashTables(family.with_seed(seed), threads=1).build(items)
        for row, pipeline in enumerate((ls.Retrieve(tables), ls.Retrieve(tables) | ls.AtLeast(2))):
            found[row, pipeline.sample(query, threads=1).ids] += 1 / draws
    grid = np.linspace(-0.2, 1, 200)
    for row, (axis, text) in enumerate(zip(axes, ("Retrieve()", "Retrieve() | AtLeast(2)"), strict=True)):
        axis.plot(cosine, found[row], ".", markersize=3, label=f"share of {draws} draws")
        axis.plot(grid, laws.at_least_inclusion(family.code_probability(grid), 10, row + 1), label="the law")
        axis.set_title(text)
        axis.set_xlabel("cosine to the query")
        axis.legend()
    axes[0].set_ylabel("inclusion probability")


def probes(axes: Any) -> None:
    """The buckets that a query looks into, in order: those behind the nearest borders first."""
    family = ls.make_family("simhash", dim=3, n_hashes=6, n_tables=1, projection="gaussian", seed=3)
    query = np.array([[0.25, -0.1, 1]], np.float32)
    side = np.linspace(-1.5, 1.5, 400, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    plane = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size, np.float32)])
    codes = ls.hash_rows(family, plane).reshape(x.shape)
    for axis, n_probes in zip(axes, (1, 6), strict=True):
        order = np.full(x.shape, np.nan)
        for place, code in enumerate(probe_rows(family, query, n_probes).ravel()):
            order[codes == code] = place + 1
        axis.imshow(order, origin="lower", extent=(-1.5, 1.5, -1.5, 1.5), cmap="viridis_r", vmin=1, vmax=8)
        for bit in range(family.n_hashes):
            axis.contour(x, y, (codes >> bit) & 1, levels=[0.5], colors="0.5", linewidths=0.6)
        axis.plot(*query[0, :2], "r*")
        axis.set_title("one bucket" if n_probes == 1 else f"{n_probes} buckets, from yellow to blue")
        axis.set_xticks([]), axis.set_yticks([])


#: The pictures by the names of their files.
PICTURES: dict[str, Callable[[Any], None]] = {
    "lsh-sampling-collisions.svg": collisions,
    "lsh-sampling-inclusion.svg": inclusion,
    "lsh-sampling-probes.svg": probes,
}


def plot(folder: Path) -> None:
    """Write the pictures to a folder."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    for name, draw in PICTURES.items():
        with mpl.rc_context({"svg.hashsalt": "lshsample"}):
            figure = Figure(figsize=(8, 3.4), layout="constrained")
            draw(figure.subplots(1, 2))
            figure.savefig(folder / name, metadata={"Date": None})


if __name__ == "__main__":
    plot(Path(sys.argv[1]))
