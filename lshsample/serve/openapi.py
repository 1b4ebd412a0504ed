"""The description of the interface, in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from lshsample import __version__
from lshsample.serve.settings import ServeSettings
from lshsample.xc import MAX_WEIGHT, SCORES, THRESHOLDS

__all__ = ["document"]


def document(settings: ServeSettings) -> dict[str, Any]:
    """The OpenAPI document of a server with these limits."""
    text = {"type": "string"}
    labels = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}
    row = {
        "type": "object",
        "required": ["ids", "values"],
        "additionalProperties": False,
        "properties": {
            "ids": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "values": {"type": "array", "items": {"type": "number"}},
        },
    }
    many = {"minItems": 1, "maxItems": settings.max_rows}
    asked = {
        "type": "object",
        "description": "One of text, texts and rows.",
        "additionalProperties": False,
        "properties": {
            "text": text,
            "texts": {"type": "array", "items": text, **many},
            "rows": {"type": "array", "items": row, **many},
            "top": {"type": "integer", "minimum": 1, "maximum": settings.max_top, "default": 5},
            "threshold": {
                "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"enum": list(THRESHOLDS)}],
                "default": 0,
            },
            "weights": {
                "type": "object",
                "description": "Factors of probabilities, by the name or id of a label.",
                "additionalProperties": {"type": "number", "minimum": 0, "maximum": MAX_WEIGHT},
            },
            "scores": {"enum": list(SCORES), "default": SCORES[0]},
            "labels": {**labels, "description": "Names or ids of the labels that may be named."},
            "exclude": {**labels, "description": "Names or ids of the labels that may not be named."},
        },
    }
    label = {
        "type": "object",
        "properties": {
            "label": text,
            "id": {"type": "integer"},
            "uri": text,
            "score": {"type": "number", "description": "The probability of the label, or what scores says."},
        },
    }
    results = {
        "type": "array",
        "items": {"type": "object", "properties": {"labels": {"type": "array", "items": label}}},
    }
    form = {
        "type": "object",
        "required": ["text"],
        "properties": {
            "text": text,
            "limit": {"type": "integer", "minimum": 1, "maximum": settings.max_top, "default": 10},
        },
    }
    failures = {
        "400": _answer("A value that is not allowed; error says which."),
        "413": _answer("A body that is too long."),
        "503": _answer("Too many requests wait, or the model is being loaded."),
    }
    answer = {"type": "object", "properties": {"model": text, "results": results}}
    suggestions = {"type": "object", "properties": {"results": {"type": "array", "items": label}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "lshsample", "version": __version__},
        "paths": {
            "/predict": _post("The most probable labels of texts or rows.", asked, answer, failures),
            "/why": _post("What speaks for the best labels of one text or row.", asked, None, failures),
            "/v1/suggest": _post(
                "Suggestions for a text, in the form of Annif's http backend.",
                form,
                suggestions,
                failures,
                kinds=("application/x-www-form-urlencoded", "application/json"),
            ),
            "/v1": _get("Whether the model is trained, and when it was saved."),
            "/labels": _get(
                "The labels of the model.", failures, [_number("offset", 0), _number("limit", 100)]
            ),
            "/healthz": _get("Whether the process answers."),
            "/readyz": _get("Whether the model is loaded.", {"503": failures["503"]}),
            "/metrics": _get("Measurements in the format of Prometheus."),
            "/openapi.json": _get("This document."),
        },
    }


def _answer(text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {} if schema is None else {"content": {"application/json": {"schema": schema}}}
    return {"description": text, **content}


def _number(name: str, default: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0, "default": default}
    return {"name": name, "in": "query", "schema": schema}


def _post(
    summary: str,
    body: dict[str, Any],
    answer: dict[str, Any] | None,
    failures: dict[str, Any],
    kinds: tuple[str, ...] = ("application/json",),
) -> dict[str, Any]:
    content = {kind: {"schema": body} for kind in kinds}
    responses = {"200": _answer("The answer.", answer), **failures}
    return {"post": {"summary": summary, "requestBody": {"content": content}, "responses": responses}}


def _get(
    summary: str, failures: dict[str, Any] | None = None, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    responses = {"200": _answer("The answer."), **(failures or {})}
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": responses}}
