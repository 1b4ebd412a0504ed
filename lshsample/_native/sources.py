"""Whether a compiled extension was built from the sources of this checkout.

Both build scripts compile a digest of the sources into their extension. In a checkout it is compared with the
files, since tests that run on an extension from before a change pass or fail for the wrong reason. The
scripts load this file by its path, so it imports the standard library only. An installed package has no
sources, and nothing is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

__all__ = ["EXTENSIONS", "REBUILD", "check_extension", "digest_of", "source_digest", "stale_extensions"]

#: Each extension module, with its sources as patterns relative to the checkout.
EXTENSIONS = {
    "lshsample._core": ("cext/**/*.[ch]", "cext/build_ffi.py"),
    "lshsample_families._kernels": (
        "plugins/csrc/**/*.[ch]",
        "plugins/csrc/build_ffi.py",
        "cext/include/**/*.h",
    ),
}
#: What to run after a change to the sources.
REBUILD = "pip install --editable ."

_CHECKOUT = Path(__file__).resolve().parents[2]


def source_digest(name: str, root: Path = _CHECKOUT) -> str:
    """The SHA-256 digest of an extension's sources: their paths and their contents.

    Parameters
    ----------
    name : str
        A key of :data:`EXTENSIONS`.
    root : Path
        The checkout.

    Returns
    -------
    str
        64 hexadecimal digits; the empty string where there are no sources.
    """
    return digest_of(root, EXTENSIONS[name])


def digest_of(root: Path, patterns: Iterable[str]) -> str:
    """The SHA-256 digest of the files that match patterns; the empty string if there are none."""
    files = {path for pattern in patterns for path in root.glob(pattern)}
    if not files:
        return ""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def check_extension(name: str, root: Path = _CHECKOUT) -> str | None:
    """What is wrong with an extension in a checkout; None if nothing is, or if there are no sources."""
    wanted = source_digest(name, root)
    if not wanted:
        return None
    try:
        module = import_module(name)
    except ImportError as error:
        return f"{name} is not built ({error}); run: {REBUILD}"
    try:
        found = module.ffi.string(module.lib.LSH_SOURCE_DIGEST).decode()
    except AttributeError:
        found = ""
    if found == wanted:
        return None
    return f"{name} ({module.__file__}) was built from other sources than those in {root}; run: {REBUILD}"


def stale_extensions(root: Path = _CHECKOUT) -> list[str]:
    """A message for each extension that was not built from the sources of the checkout."""
    return [message for name in EXTENSIONS if (message := check_extension(name, root)) is not None]
