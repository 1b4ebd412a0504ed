"""Whether the package that tests import is the one in their folder."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from lshsample.errors import ArgumentError
from lshsample.plugin import source_digest

__all__ = ["stale_package"]

_INSTALL = "pip install --no-build-isolation -e"


def stale_package(package: str, project: Path) -> str | None:
    """How an installed package differs from its sources; for the ``conftest.py`` of a plugin.

    Tests of an installed copy say nothing about the sources beside them. The copy is compared file by file,
    and a compiled library by the digest of ``csrc/`` in it (:func:`lshsample.plugin.source_digest`).

    Parameters
    ----------
    package : str
        The name by which it is imported.
    project : Path
        The folder with its ``pyproject.toml``, which has the package in ``src/`` or beside it, and the C
        sources, if there are any, in ``csrc/``.

    Returns
    -------
    str or None
        What differs, with the command that installs the package again; None if nothing does.

    Raises
    ------
    ArgumentError
        The folder does not contain the package.

    Examples
    --------
    In ``tests/conftest.py``::

        def pytest_configure(config):
            stale = stale_package("my_package", Path(__file__).resolve().parents[1])
            if stale:
                raise pytest.UsageError(stale)
    """
    sources = [folder / package for folder in (project / "src", project) if (folder / package).is_dir()]
    if not sources:
        raise ArgumentError("project", str(project), f"a folder with the package {package} in it or in src/")
    repair = f"run: {_INSTALL} {project}"
    importlib.invalidate_caches()
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return f"{package} is not installed; {repair}"
    installed = Path(found.origin).resolve().parent
    texts = [path.relative_to(sources[0]) for path in sorted(sources[0].rglob("*.py"))]
    different = [str(path) for path in texts if not _equal(sources[0] / path, installed / path)]
    if different:
        return f"{installed} differs from {sources[0]} in {', '.join(different)}; {repair}"
    csrc = project / "csrc"
    if csrc.is_dir():
        digest = source_digest(csrc).encode()
        if not any(digest in library.read_bytes() for library in installed.rglob("*.so")):
            return f"{package} was not compiled from the sources that are now in {csrc}; {repair}"
    return None


def _equal(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()
