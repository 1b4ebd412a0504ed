"""Writes plugin packages from templates: a hash family with tests and packaging, and a kernel for one."""

from lshsample.scaffold.kernel import add_kernel
from lshsample.scaffold.package import KINDS, write_package

__all__ = ["KINDS", "add_kernel", "write_package"]
