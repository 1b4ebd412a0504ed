"""The model that a server serves, and its replacement by a new version."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import attrs
import numpy as np

from lshsample.errors import LshsampleError
from lshsample.nn.bundle import MANIFEST, model_folder
from lshsample.serve.requests import BadRequest, Predict, label_ids, label_weights
from lshsample.serve.settings import ServeSettings
from lshsample.xc import Classifier, Reasons, why

__all__ = ["Served", "Serving"]

_log = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Served:
    """A version of a model.

    Attributes
    ----------
    classifier : Classifier
    version : str
        Differs from that of every other version.
    saved : float
        When it was saved, in seconds since 1970.
    """

    classifier: Classifier
    version: str
    saved: float

    def name_of(self, label: int) -> str:
        """A label's name; its id if the model has no names."""
        names = self.classifier.names
        return str(label) if names is None else str(names.names[label])

    def describe(self, label: int, score: float) -> dict[str, Any]:
        """A label of an answer."""
        names = self.classifier.names
        uri = None if names is None or names.uris is None else names.uris[label]
        told = {"label": self.name_of(label), "id": label, "score": round(score, 6)}
        return told if uri is None else {**told, "uri": uri}

    def matrix(self, request: Predict) -> Any:
        """The feature rows of a request."""
        if request.texts is None:
            return request.matrix(self.classifier.n_features)
        if self.classifier.vectorizer is None:
            raise BadRequest("text must be left out: the model takes rows of features")
        return self.classifier.vectorizer.transform(request.texts)

    def predict(self, request: Predict, threads: int | None) -> list[dict[str, Any]]:
        """The answer to a request: for each row its labels."""
        model = self.classifier

        def ids(argument: str, given: list[str | int] | None) -> Any:
            return None if given is None else label_ids(given, model.n_labels, model.names, argument)

        given = request.weights
        weights = None if given is None else label_weights(given, model.n_labels, model.names)
        found, scores = model.predict(
            self.matrix(request),
            min(request.top, model.n_labels),
            labels=ids("labels", request.labels),
            exclude=ids("exclude", request.exclude),
            threshold=request.threshold,
            weights=weights,
            scores=request.scores,
            threads=threads,
        )
        return [
            {"labels": [self.describe(int(i), float(p)) for i, p in zip(*row, strict=True) if i >= 0]}
            for row in zip(found, scores, strict=True)
        ]

    def why(self, request: Predict, threads: int | None) -> list[dict[str, Any]]:
        """The reasons for the best labels of one text or row."""
        x = self.matrix(request)
        if x.shape[0] != 1:
            raise BadRequest(f"one row must be given (got {x.shape[0]})")
        top = min(request.top, self.classifier.n_labels)
        return [self._told(one) for one in why(self.classifier, x, top, threads=threads)]

    def _told(self, reasons: Reasons) -> dict[str, Any]:
        names = self.classifier.feature_names
        return {
            **self.describe(reasons.label, reasons.probability),
            "parts": {name: round(value, 4) for name, value in reasons.parts.items()},
            "features": [
                {"feature": str(i) if names is None else str(names[i]), "share": round(share, 4)}
                for i, share in reasons.features
            ],
            "neighbours": [
                {"part": part, "row": row, "cosine": round(cosine, 4)}
                for part, row, cosine in reasons.neighbours
            ],
            "candidates": reasons.candidates,
        }


class Serving:
    """The newest version of the model in a folder.

    Parameters
    ----------
    settings : ServeSettings
        The folder, and how often it is looked at.

    Raises
    ------
    CheckpointError
        The folder has no classifier.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self._folder = model_folder(settings.model)
        self._stamp = self._look()
        self.current = self._load()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def _look(self) -> tuple[int, int]:
        """Changes when a new version is saved."""
        status = os.stat(self._folder / MANIFEST)
        return status.st_mtime_ns, status.st_ino

    def _load(self) -> Served:
        model, stamp = Classifier.load(self._folder), self._look()
        rows = np.zeros((1, model.n_features), np.float32)
        rows[0, 0] = 1.0
        # What is made on first use is made now.
        model.predict(rows, threads=self.settings.threads)
        _ = model.vectorizer, model.names
        return Served(model, f"{stamp[0]:x}", stamp[0] / 1e9)

    def watch(self) -> None:
        """Load new versions from now on, in a thread."""
        self._watcher = threading.Thread(target=self._watch, name="model versions", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.settings.reload_seconds):
            try:
                stamp = self._look()
                if stamp != self._stamp:
                    self.current = self._load()
                    self._stamp = stamp
                    _log.info("serves version %s", self.current.version)
            except (LshsampleError, OSError) as error:
                _log.warning("the new version cannot be served, the old one stays: %s", error)
