"""A hash family for lshsample: chi-square."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_chi_square.family import ChiSquare, ChiSquareSpec

__all__ = ["ChiSquare", "ChiSquareSpec", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"chi-square": ChiSquare}
