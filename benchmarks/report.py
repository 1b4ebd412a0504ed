"""One page with the results of a run: every benchmark beside its floor and its peer.

``pytest benchmarks --benchmark-only --benchmark-json=run.json`` measures, ``python benchmarks/report.py
run.json --out report.html`` writes the page, and ``--before other.json`` compares with another run. The page
needs nothing else: no scripts, no pictures beside it, no network.

A long run can be measured in parts, ``pytest benchmarks/bench_hash.py --benchmark-only
--benchmark-json=hash.json`` and so on, and reported together: ``report.py hash.json tables.json --out
report.html``.

The floor of a benchmark is the time that its least number of bytes, or of operations, whichever takes longer,
would take at the rates that were measured just before it (``calibration.py``); or a floor that the benchmark
measures itself. Two runs are compared by the ratio of a median to the time of the calibration kernels, which
takes out of it how fast the machine was; a difference counts as one if the quartiles do not overlap.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
from collections import Counter
from html import escape
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).resolve().parent
STYLE = """
:root { color-scheme: light dark; --text: #1c1f24; --dim: #5b6470; --line: #d7dbe0; --back: #ffffff;
  --head: #f4f6f8; --ours: #1667b7; --peer: #b5551d; --floor: #4d7c2a; --good: #2b6a1b; --bad: #a8261b; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e6ea; --dim: #9aa4b0; --line: #3a414b;
  --back: #14181d; --head: #1d232a; --ours: #6cb2f5; --peer: #f0a070; --floor: #97c870;
  --good: #8fd07a; --bad: #f38b82; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--back); }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 0.3rem; }
p, dl { max-width: 48rem; } .dim { color: var(--dim); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { color: var(--dim); } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; }
th { background: var(--head); text-align: left; font-weight: 600; vertical-align: bottom; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid var(--line); }
td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: break-word; min-width: 12rem; } td small { color: var(--dim); display: block; }
svg { display: block; width: 14rem; height: 1.25rem; overflow: visible; } svg.axis { height: 1.4rem; }
svg text { fill: var(--dim); font-size: 10px; } .grid { stroke: var(--line); }
.ours { fill: var(--ours); } .spread { fill: var(--ours); opacity: 0.35; } .peer { fill: var(--peer); }
.floor { stroke: var(--floor); stroke-width: 2; } .good { color: var(--good); } .bad { color: var(--bad); }
.key { display: flex; flex-wrap: wrap; gap: 0 1.2rem; }
.key span::before { content: ""; display: inline-block; margin-right: 0.4rem;
  vertical-align: middle; background: var(--c); width: 0.7rem; height: 0.7rem; }
.key .tick::before { width: 2px; height: 1rem; } .key .dot::before { border-radius: 50%; }
@media (max-width: 48rem) {
  thead { display: none; } table, tbody { display: block; }
  tr { display: grid; grid-template-columns: 1fr 1fr; padding: 0.5rem 0;
    border-bottom: 1px solid var(--line); }
  td { border: 0; padding: 0.1rem 0; } td.name, td.picture { grid-column: 1 / -1; }
  td.name { font-weight: 600; } td.figure { text-align: left; white-space: normal; }
  td.figure::before { content: attr(data-label) " "; color: var(--dim); } td:empty { display: none; }
}
"""


def milliseconds(seconds):
    """A time in milliseconds, with three digits."""
    value = 1e3 * seconds
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(digits, 5)}f}"


def times(ratio):
    """A ratio with two or three digits."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}"


