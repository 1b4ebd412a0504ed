"""The picture of docs/sparse-convolution.md: ``python tools/plot_convolution.py measured.json out.svg``.

Needs matplotlib (``pip install 'lshsample[plots]'``). The JSON is that of benchmarks/sparse_convolution.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["plot"]


def _series(found: dict[str, Any]) -> dict[str, list[tuple[float, Any]]]:
    """The values of each method by density, from names of a method, or a layer, and a density."""
    made: dict[str, list[tuple[float, Any]]] = {}
    for name, value in found.items():
        label, density = name.split()
        made.setdefault(label, []).append((float(density), value))
    return made


def draw_layer(layer: str, measured: list[tuple[float, Any]], axis: Any) -> None:
    """How many times faster than dense, by density."""
    for method in measured[0][1]:
        if method != "dense":
            densities = [density for density, _ in measured]
            middle, low, high = zip(*(one[method]["ratio"] for _, one in measured), strict=True)
            below = [a - b for a, b in zip(middle, low, strict=True)]
            above = [b - a for a, b in zip(middle, high, strict=True)]
            axis.errorbar(densities, middle, yerr=[below, above], fmt="o-", markersize=4, label=method)
    axis.axhline(1, color="0.6", linewidth=1)
    axis.set_title(layer)
    axis.set_xlabel("density")


def draw_accuracy(trained: dict[str, list[float]], axis: Any) -> None:
    """Accuracy after pruning and training, as the mean and the range over seeds."""
    for method, points in _series(trained).items():
        if method == "dense":
            axis.axhline(100 * sum(points[0][1]) / len(points[0][1]), color="0.6", linewidth=1, label="dense")
            continue
        means = [100 * sum(values) / len(values) for _, values in points]
        below = [mean - 100 * min(values) for mean, (_, values) in zip(means, points, strict=True)]
        above = [100 * max(values) - mean for mean, (_, values) in zip(means, points, strict=True)]
        axis.errorbar([density for density, _ in points], means, yerr=[below, above], fmt="o-", markersize=4)
    axis.set_title("digits, accuracy in percent")
    axis.set_xlabel("density")


def plot(measured: dict[str, Any], path: Path) -> None:
    """Write the picture, in the format of the file extension."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    layers = _series(measured["layers"])
    with mpl.rc_context({"svg.hashsalt": "lshsample"}):
        figure = Figure(figsize=(2.9 * (len(layers) + 1), 3.2), layout="constrained")
        axes = figure.subplots(1, len(layers) + 1)
        for (layer, points), axis in zip(layers.items(), axes[:-1], strict=True):
            draw_layer(layer, points, axis)
            axis.set_ylim(0, 6)
        axes[0].set_ylabel("times faster than dense")
        draw_accuracy(measured["accuracy"], axes[-1])
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
