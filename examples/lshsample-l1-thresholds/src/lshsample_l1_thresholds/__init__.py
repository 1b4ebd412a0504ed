"""A hash family for lshsample: l1-thresholds."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_l1_thresholds.family import L1Thresholds, L1ThresholdsSpec

__all__ = ["L1Thresholds", "L1ThresholdsSpec", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"l1-thresholds": L1Thresholds}
