"""A hash family for lshsample: superbit."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_superbit.family import Superbit, SuperbitSpec

__all__ = ["Superbit", "SuperbitSpec", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"superbit": Superbit}
