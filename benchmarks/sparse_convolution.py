"""Sparse convolutions beside PyTorch's dense one: ``python benchmarks/sparse_convolution.py [--svg FILE]``.

The layers are conv2 to conv5 of AlexNet (a group of each; Krizhevsky et al. 2012) with random weights, 32
images, one thread. The methods run in turns, and a ratio is the median of those of the turns, with the least
and the largest. Times are those of the processor. The model of `ConvolutionCost` is measured on other shapes
before; its time is given as the ratio to the measured one. Last comes the accuracy of a small network whose
convolution is pruned and trained on. The picture, in docs/sparse-convolution.md, needs matplotlib.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seeds import pyplot

from lshsample.convolution import METHODS, ConvolutionCost, SparseFilters, WinogradFilters
from lshsample.torch import SparseConv2d

#: channels, side, filters, kernel
LAYERS = {
    "conv2": (48, 27, 128, 5),
    "conv3": (256, 13, 384, 3),
    "conv4": (192, 13, 192, 3),
    "conv5": (192, 13, 128, 3),
}


def seconds(call) -> float:
    """Processor time of this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def dense(images, weights):
    """PyTorch's convolution with padding by half of the kernel."""
    with torch.no_grad():
        return torch.nn.functional.conv2d(
            torch.from_numpy(images), torch.from_numpy(weights), padding=weights.shape[-1] // 2
        )


def measure(layer, density, images, turns, cost):
    """Times and ratios of a layer at a density."""
    channels, side, filters, kernel = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, channels, side, side), dtype=np.float32)
    weights = rng.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
    calls = {"dense": lambda: dense(x, weights)}
    for method, tile in METHODS.items():
        if not tile:
            sparse = SparseFilters.of(weights, density, padding=kernel // 2)
        elif kernel == 3:
            sparse = WinogradFilters.of(weights, density, tile=tile, padding=1)
        else:
            continue
        calls[method] = lambda sparse=sparse: sparse.convolve(x, threads=1)
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(seconds(call))
    sizes = {"images": images, "channels": channels, "size": side, "filters": filters, "kernel": kernel}
    found = {}
    for name, taken in times.items():
        ratios = np.array(times["dense"]) / np.array(taken)
        found[name] = {
            "ms": 1e3 * float(np.median(taken)),
            "ratio": [float(f(ratios)) for f in (np.median, np.min, np.max)],
            "model": cost.seconds(name, density, **sizes) / float(np.median(taken)),
        }
        if name != "dense":
            found[name]["break_even"] = cost.break_even(name, **sizes)
    return found


def accuracies(seed: int, densities: list[float], epochs: int = 8) -> dict[str, float]:
    """Accuracy on held-out digits (scikit-learn's, 8 x 8) of a network whose second convolution is pruned.

    A dense network is trained; then its second convolution is pruned, by each method to each density, and the
    network is trained for as many passes again, as is a dense one.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy((digits.images / 16 - 0.5).astype(np.float32))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, test = map(
        torch.from_numpy, train_test_split(np.arange(len(labels)), test_size=0.4, random_state=seed)
    )

    def fit(network):
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for rows in train[torch.randperm(len(train), generator=generator)].split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            return float((network(images[test]).argmax(1) == labels[test]).float().mean())

    torch.manual_seed(seed)
    first = torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3, padding=1)
    network = torch.nn.Sequential(
        *first, torch.nn.ReLU(), torch.nn.MaxPool2d(4), torch.nn.Flatten(), torch.nn.Linear(256, 10)
    )
    fit(network)
    found = {"dense 1": fit(copy.deepcopy(network))}
    for density in densities:
        for method in METHODS:
            pruned = copy.deepcopy(network)
            pruned[2] = SparseConv2d.from_conv(pruned[2], density, method, threads=1)
            found[f"{method} {density}"] = fit(pruned)
    return found


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


def draw(measured: dict[str, Any], path: Path) -> None:
    """The picture: times faster than dense for each layer, and the accuracy after pruning."""
    layers = _series(measured["layers"])
    plt = pyplot()
    figure, axes = plt.subplots(
        1, len(layers) + 1, figsize=(2.9 * (len(layers) + 1), 3.2), layout="constrained"
    )
    for (layer, points), axis in zip(layers.items(), axes[:-1], strict=True):
        draw_layer(layer, points, axis)
        axis.set_ylim(0, 6)
    axes[0].set_ylabel("times faster than dense")
    draw_accuracy(measured["accuracy"], axes[-1])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--density", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--seeds", type=int, default=3, help="of the accuracy after pruning")
    parser.add_argument("--json", type=Path, help="write the measurements")
    parser.add_argument("--svg", type=Path, help="write the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cost = ConvolutionCost.measure(dense, threads=1)
    results = {}
    print("layer density method         ms  dense / it (least, largest)  model / it  pays below")
    for layer in LAYERS:
        for density in options.density:
            found = results[f"{layer} {density}"] = measure(
                layer, density, options.images, options.turns, cost
            )
            for method, one in found.items():
                middle, low, high = one["ratio"]
                pays = f"{one['break_even']:.2f}" if "break_even" in one else ""
                ratio = f"{middle:9.2f} ({low:.2f}, {high:.2f})"
                start = f"{layer} {density:7.2f} {method:10} {one['ms']:6.1f}"
                print(f"{start} {ratio}{one['model']:15.2f}  {pays:>10}")
    runs = [accuracies(seed, options.density) for seed in range(options.seeds)]
    trained = {name: [run[name] for run in runs] for name in runs[0]} if runs else {}
    for name, shares in trained.items():
        print(f"{name:16} accuracy {np.mean(shares):.4f} ({min(shares):.4f}, {max(shares):.4f})")
    measured = {"layers": results, "accuracy": trained}
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    if options.svg:
        draw(measured, options.svg)


if __name__ == "__main__":
    main()
