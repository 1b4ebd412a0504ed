"""Every registered family is documented and tested; so is every hook."""

from pathlib import Path

import pytest

from lshsample import plugin
from lshsample.registry import families

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "families.md"


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family_has_a_section_and_an_example(name):
    assert f"## `{name}`" in PAGE.read_text(), f"docs/families.md has no section on {name}"
    doc = families()[name].__doc__ or ""
    assert ">>>" in doc, f"{name}'s class has no example"
    assert "Notes" in doc, f"{name}'s class does not state its law"


def test_every_hook_is_documented_and_tested():
    hooks = [name for name in dir(plugin) if name.startswith("lshsample_")]
    assert hooks == ["lshsample_hash_families"]
    for name in hooks:
        assert name in PAGE.read_text(), f"docs/families.md does not show the hook {name}"
        assert name in (ROOT / "tests" / "families" / "test_registry.py").read_text()
