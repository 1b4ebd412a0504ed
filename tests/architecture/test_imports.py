"""Imports go down only and in no circles, and plugins use the public plugin API alone.

Every import counts: those inside functions, those for type checkers alone, and calls of ``import_module``
with text or an f-string, which counts as an import of every module that it may name. A module is a file:
``from lshsample.nn import Network`` is an import of ``lshsample/nn/__init__.py``. That importing a module
also runs the ``__init__`` of its folders does not count.

``lshsample/__init__.py`` is exempt: it is the package's facade, whose names are imported on first use.
"""

import ast
import re
from pathlib import Path

import lshsample_families
import pytest

import lshsample

PACKAGE = Path(lshsample.__file__).parent
ROOT = PACKAGE.parent
PLUGINS = Path(lshsample_families.__file__).parent

#: Files and folders of the package, lowest first. A module may import from its own floor and from lower ones.
FLOORS = [
    ["errors", "files", "display"],
    ["specs", "memory"],
    ["_native"],
    ["laws", "family", "family_text"],
    ["hashing", "hookspecs"],
    ["plugin_manager"],
    ["registry"],
    ["provenance"],
    ["tables"],
    ["sampling"],
    ["estimates", "metrics", "data", "plugin"],
    ["tuning", "nn", "text"],
    ["training"],
    ["config", "streams"],
    ["xc"],
    ["coding", "convolution"],
    ["compare", "diagnosis", "testing", "ray", "serve", "sklearn", "torch"],
    ["cli", "scaffold", "pytest_plugin", "__main__"],
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
#: What a plugin may import of lshsample.
PUBLIC = {"lshsample.plugin"}
#: The package's facade, which only the topmost floor may import; its version is no import of it.
FACADE = "lshsample"
#: What the build puts into the package.
BUILT = {"lshsample._core"}


def module_of(path):
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit_of(module):
    """The file or folder of the package that a module belongs to; None for the package itself."""
    return module.split(".")[1] if module.count(".") else None


def named_modules(call):
    """Modules that a call of import_module names; an f-string names all that it may."""
    argument = call.args[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    if isinstance(argument, ast.JoinedStr):
        parts = [re.escape(p.value) if isinstance(p, ast.Constant) else ".*" for p in argument.values]
        return [module for module in FILES if re.fullmatch("".join(parts), module)]
    return []


def imports(text, where="", among=FILES):
    """(line, module) of every import in the text of a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}:{node.lineno}: a relative import"
            if [alias.name for alias in node.names] == ["__version__"]:
                continue
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, module) for module in below if module in among)
            if not all(module in among for module in below):
                yield node.lineno, node.module
        elif isinstance(node, ast.Call) and node.args:
            function = (
                node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            )
            if function in ("import_module", "__import__"):
                yield from ((node.lineno, module) for module in named_modules(node))


def own_imports():
    """(module, line, module that it imports), for all modules of the package but the facade."""
    for module, path in FILES.items():
        if module != FACADE:
            for line, other in imports(path.read_text(), path):
                if other.split(".")[0] == "lshsample":
                    yield module, line, other


IMPORTS = list(own_imports())


def circles(edges):
    """Strongly connected components of more than one node (Tarjan, SIAM J. Comput. 1972)."""
    following = {}
    for a, b in edges:
        following.setdefault(a, set()).add(b)
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(following.get(node, ())):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(following):
        if node not in number:
            visit(node)
    return found


def test_every_kind_of_import_is_seen():
    text = """
from typing import TYPE_CHECKING
import lshsample.files
from lshsample import specs, make_family
from lshsample.nn import Network
if TYPE_CHECKING:
    from lshsample.tables import HashTables
def late():
    from lshsample.sampling.stage import Stage
    importlib.import_module("lshsample.config")
    return import_module(f"lshsample.{name}")
"""
    among = {"lshsample.specs", "lshsample.memory", "lshsample.nn"}
    seen = {module for _, module in imports(text, among=among)}
    assert {"lshsample.files", "lshsample.specs", "lshsample", "lshsample.nn", "lshsample.tables"} <= seen
    assert {"lshsample.sampling.stage", "lshsample.config"} <= seen
    assert set(FILES) - {"lshsample"} <= seen, "an f-string may name every module"
    with pytest.raises(AssertionError, match="a relative import"):
        list(imports("from . import specs"))


def test_circles_are_found():
    assert circles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "e")]) == [["a", "b", "c"]]
    assert circles([("a", "b"), ("b", "c")]) == []


def test_every_file_and_folder_has_a_floor():
    units = {unit_of(module) for module in FILES} - {None}
    named = [name for names in FLOORS for name in names]
    assert sorted(named) == sorted(units), "a name without a file or folder, or one of these without a floor"


@pytest.mark.parametrize("name", FLOOR_OF)
def test_imports_go_down(name):
    for module, line, other in IMPORTS:
        if unit_of(module) != name:
            continue
        assert other != FACADE or name in FLOORS[-1], f"{module}:{line} imports the facade"
        if other in FILES and unit_of(other):
            assert FLOOR_OF[unit_of(other)] <= FLOOR_OF[name], f"{module}:{line}: imports {other} from above"


def test_everything_that_is_imported_is_there():
    unknown = {other for _, _, other in IMPORTS} - set(FILES) - BUILT
    assert not unknown, f"modules that are imported, but are no files: {sorted(unknown)}"


def test_no_circle_of_folders():
    edges = [(unit_of(a), unit_of(b)) for a, _, b in IMPORTS if unit_of(b) and unit_of(a) != unit_of(b)]
    assert circles(edges) == []


def test_no_circle_of_more_than_three_files():
    large = [circle for circle in circles([(a, b) for a, _, b in IMPORTS]) if len(circle) > 3]
    assert large == [], "\n".join(", ".join(circle) for circle in large)


def plugin_sources():
    """Everything that is written as a plugin's author would write it: families, examples, templates."""
    yield from sorted(PLUGINS.glob("*.py"))
    for folder in ("examples", "lshsample/scaffold/templates"):
        sources = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.py.in")]
        yield from sorted(path for path in sources if "src" in path.relative_to(ROOT).parts)


@pytest.mark.parametrize("path", [*plugin_sources()], ids=lambda p: "/".join(p.parts[-3:]))
def test_plugins_import_the_public_api_alone(path):
    text = re.sub(r"^@\w+@$", "", path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"@(\w+)@", r"\1_", text) if path.suffix == ".in" else text
    for line, module in imports(text, path, among=()):
        if module.split(".")[0] == "lshsample":
            assert module in PUBLIC, f"{path}:{line}: a plugin imports {module}"


def stage_classes():
    """Names of the classes in sampling/stages/."""
    return {
        node.name
        for path in (PACKAGE / "sampling" / "stages").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def class_tests(text, classes):
    """Lines that ask whether something is of one of the classes."""

    def names(node):
        found = (getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node))
        return classes & set(found)

    for node in ast.walk(ast.parse(text)):
        is_call = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass")
        if is_call and any(names(argument) for argument in node.args[1:]):
            yield node.lineno
        if isinstance(node, ast.Compare) and names(node):
            of_type = [
                n for n in ast.walk(node) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "type"
            ]
            if of_type or any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
                yield node.lineno
        if isinstance(node, ast.MatchClass) and names(node.cls):
            yield node.pattern.lineno if hasattr(node, "pattern") else node.lineno


def test_class_tests_are_found():
    text = """
isinstance(stage, Retrieve)
isinstance(stage, (int, stages.Retrieve))
type(stage) is Retrieve
type(stage) in (Retrieve, int)
cls is Retrieve
match stage:
    case Retrieve():
        pass
isinstance(stage, Stage)
Retrieve() | 3
"""
    assert sorted(class_tests(text, {"Retrieve"})) == [2, 3, 4, 5, 6, 8]


def test_nobody_asks_for_the_class_of_a_stage():
    """Others call a stage's methods, so that a plugin's stage can do all that a built-in one can."""
    classes = stage_classes()
    assert {"Retrieve", "Uniform"} <= classes
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in [*PACKAGE.rglob("*.py")]
        if path.parent != PACKAGE / "sampling" / "stages"
        and (lines := list(class_tests(path.read_text(), classes)))
    }
    assert found == {}, f"files and lines: {found}"


def test_the_core_knows_no_python():
    if not (ROOT / "cext").is_dir():
        pytest.skip("not a checkout")
    for path in [*(ROOT / "cext").rglob("*.[ch]"), *(ROOT / "plugins").rglob("*.[ch]")]:
        if path.name not in ("_kernels.c",):
            assert "Python.h" not in path.read_text(), f"{path} includes Python.h"


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.py"), *PLUGINS.glob("*.py")]), ids=lambda p: p.name
)
def test_nothing_slow_is_imported(path):
    """scipy.stats takes as long as all the rest together; scipy.special has its quantiles."""
    for line, module in imports(path.read_text(), path):
        assert not module.startswith("scipy.stats"), f"{path}:{line}"
    assert "from scipy import stats" not in path.read_text()
