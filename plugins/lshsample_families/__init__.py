"""The built-in hash families, a plugin like any other: one module for each family."""

from lshsample.plugin import HashFamily, hookimpl
from lshsample_families.centered import Centered
from lshsample_families.cross_polytope import CrossPolytope
from lshsample_families.dwta import DWTA
from lshsample_families.e2lsh import E2LSH
from lshsample_families.function import FunctionFamily, NativeFunction
from lshsample_families.icws import ICWS
from lshsample_families.itq import ITQ
from lshsample_families.l2_alsh import L2ALSH
from lshsample_families.learned_simhash import LearnedSimHash
from lshsample_families.minhash import MinHash
from lshsample_families.multiprobe import MultiProbe
from lshsample_families.norm_ranging import NormRanging
from lshsample_families.product_quantization import ProductQuantization
from lshsample_families.sign_alsh import SignALSH
from lshsample_families.simhash import SimHash
from lshsample_families.simple_lsh import SimpleLSH
from lshsample_families.wta import WTA

__all__ = [
    "DWTA",
    "E2LSH",
    "ICWS",
    "ITQ",
    "L2ALSH",
    "WTA",
    "Centered",
    "CrossPolytope",
    "FunctionFamily",
    "LearnedSimHash",
    "MinHash",
    "MultiProbe",
    "NativeFunction",
    "NormRanging",
    "ProductQuantization",
    "SignALSH",
    "SimHash",
    "SimpleLSH",
    "lshsample_hash_families",
]


@hookimpl
def lshsample_hash_families() -> dict[str, type[HashFamily]]:
    """The families of this package, by name."""
    return {
        "centered": Centered,
        "cross-polytope": CrossPolytope,
        "dwta": DWTA,
        "function": FunctionFamily,
        "e2lsh": E2LSH,
        "icws": ICWS,
        "itq": ITQ,
        "l2-alsh": L2ALSH,
        "learned-simhash": LearnedSimHash,
        "minhash": MinHash,
        "multiprobe": MultiProbe,
        "norm-ranging": NormRanging,
        "product-quantization": ProductQuantization,
        "sign-alsh": SignALSH,
        "simhash": SimHash,
        "simple-lsh": SimpleLSH,
        "wta": WTA,
    }
