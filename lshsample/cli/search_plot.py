"""The picture of a search over recipes: the best value over time, and the value by each setting."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs

from lshsample.compare.plots import require_matplotlib
from lshsample.data import atomic_file
from lshsample.xc import SearchResult, Trial
from lshsample.xc.search_space import Range, Space

__all__ = ["write_search_plot"]

_COLUMNS = 4
_POINT, _BEST, _BASE = "#0072B2", "#D55E00", "#4D4D4D"


def write_search_plot(result: SearchResult, path: Path) -> None:
    """Draw a search as SVG.

    Raises
    ------
    UnsupportedError
        matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = Space.of(result.space).settings
    n_rows = -(-len(settings) // _COLUMNS)
    figure = Figure(figsize=(11, 3.4 + 2.4 * n_rows), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.add_gridspec(n_rows + 1, _COLUMNS, height_ratios=[1.3] + [1.0] * n_rows)
    _draw_time(figure.add_subplot(grid[0, :]), result)
    base = attrs.evolve(result.trials[0], values=result.base_values)
    tried = [base, *(trial for trial in result.trials[1:] if trial.value is not None)]
    for at, (name, setting) in enumerate(settings.items()):
        axes = figure.add_subplot(grid[1 + at // _COLUMNS, at % _COLUMNS])
        _draw_setting(axes, name, setting, tried, result)
        if at % _COLUMNS == 0:
            axes.set_ylabel(_label(result.metric))
    with atomic_file(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw_time(axes: Any, result: SearchResult) -> None:
    """The trials, and the best value so far, over time."""
    ends = list(accumulate(trial.seconds for trial in result.trials))
    done = {end: t.value for end, t in zip(ends, result.trials, strict=True) if t.value is not None}
    times, values = list(done), list(done.values())
    best = list(accumulate(values, max))
    axes.step([*times, ends[-1]], [*best, best[-1]], where="post", color=_BEST, label="best so far")
    axes.plot(times, values, "o", color=_POINT, markersize=4, label="trial")
    ended = [end for end in ends if end not in done]
    low = min(values) - 0.05 * (max(values) - min(values) or 1.0)
    if ended:
        axes.plot(ended, [low] * len(ended), "x", color=_BASE, markersize=5, label="ended early")
    axes.axhline(values[0], color=_BASE, linestyle="--", linewidth=1, label="base recipe")
    axes.set_xlabel("seconds")
    axes.set_ylabel(_label(result.metric))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.grid(alpha=0.3)


def _draw_setting(axes: Any, name: str, setting: Any, tried: list[Trial], result: SearchResult) -> None:
    """The value of each complete trial by one setting, as far as it has one there."""
    tried = [trial for trial in tried if setting.known(trial.values[name]) is not None]
    if isinstance(setting, Range):
        places = [trial.values[name] for trial in tried]
        margin = 0.04
        if setting.log:
            axes.set_xscale("log")
            ratio = (setting.high / setting.low) ** margin
            axes.set_xlim(setting.low / ratio, setting.high * ratio)
        else:
            width = margin * (setting.high - setting.low)
            axes.set_xlim(setting.low - width, setting.high + width)
        if setting.log and setting.high / setting.low < 30:  # decades alone would mark one place or none
            from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

            middle = (setting.low * setting.high) ** 0.5
            ticks = [setting.low, round(middle) if setting.is_whole else middle, setting.high]
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.2g}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        texts = [json.dumps(value) for value in setting.values]
        places = [texts.index(json.dumps(trial.values[name])) for trial in tried]
        axes.set_xticks(range(len(texts)), [text.strip('[]"') for text in texts])
        axes.set_xlim(-0.5, len(texts) - 0.5)
    best = result.best.number
    colours = [_BEST if trial.number == best else _POINT for trial in tried]
    axes.scatter(places, [trial.value for trial in tried], c=colours, s=14)
    axes.axhline(result.trials[0].value, color=_BASE, linestyle="--", linewidth=1)
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)


def _label(metric: str) -> str:
    return f"{metric.upper()}, %" if "," not in metric else f"mean of {metric.upper()}, %"
