"""A hash family for lshsample: bit-sampling."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_bit_sampling.family import BitSampling, BitSamplingSpec

__all__ = ["BitSampling", "BitSamplingSpec", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"bit-sampling": BitSampling}