class Row:
    """A benchmark of a run."""

    def __init__(self, one):
        stats, self.extra = one["stats"], one["extra_info"]
        self.name, self.key, self.group = one["name"], one["fullname"], one["group"] or ""
        self.low, self.median, self.high = stats["q1"], stats["median"], stats["q3"]
        self.rate = self.extra["calibration"]

    @property
    def title(self):
        """The name of the benchmark in words, with its parameters."""
        name, bracket, parameters = self.name.removeprefix("test_").partition("[")
        return name.replace("_", " ") + (f": {parameters.removesuffix(']')}" if bracket else "")

    @property
    def file(self):
        """The file of the benchmark, without its folder."""
        return Path(self.key.partition("::")[0]).name

    @property
    def floor(self):
        """(seconds, what takes them), or None."""
        if "floor_ms" in self.extra:
            return self.extra["floor_ms"] / 1e3, "measured in the same run"
        known = {
            f"{self.extra[what] / 1e6:,.{1 if self.extra[what] < 1e8 else 0}f} M {word}": self.extra[what]
            / self.rate[f"{per}_per_second"]
            for what, per, word in (("bytes", "bytes", "bytes"), ("flop", "flop", "operations"))
            if self.extra.get(what)
        }
        return max(((seconds, text) for text, seconds in known.items()), default=None)

    @property
    def peer(self):
        """Seconds of the peer, or None."""
        return self.extra["peer_ms"] / 1e3 if "peer_ms" in self.extra else None

    def units(self, seconds):
        """A time as a multiple of that of the calibration kernels."""
        return seconds / self.rate["unit_seconds"]


