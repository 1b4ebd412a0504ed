"""A compiled kernel for a family in an existing package, which has the family in NumPy.

Files are added. In the author's files, lines are added: a method and its imports in the module of the family,
and requirements in ``pyproject.toml``. Nothing that is there is changed.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from lshsample.errors import ArgumentError
from lshsample.scaffold.package import KINDS, check_kind, quoted, templates, words_of, write

__all__ = ["add_kernel"]

_HOOK = "lshsample_hash_families"
#: What the kernel of the templates computes; that of a family with other methods begins as a call of them.
_COMPUTED = ("directions", "margins", "hash")

_METHOD = '''
    def native(self) -> NativeKernel:
        """The compiled kernel, whose codes equal those of the reference bit for bit."""
        return native_kernel({arguments})
'''


@attrs.frozen
class _Found:
    """A family in a package: its class, the file of it, and the package that it belongs to."""

    package: Path
    module: str
    file: Path
    cls: ast.ClassDef
    tree: ast.Module

    @property
    def home(self) -> str:
        """The module of the class."""
        parts = self.file.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")


def add_kernel(name: str, kind: str, folder: Path) -> tuple[list[Path], list[Path]]:
    """Add a compiled kernel to a family of a package in NumPy.

    If the family's ``hash`` is that of a new package, the kernel computes the same. Otherwise the kernel
    begins as a call of ``hash`` for each row, which is right, and slow; its author replaces this call.

    Parameters
    ----------
    name : str
        The family's name.
    kind : str
        A key of :data:`KINDS` other than ``"python"``.
    folder : path
        The folder with the package's ``pyproject.toml``.

    Returns
    -------
    added, extended : lists of Path
        The files that are new, and those to which lines were added, relative to the folder.

    Raises
    ------
    ArgumentError
        An unknown kind, a folder without the family, a family that has a kernel already, or a file that would
        be overwritten. Nothing is written.
    """
    check_kind(kind)
    if not KINDS[kind].kernel:
        wanted = f"one of {', '.join(key for key in KINDS if KINDS[key].kernel)}, which have a kernel"
        raise ArgumentError("kind", repr(kind), wanted)
    found = _find(name, folder)
    words = words_of(name, found.module, found.cls.name) | {"home": found.home}
    same = _methods(found.cls) == _methods(_starter(words))
    parts = KINDS[kind].kernel + (() if same else KINDS[kind].own)
    place, usual = found.package.relative_to(folder), Path("src", found.module)
    added = {
        place / path.relative_to(usual) if path.is_relative_to(usual) else path: text
        for path, text in templates(parts, words).items()
    }
    taken = sorted(str(path) for path in added if (folder / path).exists())
    if taken:
        raise ArgumentError(
            "from-package", f"{folder} with {', '.join(taken)}", "a package without these files"
        )
    arguments = "self.n_hashes, self.n_tables, self.directions" if same else "self"
    extended = {
        found.file.relative_to(folder): _with_method(found, _METHOD.format(arguments=arguments)),
        Path("pyproject.toml"): _with_requirements(folder / "pyproject.toml", kind),
    }
    write(folder, {**added, **extended})
    return sorted(added), sorted(extended)


def _find(name: str, folder: Path) -> _Found:
    """The class that the hook of the folder's package returns under a name."""
    project = folder / "pyproject.toml"
    if not project.is_file():
        raise ArgumentError("from-package", str(folder), "a folder with a pyproject.toml")
    entries = _read(project).get("project", {}).get("entry-points", {}).get("lshsample", {})
    known: list[str] = []
    for module in sorted({entry.split(":")[0].split(".")[0] for entry in entries.values()}):
        for package in (folder / "src" / module, folder / module):
            trees = {file: _parsed(file) for file in sorted(package.rglob("*.py"))}
            named = {key: cls for tree in trees.values() for key, cls in _hooked(tree)}
            known += named
            for file, tree in trees.items():
                for node in tree.body:
                    if name in named and isinstance(node, ast.ClassDef) and node.name == named[name]:
                        return _checked(_Found(package, module, file, node, tree))
    wanted = f"the name of a family that {_HOOK} of {folder} returns"
    raise ArgumentError("NAME", repr(name), wanted + (f": {', '.join(sorted(known))}" if known else ""))


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text("utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ArgumentError("from-package", f"{file}: {error}", "a package of valid Python files") from error


def _checked(found: _Found) -> _Found:
    names = {node.name for node in found.cls.body if isinstance(node, ast.FunctionDef)}
    if "native" in names:
        raise ArgumentError(
            "NAME", f"{found.cls.name}, which has a method native", "a family without a kernel"
        )
    return found


def _hooked(tree: ast.Module) -> Iterable[tuple[str, str]]:
    """Names of families, and of their classes, in the dict that the hook returns."""
    for hook in ast.walk(tree):
        if isinstance(hook, ast.FunctionDef) and hook.name == _HOOK:
            for node in ast.walk(hook):
                if isinstance(node, ast.Dict):
                    for key, value in zip(node.keys, node.values, strict=True):
                        if isinstance(key, ast.Constant) and isinstance(value, ast.Name | ast.Attribute):
                            yield str(key.value), value.id if isinstance(value, ast.Name) else value.attr


def _starter(words: Mapping[str, str]) -> ast.ClassDef:
    """The class of a new package."""
    blank = dict.fromkeys(("api", "import", "native", "build", "requires", "rows", "rebuild", "kernel"), "")
    files = templates(("any",), {**words, **blank})
    tree = ast.parse(files[Path("src", words["module"], "family.py")])
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == words["Class"])


