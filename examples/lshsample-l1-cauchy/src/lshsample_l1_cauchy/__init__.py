"""A hash family for lshsample: l1-cauchy."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_l1_cauchy.family import L1Cauchy, L1CauchySpec

__all__ = ["L1Cauchy", "L1CauchySpec", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"l1-cauchy": L1Cauchy}
