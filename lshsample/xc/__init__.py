"""Extreme classification: networks, linear functions and neighbours, mixed by what held-out rows show."""

from __future__ import annotations

from lshsample.xc.classifier import KINDS, SCORES, Classifier, load_model, load_network
from lshsample.xc.classifier_file import CLASSIFIER
from lshsample.xc.filters import MAX_WEIGHT
from lshsample.xc.fitting import Interrupted, Stage
from lshsample.xc.isotonic import Isotonic
from lshsample.xc.linear import LinearModel, LinearSpec
from lshsample.xc.mixture import Mixture
from lshsample.xc.neighbours import RowNeighbours
from lshsample.xc.pairs import FeaturePairs
from lshsample.xc.recipe import PRESETS, LinearRecipe, NeighboursRecipe, Recipe
from lshsample.xc.search import SearchResult, Trial, require_optuna, search_recipes
from lshsample.xc.search_space import default_space
from lshsample.xc.thresholds import THRESHOLDS, Thresholds
from lshsample.xc.updating import NETWORK_UPDATES
from lshsample.xc.votes import LabelVotes, Voting
from lshsample.xc.why import Reasons, why

__all__ = [
    "CLASSIFIER",
    "KINDS",
    "MAX_WEIGHT",
    "NETWORK_UPDATES",
    "PRESETS",
    "SCORES",
    "THRESHOLDS",
    "Classifier",
    "FeaturePairs",
    "Interrupted",
    "Isotonic",
    "LabelVotes",
    "LinearModel",
    "LinearRecipe",
    "LinearSpec",
    "Mixture",
    "NeighboursRecipe",
    "Reasons",
    "Recipe",
    "RowNeighbours",
    "SearchResult",
    "Stage",
    "Thresholds",
    "Trial",
    "Voting",
    "default_space",
    "load_model",
    "load_network",
    "require_optuna",
    "search_recipes",
    "why",
]
