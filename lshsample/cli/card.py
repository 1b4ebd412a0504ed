"""The card of a model: what it was trained on, how, and how good it is, as a page beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

Result = Mapping[str, Any]


def model_card(result: Result, recipe: str) -> str:
    """The card as Markdown.

    Parameters
    ----------
    result : mapping
        The result of a run, as in its ``train.json``.
    recipe : str
        The recipe as TOML.
    """
    data, versions = result["data"], result["versions"]
    parts = (result.get("mixture") or {}).get("parts")
    kind = f"A classifier of {', '.join(parts)}" if parts else "A network"
    rows = [
        [name, f"{one['rows']:,}", f"{one['features_per_row']:.1f}", f"{one['labels_per_row']:.1f}"]
        for name, one in data["sets"].items()
    ]
    texts = "; rows are texts" if data["texts"] else ""
    shape = f"{data['n_features']:,} features, {data['n_labels']:,} labels"
    lines = [
        "# Model card",
        "",
        f"{kind}, trained by lshsample {versions['lshsample']}. `train.json` has all figures.",
        "",
        "## Data",
        "",
        *_table(["", "rows", "features a row", "labels a row"], rows),
        "",
        f"{shape}, of which {data['labels_without_rows']:,} have no training row{texts}.",
        "",
        "## Accuracy",
        "",
        *_accuracy(result),
        "",
        "## Training",
        "",
        *_table(["", ""], [[name, value] for name, value in _facts(result).items()]),
        "",
        "## Recipe",
        "",
        "```toml",
        recipe.strip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _accuracy(result: Result) -> list[str]:
    tops = [k for k in (1, 3, 5) if f"p@{k}" in result]
    rows = []
    if any(result[f"p@{k}"] is not None for k in tops):
        bounds = result.get("intervals") or {}
        cells = []
        for k in tops:
            value, pair = result[f"p@{k}"], bounds.get(f"p@{k}")
            cells.append(_percent(value) + (f" ({pair[0]:.2f} to {pair[1]:.2f})" if pair else ""))
        rows.append(["test", *cells])
    for stage in result.get("stages", ()):
        if "p@1" in stage:
            rows.append([f"held out: {stage['name']}", *(_percent(stage.get(f"p@{k}")) for k in tops)])
    if result.get("valid"):
        rows.append(["held out", *(_percent(result["valid"].get(f"p@{k}")) for k in tops)])
    if not rows:
        return ["Not measured: there was no `--test`."]
    lines = _table(["percent", *(f"P@{k}" for k in tops)], rows)
    if result.get("intervals"):
        lines += ["", f"In brackets: bootstrap intervals of {result['level']:g} %, over the rows."]
    error = result.get("calibration_error")
    if error is not None:
        lines += ["", f"Expected calibration error of the probabilities on the test rows: {error:.2f} %."]
    return lines


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _facts(result: Result) -> dict[str, str]:
    versions = result["versions"]
    facts = {
        "seed": str(result["seed"]),
        "time": f"{result['train_seconds']:.1f} s, {result['threads']} threads, {result['isa']}",
        "memory at the peak": f"{result['peak_rss_mib']:,.0f} MiB",
        "weights": f"{result['n_parameters']:,}",
    }
    if result.get("model_bytes") is not None:
        facts["size of the files"] = f"{result['model_bytes'] / 2**20:,.1f} MiB"
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return facts
