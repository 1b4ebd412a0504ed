"""The options of ``predict`` that choose labels: which may be named, by what weights, from which score on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import numpy as np
import numpy.typing as npt
import typer

from lshsample.errors import ArgumentError
from lshsample.text import LabelNames
from lshsample.xc import MAX_WEIGHT, SCORES, THRESHOLDS, Classifier

__all__ = ["Choice", "Except", "Only", "Scores", "Threshold", "Weights", "label_ids"]

_PANEL = "Choice of labels"
_LABEL = "by name or number; repeat it, or @FILE for a file with a line for each"

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="LABEL", help=f"A label that may be named: {_LABEL}.", rich_help_panel=_PANEL
    ),
]
Except = Annotated[
    list[str] | None,
    typer.Option(
        "--except", metavar="LABEL", help=f"A label that may not be named: {_LABEL}.", rich_help_panel=_PANEL
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        metavar="NUMBER",
        help=f"The smallest probability; or {' or '.join(THRESHOLDS)}, those of the largest F1 on held-out "
        "training rows.",
        rich_help_panel=_PANEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="File of factors of probabilities: a line for each label, its name or number, a tab, a number.",
        rich_help_panel=_PANEL,
    ),
]
Scores = Annotated[
    str, typer.Option(metavar="|".join(SCORES), help="What is written of a label.", rich_help_panel=_PANEL)
]


@attrs.frozen(kw_only=True)
class Choice:
    """The options as they were given."""

    only: list[str] | None = None
    without: list[str] | None = None
    threshold: str = "0"
    weights: Path | None = None
    scores: str = SCORES[0]

    def given(self) -> tuple[str, Any] | None:
        """The first option that is not the default; None if all are."""
        names = {"without": "except"}
        for field in attrs.fields(type(self)):
            if (value := getattr(self, field.name)) != field.default:
                return f"--{names.get(field.name, field.name)}", value
        return None

    def options(self, model: Classifier) -> dict[str, Any]:
        """The arguments of the classifier's ``predict``."""
        threshold: Any = self.threshold
        if threshold not in THRESHOLDS:
            try:
                threshold = float(threshold)
            except ValueError:
                wanted = f"a number from 0 to 1, or one of {', '.join(THRESHOLDS)}"
                raise ArgumentError("--threshold", repr(threshold), wanted) from None
        return {
            "labels": None if self.only is None else label_ids("--only", self.only, model),
            "exclude": None if self.without is None else label_ids("--except", self.without, model),
            "threshold": threshold,
            "weights": None if self.weights is None else dict(_factors(self.weights, model)),
            "scores": self.scores,
        }


def label_ids(option: str, given: Sequence[str], model: Classifier) -> npt.NDArray[np.int64]:
    """The ids of labels by name or number, or of those of files, ``@FILE``."""
    found = [_label(option, one, model) for word in given for one in _listed(option, word)]
    return np.unique(np.array(found, np.int64))


def _lines(option: str, file: Path) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(option, f"{file}: {error}", "a readable file of UTF-8 text") from error


def _listed(option: str, word: str) -> list[str]:
    """A label, or those of a file."""
    return _lines(option, Path(word[1:])) if word.startswith("@") else [word]


def _label(option: str, text: str, model: Classifier) -> int:
    """The id of a label."""
    names: LabelNames | None = model.names
    found = None if names is None else names.id_of(text.strip())
    if found is None and text.strip().isdecimal() and int(text) < model.n_labels:
        found = int(text)
    if found is None:
        kinds = f"an integer from 0 to {model.n_labels - 1}"
        wanted = kinds if names is None else f"the name of a label of the model, or {kinds}"
        raise ArgumentError(option, repr(text), wanted)
    return found


def _factors(file: Path, model: Classifier) -> Iterator[tuple[int, float]]:
    """The labels of a file, and their factors."""
    for number, line in enumerate(_lines("--weights", file), 1):
        label, _, factor = line.rpartition("\t")
        try:
            value = float(factor)
        except ValueError:
            value = -1.0
        if not label or not 0 <= value <= MAX_WEIGHT:
            wanted = f"a label, a tab, and a number from 0 to {MAX_WEIGHT:g} in each line"
            raise ArgumentError("--weights", f"{line!r} in line {number} of {file}", wanted)
        yield _label("--weights", label, model), value
