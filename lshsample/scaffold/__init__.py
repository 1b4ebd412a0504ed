"""Writes new plugin packages from templates: a hash family with tests, a benchmark and packaging."""

from lshsample.scaffold.package import KINDS, write_package

__all__ = ["KINDS", "write_package"]
