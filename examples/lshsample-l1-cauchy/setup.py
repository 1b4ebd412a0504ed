"""The kernel: a plain shared library, compiled against lshsample's headers; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

from lshsample.plugin import get_include, source_digest

# No -march and no -ffast-math: one library for every machine, and the same codes as the reference.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi"]

setup(
    ext_modules=[
        Extension(
            "lshsample_l1_cauchy._kernel",
            sources=sorted(str(path) for path in Path("csrc").glob("*.c")),
            depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
            include_dirs=["csrc", get_include()],
            define_macros=[("SOURCE_DIGEST", f'"{source_digest("csrc")}"')],
            extra_compile_args=FLAGS,
        )
    ]
)
