"""scikit-learn estimators: a classifier, neighbours, a scorer (``pip install 'lshsample[sklearn]'``)."""

from __future__ import annotations

from lshsample.errors import needs_extra

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise needs_extra("lshsample.sklearn", "sklearn", error) from error

from lshsample.sklearn.classifier import LSHClassifier
from lshsample.sklearn.neighbors import LSHNeighbors
from lshsample.sklearn.scoring import precision_scorer

__all__ = ["LSHClassifier", "LSHNeighbors", "precision_scorer"]
