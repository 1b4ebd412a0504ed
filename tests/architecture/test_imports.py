"""Imports go down only, and plugins use the public plugin API alone."""

import ast
from pathlib import Path

import lshsample_families
import pytest

import lshsample

PACKAGE = Path(lshsample.__file__).parent
PLUGINS = Path(lshsample_families.__file__).parent

#: Lowest first. A module may import from its own layer and from lower ones.
LAYERS = [
    ["errors", "files"],
    ["specs", "memory"],
    ["_native"],
    ["laws", "family"],
    ["hashing", "hookspecs"],
    ["registry"],
    ["tables", "family_text"],
    ["sampling"],
    ["estimates", "metrics", "data", "plugin"],
    ["tuning", "nn"],
    ["training"],
    ["config"],
    ["compare", "testing"],
    ["cli", "scaffold", "pytest_plugin"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
#: What a plugin may import of lshsample.
PUBLIC = {"lshsample.plugin"}


def imports(path):
    """(line, module) of every import that runs, wherever it stands; those for type checkers alone do not."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, node.module
            if node.module == "lshsample":
                yield from ((node.lineno, f"lshsample.{alias.name}") for alias in node.names)


def parts(module):
    names = module.split(".")
    return names[1] if names[0] == "lshsample" and len(names) > 1 else None


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} has no layer: give it one in {Path(__file__).name}"
    for line, module in imports(path):
        other = parts(module)
        if other in LEVEL:
            assert LEVEL[other] <= LEVEL[own], f"{path}:{line}: {own} imports {module}, which lies above it"


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("*.py")), ids=lambda p: p.name)
def test_plugins_have_no_private_door(path):
    for line, module in imports(path):
        if module.split(".")[0] == "lshsample" and module != "lshsample":
            assert module in PUBLIC, f"{path}:{line}: a plugin imports {module}"


def test_the_core_knows_no_python():
    root = PACKAGE.parent / "cext"
    if not root.is_dir():
        pytest.skip("not a checkout")
    for path in [*root.rglob("*.c"), *root.rglob("*.h"), *(PACKAGE.parent / "plugins").rglob("*.[ch]")]:
        if path.name not in ("_kernels.c",):
            assert "Python.h" not in path.read_text(), f"{path} includes Python.h"


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.py"), *PLUGINS.glob("*.py")]), ids=lambda p: p.name
)
def test_nothing_slow_is_imported(path):
    """scipy.stats takes as long as all the rest together; scipy.special has its quantiles."""
    for line, module in imports(path):
        assert not module.startswith("scipy.stats"), f"{path}:{line}"
    assert "from scipy import stats" not in path.read_text()
