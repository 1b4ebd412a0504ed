"""Builds ``lshsample_bit_sampling._kernel``: cffi in API mode over csrc/family.h, against lshsample's headers."""

import re
from pathlib import Path

from cffi import FFI

from lshsample.plugin import get_include, source_digest

# No -march and no -ffast-math: one library for every machine, and the same codes as the reference.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi", "-fvisibility=hidden"]
HEADER = (Path(__file__).resolve().parent / "csrc" / "family.h").read_text()

ffi = FFI()
ffi.cdef(re.sub(r"^[ \t]*#.*$", "", HEADER, flags=re.MULTILINE))
ffi.set_source(
    "lshsample_bit_sampling._kernel",
    '#include "family.h"',
    sources=[str(path) for path in sorted(Path("csrc").glob("*.c"))],
    include_dirs=["csrc", get_include()],
    define_macros=[("SOURCE_DIGEST", f'"{source_digest("csrc")}"')],
    extra_compile_args=FLAGS,
)
