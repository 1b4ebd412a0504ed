"""Builds ``lshsample._core``: cffi in API mode over the public headers, which are its only description."""

import os
import re
import runpy
from graphlib import TopologicalSorter
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
CEXT = ROOT / "cext"
INCLUDE = CEXT / "include" / "lshsample"
#: Headers for C alone, which cffi cannot read: macros and inline functions.
C_ONLY = {"simd.h"}
#: -O3 and no -march, no -ffast-math: one binary serves every machine, and a NaN stays a NaN.
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off", "-Wno-psabi", "-fvisibility=hidden"]
#: A view's data has no type of its own: stepping it by bytes, which GNU C allows, is always a mistake.
FLAGS += ["-Werror=pointer-arith"]


def in_order(folder: Path) -> list[Path]:
    """The public headers in an order in which each comes after those that it includes."""
    includes = re.compile(r'^#include "lshsample/(\w+\.h)"', re.MULTILINE)
    graph = {
        path.name: sorted(set(includes.findall(path.read_text())) - C_ONLY)
        for path in sorted(folder.glob("*.h"))
        if path.name not in C_ONLY
    }
    return [folder / name for name in TopologicalSorter(graph).static_order()]


def declarations(header: Path) -> str:
    """The C declarations of a public header, without its preprocessor lines."""
    return re.sub(r"^[ \t]*#.*$", "", header.read_text(), flags=re.MULTILINE)


def compile_flags() -> list[str]:
    """The flags of this build; LSHSAMPLE_CFLAGS adds to them (sanitizers, -Werror)."""
    return FLAGS + os.environ.get("LSHSAMPLE_CFLAGS", "").split()


headers = in_order(INCLUDE)
sources = sorted(p for folder in ("src", "kernels") for p in (CEXT / folder).glob("*.c"))

digest = runpy.run_path(str(ROOT / "lshsample" / "_native" / "sources.py"))["source_digest"]

ffi = FFI()
ffi.cdef("\n".join(declarations(h) for h in headers))
ffi.cdef("static char *const LSH_SOURCE_DIGEST;")
ffi.cdef('extern "Python" int32_t lsh_python_interrupt(void);')
ffi.set_source(
    "lshsample._core",
    "\n".join(f'#include "lshsample/{h.name}"' for h in headers)
    + f'\n#define LSH_SOURCE_DIGEST "{digest("lshsample._core", ROOT)}"',
    sources=[str(p.relative_to(ROOT)) for p in sources],
    depends=[str(p.relative_to(ROOT)) for p in CEXT.rglob("*.[hc]")],
    include_dirs=[str((CEXT / "include").relative_to(ROOT)), str((CEXT / "kernels").relative_to(ROOT))],
    extra_compile_args=compile_flags(),
    extra_link_args=["-pthread", *os.environ.get("LSHSAMPLE_CFLAGS", "").split()],
    libraries=["m"],
)
