"""Extreme classification: labels by the votes of nearest training rows, and by linear functions."""

from __future__ import annotations

from lshsample.xc.linear import LinearModel, LinearSpec
from lshsample.xc.neighbours import RowNeighbours
from lshsample.xc.votes import LabelVotes, Voting

__all__ = ["LabelVotes", "LinearModel", "LinearSpec", "RowNeighbours", "Voting"]
