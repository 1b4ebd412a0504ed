"""A page that compares runs: figures, learning curves and settings, as one HTML file without scripts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

__all__ = ["Run", "report_page"]

#: Colours of the runs, which are told apart by people of any colour vision (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8a800")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 380, 70, 58, 16, 16
_STYLE = """
:root { color-scheme: light dark; --line: #8885; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
small { opacity: .7; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 14px; fill: currentColor; }
svg .grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 1.6em; border-top: 3px solid; margin-right: .5em;
            vertical-align: middle; }
@media (max-width: 600px) { svg text { font-size: 25px; } body { margin-top: 1rem; } }
"""


@attrs.frozen
class Run:
    """A run of a report.

    Attributes
    ----------
    name : str
    result : mapping
        As in its ``train.json``.
    """

    name: str
    result: Mapping[str, Any]


@attrs.frozen
class _Line:
    name: str
    colour: str
    points: list[tuple[float, float]]
    dashed: bool = False


def report_page(runs: Sequence[Run]) -> str:
    """The page of some runs."""
    colours = {run.name: _COLOURS[i % len(_COLOURS)] for i, run in enumerate(runs)}
    body = [
        f"<h1>{_count(len(runs), 'training run')}</h1>",
        _section(
            "Comparison",
            _comparison(runs),
            "In brackets: bootstrap intervals over the test rows. Calibration error: expected, in percent.",
        ),
        _section(
            "Parts on held-out rows",
            _stages(runs),
            "P@1 of each part and of their mixture, in percent, and seconds since the start.",
        ),
        _chart("Precision of networks on held-out rows", _curves(runs, colours), "seconds", "P@1, %"),
        _chart("Loss of networks", _losses(runs, colours), "epoch", "mean loss"),
        _section("Settings that differ", _settings(runs), ""),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>lshsample report</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _section(title: str, content: str, note: str) -> str:
    if not content:
        return ""
    below = f"<p><small>{html.escape(note)}</small></p>" if note else ""
    return f"<section><h2>{html.escape(title)}</h2>\n{content}\n{below}</section>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{html.escape(one)}</th>" for one in head)
    lines = "\n".join(f"<tr>{''.join(f'<td>{html.escape(one)}</td>' for one in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>\n{lines}</table></div>'


def _comparison(runs: Sequence[Run]) -> str:
    def measure(result: Mapping[str, Any], k: int) -> str:
        value, bounds = result.get(f"p@{k}"), (result.get("intervals") or {}).get(f"p@{k}")
        if value is None:
            return "–"
        return f"{value:.2f}" + (f" ({bounds[0]:.2f} – {bounds[1]:.2f})" if bounds else "")

    def number(value: float | None, text: str) -> str:
        return "–" if value is None else format(value, text)

    measures = [f"P@{k}, %" for k in (1, 3, 5)]
    head = ("run", *measures, "calibration error", "seconds", "peak, MiB", "weights", "files, MiB")
    rows = []
    for run in runs:
        result, size = run.result, run.result.get("model_bytes")
        rows.append(
            [
                run.name,
                *(measure(result, k) for k in (1, 3, 5)),
                number(result.get("calibration_error"), ".2f"),
                number(result.get("train_seconds"), ",.1f"),
                number(result.get("peak_rss_mib"), ",.0f"),
                number(result.get("n_parameters"), ","),
                number(None if size is None else size / 2**20, ",.1f"),
            ]
        )
    return _table(head, rows)


def _stages(runs: Sequence[Run]) -> str:
    measured = {
        run.name: {one["name"]: one for one in run.result.get("stages", ()) if "p@1" in one} for run in runs
    }
    names = list(dict.fromkeys(name for stages in measured.values() for name in stages))
    if not names:
        return ""
    rows = [
        [
            run,
            *(f"{one[n]['p@1']:.2f} ({one[n]['seconds']:,.1f} s)" if n in one else "–" for n in names),
        ]
        for run, one in measured.items()
    ]
    return _table(["run", *names], rows)


def _networks(run: Run) -> list[Mapping[str, Any]]:
    """The histories of a run's networks: several, or that of the network alone."""
    networks = run.result.get("networks")
    return list(networks) if networks is not None else [run.result]


def _named(run: Run, index: int, count: int) -> str:
    return run.name if count == 1 else f"{run.name}, network {index + 1}"


def _curves(runs: Sequence[Run], colours: Mapping[str, str]) -> list[_Line]:
    lines = []
    for run in runs:
        histories = [one for one in _networks(run) if one.get("curve")]
        for index, history in enumerate(histories):
            points = [(one["seconds"], one["p@1"]) for one in history["curve"]]
            lines.append(_Line(_named(run, index, len(histories)), colours[run.name], points, index > 0))
    return lines


def _losses(runs: Sequence[Run], colours: Mapping[str, str]) -> list[_Line]:
    lines = []
    for run in runs:
        histories = [one for one in _networks(run) if one.get("epochs")]
        for index, history in enumerate(histories):
            points = [(float(one["epoch"]), one["loss"]) for one in history["epochs"]]
            lines.append(_Line(_named(run, index, len(histories)), colours[run.name], points, index > 0))
    return lines


def _settings(runs: Sequence[Run]) -> str:
    flat = [dict(_flat(run.result.get("recipe") or {})) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    differing = [name for name in names if len({str(one.get(name)) for one in flat}) > 1]
    if not differing:
        return ""
    rows = [[name, *(str(one.get(name, "–")) for one in flat)] for name in differing]
    return _table(["setting", *(run.name for run in runs)], rows)


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Charts.


def _chart(title: str, lines: list[_Line], x_label: str, y_label: str) -> str:
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    legend = "".join(
        f'<li><i style="border-color:{one.colour};border-top-style:{"dashed" if one.dashed else "solid"}">'
        f"</i>{html.escape(one.name)}</li>"
        for one in lines
    )
    return _section(title, f'{_svg(title, lines, x_label, y_label)}\n<ul class="legend">{legend}</ul>', "")


def _svg(title: str, lines: list[_Line], x_label: str, y_label: str) -> str:
    xs, ys = ([point[i] for line in lines for point in line.points] for i in (0, 1))
    x_ticks, y_ticks = _ticks(min(0.0, *xs), max(xs)), _ticks(min(ys), max(ys))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x_of(x: float) -> float:
        return _LEFT + (right - _LEFT) * (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])

    def y_of(y: float) -> float:
        return bottom - (bottom - _TOP) * (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    out = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">']
    for tick in y_ticks:
        at = y_of(tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{at + 5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        out.append(f'<text x="{x_of(tick):.1f}" y="{bottom + 24}" text-anchor="middle">{tick:g}</text>')
    middle = (_LEFT + right) / 2
    out.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    out.append(f'<text x="{_LEFT + 8}" y="{_TOP + 12}">{html.escape(y_label)}</text>')
    for line in lines:
        places = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        dash = ' stroke-dasharray="7 5"' if line.dashed else ""
        style = f'fill="none" stroke="{line.colour}" stroke-width="2.5"{dash}'
        out.append(f'<polyline points="{places}" {style}/>')
        for x, y in line.points:
            told = html.escape(f"{line.name}: {y:.4g} at {x:.4g}")
            place = f'cx="{x_of(x):.1f}" cy="{y_of(y):.1f}"'
            out.append(f'<circle {place} r="3.5" fill="{line.colour}"><title>{told}</title></circle>')
    return "\n".join([*out, "</svg>"])


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that enclose a range, at most about ``most`` of them."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
