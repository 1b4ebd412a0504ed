"""The C extensions and the packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    # The C headers are installed as a package of data alone.
    packages=[*find_packages(include=["lshsample*"]), *find_packages("plugins"), "lshsample.include"],
    cffi_modules=["cext/build_ffi.py:ffi", "plugins/csrc/build_ffi.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
