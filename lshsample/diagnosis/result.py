"""The result of a diagnosis: its tables, its picture, and what follows."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from lshsample.compare.plots import require_matplotlib
from lshsample.data import atomic_file
from lshsample.diagnosis.lookups import Lookup

__all__ = ["Diagnosis"]

#: A loss within this share of the full one counts as equal.
_SAME_LOSS = 0.01
#: A model that gets faster by less is not worth the change.
_WORTH = 1.1


@attrs.frozen(kw_only=True, repr=False)
class Diagnosis:
    """Whether a sampled layer would pay in a model.

    Attributes
    ----------
    layers : dict of str to float
        Seconds of each layer in a forward pass over the data.
    layer : str
        The layer that was examined.
    n_units : int
        Its units.
    n_rows : int
        Rows that were examined.
    loss : float
        The mean loss of the model as it is.
    oracle : dict of float to float
        The loss if, for each row, only the largest outputs of the layer are kept, by their share. An output
        layer also keeps the labels, as sampled training does.
    exact_seconds : float
        The time of all outputs of the layer, for the rows that lookups are timed with.
    lookups : tuple of Lookup
        What hash tables find of the oracle.
    """

    layers: dict[str, float]
    layer: str
    n_units: int
    n_rows: int
    loss: float
    oracle: dict[float, float]
    exact_seconds: float
    lookups: tuple[Lookup, ...]

    def __repr__(self) -> str:
        return f"Diagnosis({self.layer!r}, {self.n_units:,} units, {self.n_rows:,} rows)"

    @property
    def share(self) -> float:
        """The layer's share of the time of all layers."""
        return self.layers[self.layer] / max(sum(self.layers.values()), 1e-12)

    def keeps(self, loss: float) -> bool:
        """Whether a loss is within 1 % of that of the model as it is."""
        return bool(abs(loss - self.loss) <= _SAME_LOSS * max(abs(self.loss), 1e-12))

    @property
    def enough(self) -> float | None:
        """The smallest share of the oracle that keeps the loss within 1 %, also with all larger ones."""
        least = None
        for fraction in sorted(self.oracle, reverse=True):
            if not self.keeps(self.oracle[fraction]):
                break
            least = fraction
        return least

    @property
    def best(self) -> Lookup | None:
        """The fastest tables that keep the loss within 1 %; None if none do."""
        kept = [lookup for lookup in self.lookups if self.keeps(lookup.loss)]
        return min(kept, key=lambda lookup: lookup.seconds) if kept else None

    def speed_up(self, seconds: float) -> float:
        """How many times faster all layers are if this one takes these seconds in place of the exact ones."""
        return 1 / (1 - self.share + self.share * seconds / max(self.exact_seconds, 1e-12))

    @property
    def pays(self) -> bool:
        """Whether the best tables make all layers at least 1.1 times faster at the same loss."""
        return self.best is not None and self.speed_up(self.best.seconds) >= _WORTH

    @property
    def verdict(self) -> str:
        """One paragraph: whether a sampled layer pays, and why."""
        bound = 1 / max(1 - self.share, 1e-12)
        said = (
            f"{self.layer} has {self.n_units:,} units and takes {self.share:.0%} of the forward time: if it "
            f"cost nothing, all layers would be {bound:.1f} times faster."
        )
        if self.enough is None:
            most = max(self.oracle)
            said += (
                f" Its largest {most:.0%} of outputs do not keep the loss within 1 % "
                f"({self.oracle[most]:.4g} instead of {self.loss:.4g}), so that no way to find them can."
            )
        else:
            said += f" The largest {self.enough:.0%} of its outputs keep the loss within 1 %."
        if self.best is None:
            nearest = min(self.lookups, key=lambda lookup: abs(lookup.loss - self.loss))
            said += (
                f" No tables that were tried do: the nearest (K {nearest.n_hashes}, L {nearest.n_tables}) "
                f"score {nearest.share:.1%} of the units and have a loss of {nearest.loss:.4g}."
            )
        else:
            ratio = self.exact_seconds / max(self.best.seconds, 1e-12)
            said += (
                f" Tables with K {self.best.n_hashes}, L {self.best.n_tables} keep it with "
                f"{self.best.share:.1%} of the units, {ratio:.2g} times as fast as all outputs; all layers "
                f"become {self.speed_up(self.best.seconds):.2g} times as fast."
            )
        if self.pays:
            return said + " A sampled layer pays here."
        if bound < _WORTH:
            return said + " A sampled layer does not pay: the layer takes too little of the time."
        if self.enough is None or self.best is None:
            return said + " A sampled layer does not pay at this loss."
        return said + " A sampled layer does not pay: to find and score the units takes too long."

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain = attrs.asdict(self)
        return {**plain, "share": self.share, "pays": self.pays, "verdict": self.verdict}

    def __str__(self) -> str:
        lines = ["layer                                       ms   share"]
        total = max(sum(self.layers.values()), 1e-12)
        lines += [f"{n[:36]:36} {1e3 * s:9.2f} {s / total:7.1%}" for n, s in self.layers.items()]
        lines += ["", f"largest outputs of {self.layer} kept    loss"]
        lines += [f"{f:8.1%} {max(round(f * self.n_units), 1):9,} {v:12.5g}" for f, v in self.oracle.items()]
        lines += [f"{'all':>8} {self.n_units:9,} {self.loss:12.5g}", ""]
        heads = " ".join(f"{f'of {f:.0%}':>8}" for f in self.oracle)
        lines += [f"  K    L   scored  {heads}         loss        ms"]
        for one in self.lookups:
            recalls = " ".join(f"{recall:8.1%}" for recall in one.recall.values())
            lines += [
                f"{one.n_hashes:3} {one.n_tables:4} {one.share:8.1%}  {recalls} {one.loss:12.5g} "
                f"{1e3 * one.seconds:9.2f}"
            ]
        return "\n".join([*lines, f"all outputs: {1e3 * self.exact_seconds:.2f} ms", "", self.verdict])

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw as SVG: the time of the layers, the loss by the outputs kept, what tables find by their cost.

        Raises
        ------
        UnsupportedError
            matplotlib is not installed (``pip install 'lshsample[plots]'``).
        """
        require_matplotlib()
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        times, losses, finds = figure.subplots(1, 3)
        names = list(self.layers)
        colours = ["#D55E00" if name == self.layer else "#0072B2" for name in names]
        times.barh(range(len(names)), [1e3 * self.layers[name] for name in names], color=colours)
        times.set_yticks(range(len(names)), names)
        times.invert_yaxis()
        times.set_xlabel("ms, forward")
        losses.plot([100 * f for f in self.oracle], list(self.oracle.values()), "o-", color="#0072B2")
        losses.plot(
            [100 * one.share for one in self.lookups],
            [one.loss for one in self.lookups],
            "s",
            color="#D55E00",
            label="found by tables",
        )
        losses.axhline(self.loss, color="#4D4D4D", linestyle="--", linewidth=1, label="all outputs")
        losses.set_xlabel("outputs kept, %")
        losses.set_ylabel("loss")
        losses.legend(frameon=False)
        for fraction in self.oracle:
            finds.plot(
                [1e3 * one.seconds for one in self.lookups],
                [100 * one.recall[fraction] for one in self.lookups],
                "o",
                label=f"largest {fraction:.0%}",
            )
        finds.axvline(1e3 * self.exact_seconds, color="#4D4D4D", linestyle="--", linewidth=1)
        finds.set_xlabel("ms to find and score (dashed: all outputs)")
        finds.set_ylabel("found, %")
        finds.legend(frameon=False)
        with atomic_file(Path(path)) as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
