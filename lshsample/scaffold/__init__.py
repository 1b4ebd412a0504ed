"""Writes new plugin packages from templates: a hash family with its law, tests, benchmark and packaging."""

from lshsample.scaffold.package import KINDS, write_package

__all__ = ["KINDS", "write_package"]