class Scale:
    """A logarithmic axis over all times of a group, in a picture that is 224 wide."""

    WIDTH, MARGIN = 224, 8

    def __init__(self, values):
        low, high = math.log10(min(values)), math.log10(max(values))
        spare = max(0.0, 0.5 - (high - low)) / 2 + 0.05
        self.low, self.high = low - spare, high + spare

    def __call__(self, value):
        inside = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.MARGIN + inside * (self.WIDTH - 2 * self.MARGIN), 1)

    def ticks(self):
        """Powers of ten, or 1, 2 and 5 times them where those are too few; at most five."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            found = [f * 10.0**p for p in powers for f in factors]
            found = [value for value in found if self.low <= math.log10(value) <= self.high]
            if len(found) >= 2:
                break
        return found[:: -(-len(found) // 5)]

    def picture(self, shapes, kind, label=""):
        """An SVG of some shapes."""
        named = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
        size = f'viewBox="0 0 {self.WIDTH} {22 if kind == "axis" else 20}" preserveAspectRatio="none"'
        return f'<svg class="{kind}" {size} {named}>{"".join(shapes)}</svg>'

    def axis(self, word):
        """The axis, over the column of pictures."""
        marks = [
            f'<text x="{self(value)}" y="10" text-anchor="middle">{word(value)}</text>'
            f'<line class="grid" x1="{self(value)}" x2="{self(value)}" y1="14" y2="22"/>'
            for value in self.ticks()
        ]
        return self.picture(marks, "axis")

    def grid(self):
        """The lines of the axis in a row."""
        return [f'<line class="grid" x1="{self(v)}" x2="{self(v)}" y1="0" y2="20"/>' for v in self.ticks()]


def tick(value):
    """A time on an axis, in seconds, as text."""
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= 0.999 * unit:
            return f"{value / unit:g} {name}"
    return f"{value / 1e-9:.3g} ns"


def strip(row, scale):
    """The picture of a row: the quartiles, the median, the floor and the peer."""
    shapes = scale.grid()
    left, right = scale(row.low), scale(row.high)
    shapes.append(f'<rect class="spread" x="{left}" y="5" width="{max(right - left, 1):.1f}" height="10"/>')
    shapes.append(f'<rect class="ours" x="{scale(row.median) - 1.5:.1f}" y="3" width="3" height="14"/>')
    label = f"{milliseconds(row.median)} ms"
    if row.floor:
        at = scale(row.floor[0])
        shapes.append(f'<line class="floor" x1="{at}" x2="{at}" y1="1" y2="19"/>')
        label += f", floor {milliseconds(row.floor[0])} ms"
    if row.peer:
        shapes.append(f'<circle class="peer" cx="{scale(row.peer)}" cy="10" r="4"/>')
        label += f", peer {milliseconds(row.peer)} ms"
    return scale.picture(shapes, "strip", label)


def change(row, old):
    """How a row differs from the same one in another run."""
    if old is None:
        return "new"
    ratio = row.units(row.median) / old.units(old.median)
    apart = row.units(row.low) > old.units(old.high) or row.units(row.high) < old.units(old.low)
    kind = ("bad" if ratio > 1 else "good") if apart else "dim"
    return f'<span class="{kind}">{times(ratio)}</span>'


def floor_text(row):
    """The floor of a row with what takes it."""
    return f"{milliseconds(row.floor[0])}<small>{row.floor[1]}</small>" if row.floor else ""


def ratio_text(row):
    """The ratio of peer to ours, with its quartiles."""
    found = row.extra.get("ratio_quartiles")
    return f"{times(found[1])} ({times(found[0])} to {times(found[2])})" if found else ""


def columns(rows, before):
    """(head, text of a row) of each column of figures that is not empty."""
    every = [
        ("ms", lambda row: milliseconds(row.median)),
        ("quartiles", lambda row: f"{milliseconds(row.low)} to {milliseconds(row.high)}"),
        ("floor, ms", floor_text),
        ("times floor", lambda row: times(row.median / row.floor[0]) if row.floor else ""),
        ("units", lambda row: times(row.units(row.median))),
        ("peer, ms", lambda row: milliseconds(row.peer) if row.peer else ""),
        ("times ours", ratio_text),
    ]
    if before is not None:
        every.append(("now / before", lambda row: change(row, before.get(row.key))))
    return [(head, text) for head, text in every if any(map(text, rows))]


def table(rows, before):
    """The rows of a group. Where there is no room for a head, each cell shows its label."""
    values = [value for row in rows for value in (row.low, row.median, row.high, row.peer) if value]
    scale = Scale(values + [row.floor[0] for row in rows if row.floor])
    figures = columns(rows, before)
    heads = "".join(f'<th class="figure" scope="col">{head}</th>' for head, _ in figures)
    out = [f'<table><thead><tr><th scope="col">operation</th><th scope="col">{scale.axis(tick)}</th>{heads}']
    out.append("</tr></thead><tbody>")
    for row in rows:
        notes = [row.extra.get("settings"), row.extra.get("peer") and f"beside {row.extra['peer']}"]
        small = "".join(f"<small>{escape(note)}</small>" for note in notes if note)
        out.append(f'<tr><td class="name">{escape(row.title)}{small}</td>')
        out.append(f'<td class="picture">{strip(row, scale)}</td>')
        out += [f'<td class="figure" data-label="{head}:">{text(row)}</td>' for head, text in figures]
        out.append("</tr>")
    return "".join([*out, "</tbody></table>"])


def grouped(rows, key):
    """Rows by a key, in their order."""
    found = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def purpose(file):
    """The first sentence of a file of benchmarks."""
    path = FOLDER / file
    return ast.get_docstring(ast.parse(path.read_text())).partition("\n")[0] if path.exists() else ""


def machine(run, rows):
    """What the run ran on."""
    first = rows[0].extra["run"]
    copies = sorted(row.rate["bytes_per_second"] / 1e9 for row in rows)
    products = sorted(row.rate["flop_per_second"] / 1e9 for row in rows)
    commit = run.get("commit_info", {})
    about = {
        "measured": run["datetime"][:16].replace("T", " "),
        "commit": commit.get("id", "unknown")[:12] + (", with changes" if commit.get("dirty") else ""),
        "processor": f"{first['cpu']}, {first['processors']} in use, instruction set {first['isa']}",
        "versions": ", ".join(f"{name} {version}" for name, version in first["versions"].items()),
        "copy": f"{median(copies):.1f} GB/s ({copies[0]:.1f} to {copies[-1]:.1f} during the run)",
        "product": f"{median(products):.0f} GFLOP/s ({products[0]:.0f} to {products[-1]:.0f})",
    }
    lines = [f"<dt>{name}</dt><dd>{escape(str(text))}</dd>" for name, text in about.items()]
    return f"<dl>{''.join(lines)}</dl>"


def joined(paths):
    """The JSON of a run, whose files were written one after another.

    Raises
    ------
    SystemExit
        If they are of several machines or commits, or a benchmark is in several of them.
    """
    runs = sorted((json.loads(path.read_text()) for path in paths), key=lambda run: run["datetime"])
    found = {
        "machines": {one["extra_info"]["run"]["cpu"] for run in runs for one in run["benchmarks"]},
        "commits": {
            (one.get("id"), one.get("dirty")) for one in (run.get("commit_info", {}) for run in runs)
        },
    }
    for what, several in found.items():
        if len(several) > 1:
            raise SystemExit(f"the parts of a run must be of one machine and commit (got {what} {several})")
    rows = [one for run in runs for one in run["benchmarks"]]
    for name, count in Counter(one["fullname"] for one in rows).items():
        if count > 1:
            raise SystemExit(f"the parts of a run must have each benchmark once (got {name} {count} times)")
    return {**runs[0], "benchmarks": rows}


def page(run, before=None):
    """The page of a run, the JSON of pytest-benchmark; ``before`` is another one to compare with.

    Raises
    ------
    SystemExit
        If a benchmark has no calibration: the run is of an older version.
    """
    for one in [*run["benchmarks"], *(before or {}).get("benchmarks", [])]:
        if "calibration" not in one["extra_info"]:
            raise SystemExit(f"{one['fullname']} has no calibration: measure again with this version")
    rows = [Row(one) for one in run["benchmarks"]]
    old = None if before is None else {row.key: row for row in map(Row, before["benchmarks"])}
    files = grouped(rows, lambda row: row.file)
    links = ", ".join(f'<a href="#{file}">{file}</a>' for file in files)
    parts = [
        "<h1>lshsample: benchmarks of one run</h1>",
        machine(run, rows),
        "<p>A picture has the median, the quartiles, the floor and the peer on a logarithmic axis. The floor "
        "is the time that the least number of bytes or operations takes at the rates of a copy and of a "
        "product, timed just before on as many threads. A unit is the geometric mean of the times of these "
        "two. Peers are timed in turns; <em>times ours</em> is the ratio with its quartiles.</p>",
        '<p class="key"><span style="--c:var(--ours)">lshsample</span><span class="tick" '
        'style="--c:var(--floor)">floor</span><span class="dot" style="--c:var(--peer)">peer</span></p>',
        f"<p>Files: {links}.</p>",
    ]
    if old is not None:
        parts.append(
            "<p><em>now / before</em> is the ratio of units in this run to those in another; it has a color "
            f"where the quartiles do not overlap. The other: </p>{machine(before, [*old.values()])}"
        )
        gone = sorted(old.keys() - {row.key for row in rows})
        if gone:
            parts.append(f"<p>Only in the other run: {escape(', '.join(gone))}.</p>")
    for file, own in files.items():
        parts.append(f'<h2 id="{file}">{file}</h2><p>{escape(purpose(file))}</p>')
        parts.append(f"<p>Repeat: <code>pytest benchmarks/{file} --benchmark-only</code></p>")
        for name, group in grouped(own, lambda row: row.group).items():
            parts.append(f"<h3>{escape(name)}</h3>{table(group, old)}")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>lshsample: benchmarks of one run</title><style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def main():
    parser = argparse.ArgumentParser(description="One page with the results of a run of the benchmarks.")
    parser.add_argument("run", type=Path, nargs="+", help="what --benchmark-json wrote; of one run")
    parser.add_argument("--before", type=Path, nargs="+", help="another run to compare with")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    given = parser.parse_args()
    before = joined(given.before) if given.before else None
    given.out.write_text(page(joined(given.run), before))


if __name__ == "__main__":
    main()
