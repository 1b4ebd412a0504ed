"""A plugin package from the templates of this folder.

A template is a file ``*.in`` under ``templates/``, in a folder for the kinds of package that it belongs to.
Words between @ signs, in names of files too, are replaced.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import attrs

from lshsample.errors import ArgumentError, did_you_mean
from lshsample.registry import families

__all__ = ["KINDS", "Kind", "check_kind", "quoted", "templates", "words_of", "write", "write_package"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_LONGEST = 40


@attrs.frozen
class Kind:
    """A kind of package.

    Attributes
    ----------
    kernel : tuple of str
        Folders of templates of its kernel; files of later ones replace those of earlier ones. Empty if it has
        no kernel.
    own : tuple of str
        Folders of templates for the kernel of a family whose hash function is not the starter's.
    build : tuple of str
        What the build needs in addition to setuptools.
    requires : tuple of str
        What the package needs at run time, in addition to lshsample and NumPy.
    files : tuple of (str, str)
        Files of its kernel, with their content, for the README.
    """

    kernel: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


_KERNEL = "src/@module@/kernel.py"
_SOURCES = ("csrc/kernel.h", "the kernel, compiled once per instruction set")
#: Kinds of package by name.
KINDS: Mapping[str, Kind] = {
    "python": Kind(),
    "numba": Kind(
        ("kernel", "numba"),
        ("own/numba",),
        (),
        ("numba>=0.60",),
        ((_KERNEL, "the kernel, which numba compiles"),),
    ),
    "c": Kind(
        ("kernel", "compiled", "c"),
        ("own/compiled", "own/c"),
        ("lshsample",),
        (),
        (_SOURCES, (_KERNEL, "the kernel's state, through ctypes")),
    ),
    "cffi": Kind(
        ("kernel", "compiled", "cffi"),
        ("own/compiled", "own/cffi"),
        ("cffi>=1.17", "lshsample"),
        ("cffi>=1.17",),
        (_SOURCES, (_KERNEL, "the kernel's state, through cffi")),
    ),
}

_REBUILD = """\
After an edit in `csrc/`, run `pip install --no-build-isolation -e .` again.
"""

_REFERENCE = "The NumPy reference is kept: a compiled kernel must return the same codes, bit for bit.\n"

_ROAD = """\
`lshsample new-family @name@ --from-package . --kind c` (or `numba`, or `cffi`) adds a compiled kernel, and
keeps the NumPy code as its reference.
"""

_NATIVE = '''
    def native(self) -> NativeKernel:
        """The compiled kernel, whose codes equal those of the reference bit for bit."""
        return native_kernel(self.n_hashes, self.n_tables, self.directions)
'''


def write_package(name: str, kind: str, folder: Path) -> list[Path]:
    """Write a package with a hash family called ``name``, and return the list of its files.

    Parameters
    ----------
    name : str
        The family's name: words of lower-case letters and digits, joined with ``-``. No installed family may
        have it.
    kind : str
        A key of :data:`KINDS`.
    folder : path
        The package's folder, which must not exist or be empty.

    Returns
    -------
    list of Path
        The files, relative to the folder.

    Raises
    ------
    ArgumentError
        An invalid name or one that is taken, an unknown kind, or a folder that is not empty. Nothing is
        written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     files = write_package("my-signs", "python", Path(place, "my-signs"))
    >>> [str(path) for path in files if path.suffix == ".toml"]
    ['pyproject.toml']
    """
    _check(name, kind, folder)
    files = templates(("any", *KINDS[kind].kernel), _words(name, KINDS[kind]))
    write(folder, files)
    return sorted(files)


def templates(folders: Iterable[str], words: Mapping[str, str]) -> dict[Path, str]:
    """Paths and texts of the templates in some folders, with their words filled in."""
    root, files = resources.files("lshsample.scaffold") / "templates", {}
    for part in folders:
        for path, text in _templates(root.joinpath(part), Path()):
            files[Path(_filled(str(path), words))] = _filled(text, words)
    return files


def write(folder: Path, files: Mapping[Path, str]) -> None:
    """Write files under a folder."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def check_kind(kind: str) -> None:
    """Raise ArgumentError for an unknown kind."""
    if kind not in KINDS:
        raise ArgumentError("kind", repr(kind), f"one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")


def _check(name: str, kind: str, folder: Path) -> None:
    check_kind(kind)
    if len(name) > _LONGEST or not _NAME.match(name) or keyword.iskeyword(name):
        wanted = f"words of lower-case letters and digits, joined with -, at most {_LONGEST} characters"
        raise ArgumentError("NAME", repr(name), wanted)
    if name in families():
        raise ArgumentError(
            "NAME", repr(name), f"a new name, unlike those of the families {', '.join(families())}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError("dest", str(folder), "a folder that does not exist or is empty")


def words_of(name: str, module: str, cls: str) -> dict[str, str]:
    """The words that every template may have: the names of the family, its package and its class."""
    return {"name": name, "module": module, "MODULE": module.upper(), "Class": cls}


def _words(name: str, kind: Kind) -> dict[str, str]:
    """The words between the @ signs, and what replaces them."""
    module = "lshsample_" + name.replace("-", "_")
    words = words_of(name, module, "".join(part.capitalize() for part in name.split("-")))
    requires = ["attrs>=25.1", "lshsample", "numpy>=2.0", *kind.requires]
    words |= {
        "build": quoted(["setuptools>=77", *kind.build]),
        "requires": quoted(requires),
        "api": "NativeKernel, " if kind.kernel else "",
        "import": f"\nfrom {module}.kernel import native_kernel\n" if kind.kernel else "",
        "native": _NATIVE if kind.kernel else "",
        "rebuild": _REBUILD if _SOURCES in kind.files else "",
    }
    words["kernel"] = _REFERENCE if kind.kernel else _filled(_ROAD, words)
    words["rows"] = "".join(f"| `{_filled(path, words)}` | {what} |\n" for path, what in kind.files)
    return words


def quoted(items: Iterable[str]) -> str:
    """Items of a list in TOML."""
    return ", ".join(f'"{item}"' for item in items)


def _filled(text: str, words: Mapping[str, str]) -> str:
    # A word alone on its line replaces the line.
    text = re.sub(r"^@(\w+)@\n", lambda match: words[match[1]], text, flags=re.MULTILINE)
    return re.sub(r"@(\w+)@", lambda match: words[match[1]], text)


def _templates(folder: Traversable, place: Path) -> list[tuple[Path, str]]:
    """Paths, without the suffix ``.in``, and texts of all templates below a folder."""
    found: list[tuple[Path, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _templates(entry, place / entry.name)
        elif entry.name.endswith(".in"):
            found.append((place / entry.name.removesuffix(".in"), entry.read_text(encoding="utf-8")))
    return found
