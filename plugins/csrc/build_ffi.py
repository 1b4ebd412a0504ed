"""Builds ``lshsample_families._kernels``: the built-in families' kernels, over the plugin headers alone."""

import os
import re
import runpy
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent.parent
CSRC = ROOT / "plugins" / "csrc"
#: As the core's: one binary for every machine, and no contraction, so that codes are the same everywhere.
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off", "-Wno-psabi", "-fvisibility=hidden"]
EXTRA = os.environ.get("LSHSAMPLE_CFLAGS", "").split()

header = re.sub(r"^[ \t]*#.*$", "", (CSRC / "families.h").read_text(), flags=re.MULTILINE)
digest = runpy.run_path(str(ROOT / "lshsample" / "_native" / "sources.py"))["source_digest"]

ffi = FFI()
ffi.cdef("enum { LSH_FAMILY_ABI = ... };\n" + header)
ffi.cdef("static char *const LSH_SOURCE_DIGEST;")
ffi.set_source(
    "lshsample_families._kernels",
    f'#include "families.h"\n#define LSH_SOURCE_DIGEST "{digest("lshsample_families._kernels", ROOT)}"',
    sources=[str(p.relative_to(ROOT)) for p in sorted(CSRC.glob("*.c"))],
    depends=[str(p.relative_to(ROOT)) for p in [*CSRC.glob("*.h"), *(ROOT / "cext/include").rglob("*.h")]],
    include_dirs=[str(CSRC.relative_to(ROOT)), "cext/include"],
    extra_compile_args=FLAGS + EXTRA,
    extra_link_args=EXTRA,
)
