"""Runs checks as pytest parameters or in a loop; expected failures have a reason and must fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest import SkipTest

from lshsample.errors import ArgumentError

__all__ = ["as_parameters", "run_checks"]

Checks = Mapping[str, Callable[[Any], None]]


def as_parameters(checks: Checks, expected_failures: Mapping[str, str] | None) -> list[Any]:
    """Checks for ``pytest.mark.parametrize``, with ids; expected failures are strict xfails."""
    import pytest

    expected = _known(checks, expected_failures)
    return [
        pytest.param(
            check,
            id=name,
            marks=[pytest.mark.xfail(reason=expected[name], strict=True, raises=AssertionError)],
        )
        if name in expected
        else pytest.param(check, id=name)
        for name, check in checks.items()
    ]


def run_checks(checks: Checks, case: Any, expected_failures: Mapping[str, str] | None) -> dict[str, str]:
    """The outcome of each check; an AssertionError lists the unexpected outcomes."""
    expected = _known(checks, expected_failures)
    outcomes, broken = {}, []
    for name, check in checks.items():
        outcome = _outcome(check, case)
        if (outcome == "passed" or outcome.startswith("skipped")) and name in expected:
            broken.append(f"{name}: {outcome}, but expected to fail: {expected[name]}")
        elif outcome.startswith("failed") and name not in expected:
            broken.append(f"{name}: {outcome}")
        outcomes[name] = f"fails as expected: {expected[name]}" if name in expected else outcome
    if broken:
        raise AssertionError("\n".join(broken))
    return outcomes


def _outcome(check: Callable[[Any], None], case: Any) -> str:
    try:
        check(case)
    except SkipTest as reason:
        return f"skipped: {reason}"
    except AssertionError as error:
        return f"failed: {error}"
    except Exception as error:  # any error of the plugin is a failure, so that the other checks still run
        return f"failed: {type(error).__name__}: {error}"
    return "passed"


def _known(checks: Checks, expected_failures: Mapping[str, str] | None) -> dict[str, str]:
    """Validated expected failures: names of checks, each with a reason."""
    expected = dict(expected_failures or {})
    for name, reason in expected.items():
        if name not in checks:
            raise ArgumentError("expected_failures", repr(name), f"names of checks ({', '.join(checks)})")
        if not isinstance(reason, str) or not reason.strip():
            raise ArgumentError(f"expected_failures[{name!r}]", repr(reason), "a reason, as text")
    return expected
