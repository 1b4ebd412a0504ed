"""The C extensions; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["cext/build_ffi.py:ffi", "plugins/csrc/build_ffi.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
