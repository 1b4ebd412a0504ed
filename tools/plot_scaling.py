"""The plots of docs/scaling.md: ``python tools/plot_scaling.py docs/scaling.json docs/scaling.svg``.

The file of figures is written by ``tools/measure_scaling.py``.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from lshsample.ray import StepModel

WORKERS = [2**i for i in range(3, 11)]
LABELS = [10**7, 10**8, 10**9, 10**10]
PARTS = {
    "below": "layers below",
    "work": "active units",
    "tables": "tables",
    "messages": "messages",
    "traffic": "traffic",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    model = StepModel(**json.loads(options.figures.read_text())["sparse"]["model"])
    with mpl.rc_context({"svg.hashsalt": "lshsample", "font.size": 9}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for labels in LABELS:
            times = [model.step(workers=w, labels=labels) for w in WORKERS]
            line = left.plot(WORKERS, [t.seconds for t in times], marker="o", markersize=3)[0]
            left.annotate(f"$10^{{{len(str(labels)) - 1}}}$", (WORKERS[0], times[0].seconds), (-4, 0),
                          textcoords="offset points", ha="right", color=line.get_color())  # fmt: skip
        left.set(xscale="log", yscale="log", xlabel="workers", ylabel="seconds a step", xlim=(5, 1300))
        left.set_xticks(WORKERS, WORKERS)
        left.minorticks_off()
        left.set_title("by number of labels")
        times = [model.step(workers=w, labels=10**9) for w in WORKERS]
        bottom = [0.0] * len(WORKERS)
        for part, name in PARTS.items():
            heights = [getattr(t, part) for t in times]
            right.bar([str(w) for w in WORKERS], heights, bottom=bottom, label=name)
            bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
        right.set(xlabel="workers", ylabel="seconds a step")
        right.set_title("$10^9$ labels, by what it is spent on")
        right.legend(frameon=False)
        figure.savefig(options.out, metadata={"Date": None})
    print(f"{'labels':>12} {'workers':>8} {'seconds':>9} {'GB':>7}")
    for labels in LABELS:
        best = min(WORKERS, key=lambda w: model.step(workers=w, labels=labels).seconds)
        for workers in sorted({8, best, 1024}):
            one = model.step(workers=workers, labels=labels)
            mark = "  fastest" if workers == best else ""
            print(f"{labels:12.0e} {workers:8} {one.seconds:9.3f} {one.memory / 1e9:7.1f}{mark}")


if __name__ == "__main__":
    main()
