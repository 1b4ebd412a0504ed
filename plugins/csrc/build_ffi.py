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


def in_order(headers: list[Path]) -> list[Path]:
    """Headers, each after those of the same folder that it includes."""
    found: list[Path] = []

    def add(header: Path) -> None:
        for name in re.findall(r'^#include "([^/"]+)"', header.read_text(), re.MULTILINE):
            add(header.parent / name)
        if header not in found:
            found.append(header)

    for header in headers:
        add(header)
    return found


def declarations(header: Path) -> str:
    """The C declarations of a header, without its preprocessor lines."""
    return re.sub(r"^[ \t]*#.*$", "", header.read_text(), flags=re.MULTILINE)


#: What Python sees: a header for each family's state.
api = in_order(sorted((CSRC / "api").glob("*.h")))
digest = runpy.run_path(str(ROOT / "lshsample" / "_native" / "sources.py"))["source_digest"]

ffi = FFI()
ffi.cdef("enum { LSH_FAMILY_ABI = ... };\n" + "\n".join(map(declarations, api)))
ffi.cdef("static char *const LSH_SOURCE_DIGEST;")
ffi.set_source(
    "lshsample_families._kernels",
    "\n".join(['#include "lshsample/family.h"', *(f'#include "api/{header.name}"' for header in api)])
    + f'\n#define LSH_SOURCE_DIGEST "{digest("lshsample_families._kernels", ROOT)}"',
    sources=[str(p.relative_to(ROOT)) for p in sorted(CSRC.glob("*.c"))],
    depends=[str(p.relative_to(ROOT)) for p in [*CSRC.rglob("*.h"), *(ROOT / "cext/include").rglob("*.h")]],
    include_dirs=[str(CSRC.relative_to(ROOT)), "cext/include"],
    extra_compile_args=FLAGS + EXTRA,
    extra_link_args=EXTRA,
)
