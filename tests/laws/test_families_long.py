"""The laws of the built-in families at 200,000 codes a pair: minutes, so only with LSHSAMPLE_LONG=1."""

import functools
import os
from unittest import SkipTest

import numpy as np
import pytest

from lshsample.registry import make_family
from lshsample.testing import laws

pytestmark = pytest.mark.skipif(
    os.environ.get("LSHSAMPLE_LONG") != "1", reason="long: set LSHSAMPLE_LONG=1 (see CONTRIBUTING.md)"
)

#: Families whose laws are exact on every kind of pair.
CASES = {
    "cross-polytope": ("cross-polytope", {}),
    "cross-polytope-64": ("cross-polytope", {"dimension": 64}),
    "dwta": ("dwta", {}),
    "e2lsh": ("e2lsh", {}),
    "e2lsh-wide": ("e2lsh", {"width": 50.0, "bits": 8}),
    "icws": ("icws", {}),
    "minhash": ("minhash", {}),
    "minhash-doph": ("minhash", {"method": "doph"}),
    "minhash-one-bit": ("minhash", {"bits": 1}),
    "simhash-gaussian": ("simhash", {"projection": "gaussian"}),
    "simhash-hadamard": ("simhash", {}),
    "wta": ("wta", {}),
}
CODES = 200_000


@pytest.mark.parametrize("whole_code", [False, True], ids=["hash", "code"])
@pytest.mark.parametrize("kind", laws.PAIRS)
@pytest.mark.parametrize("case", CASES)
def test_law(case, kind, whole_code, monkeypatch):
    monkeypatch.setattr(laws, "N_SEEDS", CODES // laws.N_TABLES)
    name, options = CASES[case]
    # Margins are float32: rows of 10^7 widths are hashed by their rounding errors too, as the family's page
    # says.
    prepare = (lambda rows: np.clip(rows, -1e3, 1e3)) if name == "e2lsh" else (lambda rows: rows)
    try:
        laws.check_law(functools.partial(make_family, name, **options), prepare, kind, whole_code)
    except SkipTest as reason:
        pytest.skip(str(reason))
