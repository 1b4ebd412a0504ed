"""Hash tables: L tables over the codes of one family, built, changed by id, and queried in batches."""

from __future__ import annotations

from lshsample.tables.external import build_file
from lshsample.tables.hash_tables import HashTables
from lshsample.tables.inverted import InvertedIndex
from lshsample.tables.matches import Matches, SimilarPairs
from lshsample.tables.reader import Buckets, Candidates, TableReader
from lshsample.tables.state import TableState

__all__ = [
    "Buckets",
    "Candidates",
    "HashTables",
    "InvertedIndex",
    "Matches",
    "SimilarPairs",
    "TableReader",
    "TableState",
    "build_file",
]