def _methods(cls: ast.ClassDef) -> dict[str, str]:
    """What the kernel repeats of a class: bodies of methods, without their comments and docstrings."""
    methods = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name in _COMPUTED]
    return {
        node.name: ast.dump(ast.Module(node.body[ast.get_docstring(node) is not None :], []))
        for node in methods
    }


def _with_method(found: _Found, method: str) -> str:
    """The text of the family's module with the method at the end of the class, and its imports."""
    lines = found.file.read_text("utf-8").splitlines(keepends=True)
    imports = [node for node in found.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    wanted = [
        f"from {module} import {name}\n"
        for module, name in (
            ("lshsample.plugin", "NativeKernel"),
            (f"{found.module}.kernel", "native_kernel"),
        )
        if name not in bound
    ]
    last = max(node.end_lineno or 0 for node in imports)
    end = found.cls.end_lineno or 0
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join([*lines[:last], *wanted, *lines[last:end], method, *lines[end:]])


def _with_requirements(file: Path, kind: str) -> str:
    """The text of a ``pyproject.toml`` with what the kernel needs."""
    text = file.read_text("utf-8")
    needs = {
        ("build-system", "requires"): ("setuptools>=77", *KINDS[kind].build),
        ("project", "dependencies"): ("lshsample", *KINDS[kind].requires),
    }
    for (table, key), items in needs.items():
        present = {_bare(item) for item in _read(file).get(table, {}).get(key, ())}
        missing = [item for item in items if _bare(item) not in present]
        if missing:
            opening = rf"(^\[{table}\][^\[]*?^{key}\s*=\s*\[)(\s*\])?"
            text, count = re.subn(
                opening,
                lambda match, missing=missing: (  # type: ignore[misc]
                    match[1] + quoted(missing) + (match[2] or ", ")
                ),
                text,
                count=1,
                flags=re.MULTILINE,
            )
            if not count:
                raise ArgumentError("from-package", str(file), f"a file with a list {key} in [{table}]")
    return text


def _bare(requirement: str) -> str:
    """The name of a required distribution."""
    return re.split(r"[^A-Za-z0-9_.-]", requirement.strip(), maxsplit=1)[0].lower()


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(
            "from-package", f"{file}: {error}", "a folder with a valid pyproject.toml"
        ) from error
