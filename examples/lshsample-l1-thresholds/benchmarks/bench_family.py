"""Times of hashing, building and querying, with recall and estimator error, compared with the built-in families.

``pytest benchmarks --benchmark-only``; ``--lshsample-data FILE`` uses the rows of a file, ``--lshsample-families a,b`` other
families, ``--lshsample-items N`` another number of rows.
"""

import pytest

from lshsample.compare.benchmarks import test_build, test_hash, test_query  # noqa: F401

pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark: pip install pytest-benchmark")

LSHSAMPLE_FAMILIES = ["l1-thresholds", "e2lsh", "simhash"]
