"""Requests as plain data: what they may contain, and errors that say what is wrong."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import parse_qs

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample.errors import did_you_mean
from lshsample.serve.settings import ServeSettings
from lshsample.xc import MAX_WEIGHT, SCORES, THRESHOLDS

__all__ = ["BadRequest", "Predict", "Suggest", "parsed_form", "parsed_json"]


class BadRequest(Exception):
    """A request that cannot be answered; ``status`` is that of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def parsed_json(body: bytes) -> dict[str, Any]:
    """The object of a JSON body."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body must be JSON") from None
    if not isinstance(data, dict):
        raise BadRequest(f"the body must be a JSON object (got {_shown(data)})")
    return data


def parsed_form(body: bytes) -> dict[str, str]:
    """The fields of a form; of a repeated one, the last."""
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise BadRequest("the body must be a form in UTF-8, as application/x-www-form-urlencoded") from None
    return {name: values[-1] for name, values in fields.items()}


def _shown(value: Any) -> str:
    """A value for a message, not longer than a line."""
    try:
        return f"{value!r:.80}"
    except RecursionError:  # nested just less deeply than JSON may be
        return "a value that is nested too deeply"


def _known(data: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in data:
        if name not in names:
            meant = did_you_mean(name, names)
            raise BadRequest(f"{_shown(name)} is not known: the fields are {', '.join(names)}{meant}")


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise BadRequest(f"{name} must be an integer from {low} to {high} (got {_shown(value)})")
    return value


def _list(name: str, value: Any, low: int, high: int) -> list[Any]:
    if not isinstance(value, list) or not low <= len(value) <= high:
        given = f"{len(value)} items" if isinstance(value, list) else _shown(value)
        raise BadRequest(f"{name} must be a list of {low} to {high} items (got {given})")
    return value


@attrs.frozen(kw_only=True)
class Predict:
    """A request for the labels of texts or rows.

    Attributes
    ----------
    texts : list of str, optional
    rows : list of (ids, values), optional
        One of the two is given.
    top : int
        Labels per row.
    threshold : float or str
        The smallest probability, or the name of a threshold.
    labels, exclude : list, optional
        Names or ids of the labels that are allowed, and of those that are not.
    weights : dict of str to float, optional
        Factors of the probabilities of labels, by name or, as text, by id.
    scores : str
        What is told of a label.
    """

    texts: list[str] | None
    rows: list[tuple[list[int], list[float]]] | None
    top: int
    threshold: float | str
    labels: list[str | int] | None
    exclude: list[str | int] | None
    weights: dict[str, float] | None
    scores: str

    @classmethod
    def of(cls, data: dict[str, Any], limits: ServeSettings) -> Predict:
        """From the object of a JSON body; :class:`BadRequest` says what is wrong."""
        fields = attrs.fields(cls)
        _known(data, ("text", *(field.name for field in fields)))
        given = [name for name in ("text", "texts", "rows") if name in data]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise BadRequest(f"one of text, texts and rows must be given (got {found})")
        texts, rows = None, None
        if given[0] == "rows":
            listed = _list("rows", data["rows"], 1, limits.max_rows)
            rows = [_row(f"rows[{i}]", one) for i, one in enumerate(listed)]
        else:
            one = given[0] == "text"
            texts = [data["text"]] if one else _list("texts", data["texts"], 1, limits.max_rows)
            for i, text in enumerate(texts):
                name = "text" if one else f"texts[{i}]"
                if not isinstance(text, str):
                    raise BadRequest(f"{name} must be a text (got {_shown(text)})")
                if not _is_unicode(text):
                    raise BadRequest(f"{name} must have no half of a surrogate pair")
        threshold = data.get("threshold", 0.0)
        if threshold not in THRESHOLDS and not (_is_number(threshold) and 0 <= threshold <= 1):
            wanted = f"a number from 0 to 1, or one of {', '.join(THRESHOLDS)}"
            raise BadRequest(f"threshold must be {wanted} (got {_shown(threshold)})")
        scores, weights = data.get("scores", SCORES[0]), _weights(data.get("weights"))
        if scores not in SCORES:
            raise BadRequest(f"scores must be one of {', '.join(SCORES)} (got {_shown(scores)})")
        if weights is not None and scores == "margin":
            raise BadRequest(f"weights must be left out with scores {_shown(scores)}")
        return cls(
            texts=texts,
            rows=rows,
            top=_integer("top", data.get("top", 5), 1, limits.max_top),
            threshold=threshold if isinstance(threshold, str) else float(threshold),
            labels=_labels("labels", data.get("labels")),
            exclude=_labels("exclude", data.get("exclude")),
            weights=weights,
            scores=scores,
        )

    def matrix(self, n_features: int) -> sp.csr_array:
        """The rows as a matrix."""
        assert self.rows is not None
        counts = [len(ids) for ids, _ in self.rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        ids = np.array([i for row, _ in self.rows for i in row], np.int64)
        values = np.array([v for _, row in self.rows for v in row], np.float64)
        if len(ids) and int(ids.max()) >= n_features:
            wanted = f"an integer from 0 to {n_features - 1}, as the model has {n_features} features"
            raise BadRequest(f"a feature id must be {wanted} (got {ids.max()})")
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        if not np.isfinite(small).all():
            raise BadRequest("a feature value must be a number that float32 can hold")
        matrix = sp.csr_array((small, ids.astype(np.int32), indptr), shape=(len(counts), n_features))
        matrix.sum_duplicates()
        return matrix


def _row(name: str, data: Any) -> tuple[list[int], list[float]]:
    if not isinstance(data, dict) or set(data) != {"ids", "values"}:
        raise BadRequest(f"{name} must be an object with ids and values (got {_shown(data)})")
    ids, values = (_list(f"{name}.{key}", data[key], 0, 1_000_000) for key in ("ids", "values"))
    if len(ids) != len(values):
        raise BadRequest(f"{name} must have as many values as ids (got {len(ids)} and {len(values)})")
    for one in ids:
        _integer(f"an id of {name}", one, 0, 2**31 - 1)
    for one in values:
        if not _is_number(one) or not _is_finite(one):
            raise BadRequest(f"a value of {name} must be a finite number (got {_shown(one)})")
    return ids, values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON can state halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _labels(name: str, value: Any) -> list[str | int] | None:
    if value is None:
        return None
    for one in _list(name, value, 1, 1_000_000):
        if type(one) not in (str, int):
            raise BadRequest(f"{name} must be a list of label names or ids (got {_shown(one)})")
    return list(value)


def _weights(value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    sound = isinstance(value, dict) and all(
        _is_number(one) and 0 <= one <= MAX_WEIGHT for one in value.values()
    )
    if not sound:
        wanted = f"an object of labels and numbers from 0 to {MAX_WEIGHT:g}"
        raise BadRequest(f"weights must be {wanted} (got {_shown(value)})")
    return {label: float(one) for label, one in value.items()}


@attrs.frozen(kw_only=True)
class Suggest:
    """A request in the form of Annif: a text, and how many suggestions are wanted."""

    text: str
    limit: int

    @classmethod
    def of(cls, fields: dict[str, Any], limits: ServeSettings) -> Suggest:
        """From the fields of a form or a JSON object; other fields are not used."""
        text, limit = fields.get("text"), fields.get("limit", 10)
        if not isinstance(text, str):
            raise BadRequest(f"text must be given, a text (got {_shown(text)})")
        try:
            number = int(limit) if isinstance(limit, str) else limit
        except ValueError:
            number = None
        return cls(text=text, limit=_integer("limit", limit if number is None else number, 1, limits.max_top))


def label_ids(given: list[str | int], n_labels: int, names: Any, argument: str) -> np.ndarray[Any, Any]:
    """The ids of labels that are given by name or id."""
    return np.unique(np.array([_label_id(one, n_labels, names, argument) for one in given], np.int64))


def label_weights(given: dict[str, float], n_labels: int, names: Any) -> dict[int, float]:
    """The weights of labels that are given by name, or by id as text."""

    def key(text: str) -> str | int:
        known = names is not None and names.id_of(text) is not None
        return int(text) if not known and text.isdecimal() and len(text) < 11 else text

    return {_label_id(key(label), n_labels, names, "weights"): one for label, one in given.items()}


def _label_id(one: str | int, n_labels: int, names: Any, argument: str) -> int:
    if isinstance(one, int):
        return _integer(f"a label id of {argument}", one, 0, n_labels - 1)
    found: int | None = None if names is None else names.id_of(one)
    if found is None:
        raise BadRequest(f"{argument} must have labels of the model (got {_shown(one)})")
    return found
