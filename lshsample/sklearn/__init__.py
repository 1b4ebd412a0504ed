"""scikit-learn estimators: a classifier, neighbours, a scorer (``pip install 'lshsample[sklearn]'``)."""

from __future__ import annotations

from lshsample.errors import LshsampleError

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    needed = "pip install 'lshsample[sklearn]'"
    raise LshsampleError(f"lshsample.sklearn needs {needed} ({error.name} is missing)") from error

from lshsample.sklearn.classifier import LSHClassifier
from lshsample.sklearn.neighbors import LSHNeighbors
from lshsample.sklearn.scoring import precision_scorer

__all__ = ["LSHClassifier", "LSHNeighbors", "precision_scorer"]
