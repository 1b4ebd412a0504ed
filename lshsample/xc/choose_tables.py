"""Hash tables for the nearest rows: hashes, tables and probes by what the codes of a few rows show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.family import Codes, Floats, HashFamily, Rows
from lshsample.hashing import hash_rows, prepared, probe_rows
from lshsample.registry import make_family

__all__ = ["TableChoice", "choose_tables"]

#: Rows by which candidates are counted, and tables that are compared at most.
_OTHERS, _TABLES = 512, 64
_PROBES = (1, 2, 4, 8)
#: Seconds of a query for each bucket that it looks into, each entry of a bucket, and each row that is
#: compared: measured, with 256 columns of 16 bits.
_BUCKET, _ENTRY, _ROW = 1e-7, 2e-9, 6e-8


@attrs.frozen(kw_only=True)
class TableChoice:
    """Tables and probes, with what they are expected to find.

    Attributes
    ----------
    family : HashFamily
        With the chosen numbers of hashes and tables.
    probes : int
        Buckets per table that a query looks into.
    recall : float
        The share of the nearest rows of the sampled rows that shared a probed bucket with them.
    candidates : float
        Expected number of rows that a query is compared with.
    seconds : float
        Expected time of a query, by fixed costs of a bucket, an entry and a row.
    """

    family: HashFamily
    probes: int
    recall: float
    candidates: float
    seconds: float


def choose_tables(
    families: Sequence[str],
    rows: Rows,
    queries: npt.NDArray[np.int64],
    nearest: npt.NDArray[np.int32],
    recall: float,
    *,
    seed: int,
    threads: int | None,
) -> TableChoice:
    """The cheapest tables that find a share of the nearest rows of a sample.

    Parameters
    ----------
    families : sequence of str
        Families as text; their hashes and tables are chosen.
    rows : (n, dim) rows
        All rows.
    queries : (m,) int array
        Rows that are looked up.
    nearest : (m, k) int array
        Ids of the rows nearest to them, without themselves; -1 for none.
    recall : float
        The share of ``nearest`` that is to be found.
    seed : int
        Determines the hash functions and the other rows of the sample.
    threads : int or None

    Returns
    -------
    TableChoice
        The least expected time of those that reach the recall; if none does, the one of the largest recall.

    Notes
    -----
    Codes of 64 tables are compared for each number of hashes: rows of the sample are hashed, no tables are
    built. Recall and candidates of fewer tables follow from the same codes.
    """
    others = np.random.default_rng(seed).choice(rows.shape[0], min(_OTHERS, rows.shape[0]), replace=False)
    sample = _Sample(rows, queries, nearest, others, recall, threads)
    plain = [make_family(text, dim=rows.shape[1], n_hashes=1, n_tables=1, seed=seed) for text in families]
    found = [choice for family in plain for choice in _of_family(family, sample)]
    if not found:
        raise ArgumentError("family", ", ".join(families), "a family of at most 32 bits in a code")
    enough = [choice for choice in found if choice.recall >= recall]
    if enough:
        return min(enough, key=lambda choice: choice.seconds)
    return max(found, key=lambda choice: choice.recall)


@attrs.frozen(eq=False)
class _Sample:
    rows: Rows
    queries: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int32]
    others: npt.NDArray[np.int64]
    recall: float
    threads: int | None


def _of_family(plain: HashFamily, sample: _Sample) -> Iterator[TableChoice]:
    """What each number of hashes, tables and probes of a family finds."""
    fitted = prepared(plain, sample.rows)
    most = max(1.0, math.log2(sample.rows.shape[0])) + 4
    for n_hashes in range(1, 33):
        bits = n_hashes * fitted.bits_per_hash
        if bits > min(most, 32):
            return
        if bits < most - 12 or (fitted.bits_per_hash == 1 and n_hashes % 2):
            continue  # shorter codes find nearly all rows; one bit more hardly differs
        try:
            family = make_family(fitted, n_hashes=n_hashes, n_tables=_TABLES)
        except ArgumentError:  # more hashes than the family allows
            return
        choices = list(_of_hashes(family, sample))
        yield from choices
        if all(choice.recall < sample.recall for choice in choices):
            return  # longer codes find fewer


def _of_hashes(family: HashFamily, sample: _Sample) -> Iterator[TableChoice]:
    """The fewest tables that suffice, for each number of probes."""
    n, known = sample.rows.shape[0], sample.nearest >= 0
    distinct, at = np.unique(np.maximum(sample.nearest, 0), return_inverse=True)
    near = hash_rows(family, sample.rows[distinct], threads=sample.threads)[at.reshape(known.shape)]
    far = hash_rows(family, sample.rows[sample.others], threads=sample.threads)
    probes = [p for p in _PROBES if p == 1 or (family.can_probe and 4 * p <= 2**family.code_bits)]
    probed = probe_rows(family, sample.rows[sample.queries], probes[-1], threads=sample.threads)
    for n_probes in probes:
        recalls, entries, candidates = np.zeros((3, family.n_tables))
        for codes, own, wanted in zip(probed[:, :, :n_probes], near, known, strict=True):
            recalls += _met(own[wanted], codes)[1]
            some, any_table = _met(far, codes)
            entries, candidates = entries + some, candidates + any_table
        recalls /= max(1, known.sum())
        entries, candidates = (x * (n / (len(far) * len(probed))) for x in (entries, candidates))
        last = min(int(np.searchsorted(recalls, sample.recall)), family.n_tables - 1)
        seconds = (last + 1) * n_probes * _BUCKET + entries[last] * _ENTRY + candidates[last] * _ROW
        yield TableChoice(
            family=make_family(family, n_tables=last + 1),
            probes=n_probes,
            recall=float(recalls[last]),
            candidates=float(candidates[last]),
            seconds=float(seconds),
        )


def _met(codes: Codes, probed: Codes) -> tuple[Floats, Floats]:
    """Of rows of codes (n, L), for each number of tables from 1 to L: entries in the probed buckets (L, P) of
    these tables, and rows that are in any of them.
    """
    met = (codes[:, :, None] == probed).any(axis=2)
    rows = np.logical_or.accumulate(met, axis=1).sum(axis=0)
    return met.sum(axis=0).cumsum().astype(np.float64), rows.astype(np.float64)
