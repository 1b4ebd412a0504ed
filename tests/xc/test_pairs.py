"""Pairs of features: against a plain count, what they let a linear path learn, its files and its reasons."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.xc import Classifier, FeaturePairs, Recipe, why
from lshsample.xc.parts import Queries

PAIRED = Recipe(linear={"pairs": 1.0}, neighbours=False, network=False, holdout=0.2)


@pytest.fixture(scope="module")
def either_or():
    """Label 1 if the first feature of four values and the second are of the same parity, else label 0."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (400, 2))
    x = np.zeros((400, 8), np.float32)
    x[np.arange(400), values[:, 0]] = x[np.arange(400), 4 + values[:, 1]] = 1
    y = np.eye(2)[(values.sum(axis=1) % 2 == 0).astype(int)]
    return sp.csr_array(x), sp.csr_array(y)


def plain(row, keys, share):
    """The values of the pairs of a dense row, by their definition."""
    kept = sorted(np.argsort(-np.abs(row), kind="stable")[:12])
    values = {}
    for i, j in itertools.combinations([k for k in kept if row[k]], 2):
        if (i, j) in keys:
            values[i, j] = np.sqrt(abs(row[i] * row[j]))
    length = np.sqrt(sum(v * v for v in values.values()))
    whole = 1 / np.sqrt(1 + share**2) if values else 1.0
    scale = share * whole * np.linalg.norm(row) / length if values else 0.0
    return np.append([values.get(key, 0.0) * scale for key in sorted(keys)], row * whole)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_pairs_are_those_of_a_plain_count(share):
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((80, 25)) < 0.5, rng.random((80, 25)), 0).astype(np.float32)
    dense[3] = 0
    tops = [sorted(k for k in np.argsort(-row, kind="stable")[:12] if row[k]) for row in dense]
    counts = Counter(pair for top in tops for pair in itertools.combinations(top, 2))
    keys = {(int(i), int(j)) for (i, j), n in counts.items() if n >= 3}
    pairs = FeaturePairs.of(sp.csr_array(dense), share)
    assert [tuple(pair) for pair in pairs.members(np.arange(len(keys))).tolist()] == sorted(keys)
    made = pairs(sp.csr_array(dense))
    wanted = np.stack([plain(row, keys, share) for row in dense])
    np.testing.assert_allclose(made.toarray(), wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        np.linalg.norm(made.toarray(), axis=1), np.linalg.norm(dense, axis=1), rtol=1e-5
    )


def test_rows_without_known_pairs_are_kept():
    rows = sp.csr_array(np.eye(6, dtype=np.float32))
    pairs = FeaturePairs.of(rows, 0.5)
    assert len(pairs.keys) == 0
    assert (pairs(rows) != rows).nnz == 0
    known = FeaturePairs.of(sp.csr_array(np.ones((3, 3), np.float32)), 0.5)
    assert known(sp.csr_array((0, 3), dtype=np.float32)).shape == (0, 6)
    np.testing.assert_array_equal(known(rows[:, :3]).toarray()[:, :3], 0)


def test_a_linear_path_learns_what_two_features_mean_together(either_or):
    x, y = either_or
    alone = Classifier.fit(x[:300], y[:300], Recipe.of(PAIRED.to_dict() | {"linear": {"pairs": 0}}))
    paired = Classifier.fit(x[:300], y[:300], PAIRED, threads=2)
    assert alone.evaluate(x[300:], y[300:], (1,))["p@1"] < 75
    assert paired.evaluate(x[300:], y[300:], (1,))["p@1"] > 95
    other = Classifier.fit(x[:300], y[:300], PAIRED, threads=1)
    for one, same in zip(paired.predict(x[300:]), other.predict(x[300:]), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_saved_classifier_has_its_pairs(either_or, tmp_path):
    x, y = either_or
    made = Classifier.fit(x, y, PAIRED)
    made.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    for one, same in zip(loaded.predict(x), made.predict(x), strict=True):
        np.testing.assert_array_equal(one, same)


def test_the_contribution_of_a_pair_is_shared_by_its_features(either_or):
    x, y = either_or
    made = Classifier.fit(x, y, PAIRED)
    row, part = x[[0]], made.parts["linear"]
    label = int(made.predict(row, 1)[0][0, 0])
    queries = Queries(row, made.weighting(row), 1)
    features = why(made, row, 1)[0].features
    assert {i for i, _ in features} <= set(row.indices.tolist())
    columns, shares = part.models[0].shares(part.inputs(queries), label)
    assert sum(share for _, share in features) == pytest.approx(shares.sum(), rel=1e-5)
    of_pair = shares[columns < len(part.pairs.keys)]
    assert len(of_pair) == 1
    assert of_pair[0] > 0.5 * shares.sum()


def test_pairs_by_the_number_of_rows():
    resolved = Recipe.preset("fast").linear.resolve
    assert (resolved(19_999).pairs, resolved(20_000).pairs) == (0.0, 0.5)
    assert Recipe(linear={"pairs": 2}).linear.resolve(10**6).pairs == 2


def test_pairs_stay_when_features_and_labels_come(either_or, tmp_path):
    x, y = either_or
    made = Classifier.fit(x[:200], y[:200], PAIRED, threads=1)
    before = made.predict(x[300:], 2)
    made.save(tmp_path)
    grown = Classifier.load(tmp_path)
    more_x = sp.csr_array(sp.hstack([x[:50], np.ones((50, 1), np.float32)]))
    more_y = sp.csr_array(sp.hstack([sp.csr_array((50, 2)), np.ones((50, 1))]))
    grown.update(more_x, more_y, threads=2)
    wide = sp.csr_array(sp.hstack([x[300:], sp.csr_array((100, 1), dtype=np.float32)]))
    for one, same in zip(grown.predict(wide, 2, labels=[0, 1]), before, strict=True):
        np.testing.assert_array_equal(one, same)
    assert (grown.predict(more_x, 1)[0] == 2).mean() > 0.5


def test_in_a_limited_time_pairs_come_if_there_is_time_for_them(either_or):
    x, y = either_or
    assert Classifier.fit(x, y, PAIRED, max_seconds=1e-6).parts["linear"].pairs is None
    assert Classifier.fit(x, y, PAIRED, max_seconds=1000).parts["linear"].pairs is not None
