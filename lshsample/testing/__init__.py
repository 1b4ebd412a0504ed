"""What plugins and applications test themselves with: the kit for hash families, and reference oracles."""

from lshsample.testing.conformance import CHECKS, FamilyCase, check_family, family_checks

__all__ = ["CHECKS", "FamilyCase", "check_family", "family_checks"]
