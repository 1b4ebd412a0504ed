"""Extreme classification: labels by the votes of a row's nearest training rows."""

from __future__ import annotations

from lshsample.xc.neighbours import RowNeighbours
from lshsample.xc.votes import LabelVotes, Voting

__all__ = ["LabelVotes", "RowNeighbours", "Voting"]
