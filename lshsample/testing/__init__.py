"""Conformance kits that plugins test their families and stages with."""

from __future__ import annotations

from lshsample.testing.conformance import CHECKS, FamilyCase, check_family, family_checks
from lshsample.testing.installed import stale_package
from lshsample.testing.stages import STAGE_CHECKS, StageCase, check_stage, stage_checks

__all__ = [
    "CHECKS",
    "STAGE_CHECKS",
    "FamilyCase",
    "StageCase",
    "check_family",
    "check_stage",
    "family_checks",
    "stage_checks",
    "stale_package",
]


def __dir__() -> list[str]:
    return sorted(__all__)
