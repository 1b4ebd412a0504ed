"""The picture of the floors in docs/architecture.md, drawn from the imports of the package.

``python tools/draw_architecture.py`` writes ``docs/architecture.svg``; a test draws it again and compares.
The floors are those that ``tests/architecture/test_imports.py`` enforces. An arrow is an import of any kind:
at the top of a file, inside a function, for type checkers, by ``import_module``. Imports that follow from
others are left out (transitive reduction), since everything uses ``errors``.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FILE", "drawing", "floors", "imports", "reduction"]

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "architecture.svg"
PLUGINS, CORE = "lshsample_families", "cext"

Edges = set[tuple[str, str]]

#: Sizes in pixels.
BAND, HEIGHT, BOX, GAP, MARGIN, LETTER = 58, 26, 20, 30, 24, 7.4
STYLE = """
text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1f2933; text-anchor: middle; }
.floor { fill: #f4f6f8; } .floor.odd { fill: #eaeef2; }
.box { fill: #ffffff; stroke: #52606d; } .folder { fill: #dcecfb; }
.line { fill: none; stroke: #829ab1; } .arrow { marker-end: url(#tip); }
.tip { fill: #829ab1; }
"""


def floors() -> list[list[str]]:
    """Files and folders of the package by floor, lowest first, with the C core below and plugins above."""
    text = (ROOT / "tests" / "architecture" / "test_imports.py").read_text()
    match = re.search(r"^FLOORS = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    named: list[list[str]] = ast.literal_eval(match[1])
    above = next(number for number, names in enumerate(named) if "plugin" in names) + 1
    return [[CORE], *named[:above], [*named[above], PLUGINS], *named[above + 1 :]]


def _modules(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports; ``lshsample.x`` for ``from lshsample import x`` too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "import_module" and isinstance(node.args[0].value, str):
                yield node.args[0].value


def imports(units: set[str]) -> Edges:
    """(importer, imported) for files and folders of the package; the C core counts as imported by _native."""
    edges = {("_native", CORE)}
    package = ROOT / "lshsample"
    for path in sorted([*package.rglob("*.py"), *(ROOT / "plugins" / PLUGINS).glob("*.py")]):
        inside = path.is_relative_to(package)
        unit = path.relative_to(package).with_suffix("").parts[0] if inside else PLUGINS
        names = (name.split(".") for name in _modules(path))
        used = {name[1] for name in names if name[0] == "lshsample" and len(name) > 1}
        edges |= {(unit, other) for other in used & units if unit != other and unit in units}
    return edges


def reduction(edges: Edges) -> Edges:
    """The edges that do not follow from others, of a graph without circles."""
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    def reached(node: str) -> set[str]:
        found, waiting = set[str](), [node]
        while waiting:
            for other in below.get(waiting.pop(), set()) - found:
                found.add(other)
                waiting.append(other)
        return found

    far = {a: set().union(*(reached(b) for b in direct)) for a, direct in below.items()}
    return {(a, b) for a, b in edges if b not in far[a]}


def _routed(rows: list[list[str]], edges: Edges) -> tuple[list[list[str]], Edges, dict[str, float]]:
    """Rows and edges in which an edge goes down one floor only, through points on the floors between.

    Edges to the same box share these points. The result has the widths of boxes and points.
    """
    floor_of = {name: number for number, names in enumerate(rows) for name in names}
    routed, steps = [list(names) for names in rows], set[tuple[str, str]]()
    for start, end in sorted(edges):
        above = start
        for floor in range(floor_of[start] - 1, floor_of[end], -1):
            point = f"{end}@{floor}"
            if point not in routed[floor]:
                routed[floor].append(point)
            steps.add((above, point))
            above = point
        steps.add((above, end))
    widths = {name: LETTER * len(name) + BOX if name in floor_of else 0.0 for n in routed for name in n}
    return routed, steps, widths


def _separated(wishes: list[float], widths: list[float]) -> list[float]:
    """Centres in the order of the given positions and near them, without overlaps."""

    def pushed(wishes: list[float], widths: list[float]) -> list[float]:
        out, end = list[float](), float("-inf")
        for wish, width in zip(wishes, widths, strict=True):
            out.append(max(wish, end + GAP + width / 2))
            end = out[-1] + width / 2
        return out

    right = pushed(wishes, widths)
    left = [-x for x in reversed(pushed([-x for x in reversed(wishes)], widths[::-1]))]
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]


def _positions(
    rows: list[list[str]], edges: Edges, widths: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """The centre (x, y) of each box and point; sweeps of the barycentre rule avoid most crossings."""
    order = [sorted(names) for names in rows]
    x = {name: 100.0 * place for names in order for place, name in enumerate(names)}
    near: dict[str, list[str]] = {name: [] for name in x}
    for a, b in sorted(edges):
        near[a].append(b)
        near[b].append(a)
    for sweep in range(24):
        for names in order if sweep % 2 else order[::-1]:
            wish = {n: sum(x[m] for m in near[n]) / len(near[n]) if near[n] else x[n] for n in names}
            names.sort(key=lambda name: (wish[name], name))
            centres = _separated([wish[name] for name in names], [widths[name] for name in names])
            x.update(zip(names, centres, strict=True))
    left = min(x[name] - widths[name] / 2 for name in x)
    return {
        name: (x[name] - left + MARGIN, BAND * (len(order) - number - 0.5))
        for number, names in enumerate(order)
        for name in names
    }


def _curve(start: tuple[float, float], end: tuple[float, float], boxes: tuple[float, float]) -> str:
    """A step of an edge; ``boxes`` are the widths at its ends, 0 for a point."""
    (x0, y0), (x1, y1) = start, end
    if y0 == y1:  # the same floor: between the sides of the boxes
        side = 1 if x1 > x0 else -1
        return f"M{x0 + side * boxes[0] / 2:.0f},{y0:.0f} L{x1 - side * (boxes[1] / 2 + 1):.0f},{y1:.0f}"
    y0, y1 = y0 + (HEIGHT / 2 if boxes[0] else 0), y1 - (HEIGHT / 2 + 1 if boxes[1] else 0)
    bend = (y1 - y0) / 2
    return f"M{x0:.0f},{y0:.0f} C{x0:.0f},{y0 + bend:.0f} {x1:.0f},{y1 - bend:.0f} {x1:.0f},{y1:.0f}"


def drawing() -> str:
    """The picture as SVG."""
    rows = floors()
    routed, steps, widths = _routed(rows, reduction(imports({name for names in rows for name in names})))
    places = _positions(routed, steps, widths)
    width = max(places[name][0] + widths[name] / 2 for name in places) + MARGIN
    height = len(rows) * BAND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">',
        "<title>Files and folders of lshsample by floor; arrows are imports</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
    ]
    for number in range(len(rows)):
        y, odd = height - BAND * (number + 1), " odd" if number % 2 else ""
        parts.append(f'<rect class="floor{odd}" x="0" y="{y}" width="{width:.0f}" height="{BAND}"/>')
    for start, end in sorted(steps):
        kind = "line arrow" if widths[end] else "line"
        curve = _curve(places[start], places[end], (widths[start], widths[end]))
        parts.append(f'<path class="{kind}" d="{curve}"/>')
    for name in sorted(name for names in rows for name in names):
        (x, y), box = places[name], widths[name]
        kind = "box folder" if _is_folder(name) else "box"
        parts.append(
            f'<rect class="{kind}" x="{x - box / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{box:.0f}"'
            f' height="{HEIGHT}" rx="4"/><text x="{x:.0f}" y="{y + 4:.0f}">{html.escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _is_folder(name: str) -> bool:
    return any((ROOT / parent / name).is_dir() for parent in ("lshsample", "plugins", ""))


if __name__ == "__main__":
    FILE.write_text(drawing())
