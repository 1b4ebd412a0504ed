"""What plugins and applications test themselves with: kits for families and stages, oracles, comparisons.

The names below are imported when first used: pytest imports this package in every run, for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lshsample.testing.comparison import Contender, Figures, Settings, compare
    from lshsample.testing.conformance import CHECKS, FamilyCase, check_family, family_checks
    from lshsample.testing.stages import STAGE_CHECKS, StageCase, check_stage, stage_checks
    from lshsample.testing.workloads import Workload

_HOMES = {
    "comparison": ("Contender", "Figures", "Settings", "compare"),
    "conformance": ("CHECKS", "FamilyCase", "check_family", "family_checks"),
    "stages": ("STAGE_CHECKS", "StageCase", "check_stage", "stage_checks"),
    "workloads": ("Workload",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CHECKS",
    "STAGE_CHECKS",
    "Contender",
    "FamilyCase",
    "Figures",
    "Settings",
    "StageCase",
    "Workload",
    "check_family",
    "check_stage",
    "compare",
    "family_checks",
    "stage_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lshsample.testing' has no attribute {name!r}")
    return getattr(import_module(f"lshsample.testing.{_HOME_OF[name]}"), name)
