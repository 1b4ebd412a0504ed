"""Builds ``lshsample._core``: cffi in API mode over the public headers, which are its only description."""

import os
import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
CEXT = ROOT / "cext"
INCLUDE = CEXT / "include" / "lshsample"
#: Headers in the order in which they build on each other; simd.h and isa-independent macros are C only.
HEADERS = ["status", "parallel", "rng", "views", "check", "family", "isa", "hashing", "text"]
HEADERS += ["convert", "layers", "topk", "loss", "optim"]
HEADERS += ["packed", "bounded", "delta", "reader", "buckets", "sample"]
#: -O3 and no -march, no -ffast-math: one binary serves every machine, and a NaN stays a NaN.
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off", "-Wno-psabi", "-fvisibility=hidden"]
#: A view's data has no type of its own: stepping it by bytes, which GNU C allows, is always a mistake.
FLAGS += ["-Werror=pointer-arith"]


def declarations(header: Path) -> str:
    """The C declarations of a public header, without its preprocessor lines."""
    return re.sub(r"^[ \t]*#.*$", "", header.read_text(), flags=re.MULTILINE)


def compile_flags() -> list[str]:
    """The flags of this build; LSHSAMPLE_CFLAGS adds to them (sanitizers, -Werror)."""
    return FLAGS + os.environ.get("LSHSAMPLE_CFLAGS", "").split()


headers = [INCLUDE / f"{name}.h" for name in HEADERS]
sources = sorted(p for folder in ("src", "kernels") for p in (CEXT / folder).glob("*.c"))

ffi = FFI()
ffi.cdef("\n".join(declarations(h) for h in headers))
ffi.set_source(
    "lshsample._core",
    "\n".join(f'#include "lshsample/{h.name}"' for h in headers),
    sources=[str(p.relative_to(ROOT)) for p in sources],
    depends=[str(p.relative_to(ROOT)) for p in CEXT.rglob("*.[hc]")],
    include_dirs=[str((CEXT / "include").relative_to(ROOT)), str((CEXT / "kernels").relative_to(ROOT))],
    extra_compile_args=compile_flags(),
    extra_link_args=["-pthread", *os.environ.get("LSHSAMPLE_CFLAGS", "").split()],
    libraries=["m"],
)
