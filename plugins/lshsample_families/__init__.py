"""The built-in hash families, a plugin like any other: one family a file."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_families.dwta import DWTA
from lshsample_families.icws import ICWS
from lshsample_families.minhash import MinHash
from lshsample_families.simhash import SimHash

__all__ = ["DWTA", "ICWS", "MinHash", "SimHash", "lshsample_hash_families"]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {"dwta": DWTA, "icws": ICWS, "minhash": MinHash, "simhash": SimHash}
