"""A folder that is written atomically: data files, and a manifest that lists them.

Data files get new names and are flushed to disk; then the manifest is replaced by one rename. Until the
rename the old manifest and its files are untouched; after it they are removed. So a reader sees the old state
or the new one, never a mixture, and a full disk or a killed process leaves the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from lshsample import __version__
from lshsample.errors import CheckpointError

__all__ = ["MANIFEST", "Bundle", "claim", "read_bundle", "write_bundle"]

MANIFEST = "lshsample.json"
_FORMAT = 1
Writer = Callable[[Path], None]


class Bundle:
    """A verified folder.

    Attributes
    ----------
    path : Path
        The folder.
    payload : dict
        Plain data stored in the manifest.
    files : dict
        Path of each data file, by name.
    """

    def __init__(self, path: Path, payload: dict[str, Any], files: dict[str, Path]) -> None:
        self.path, self.payload, self.files = path, payload, files

    def file(self, name: str) -> Path:
        """The path of the data file with this name; CheckpointError if there is none."""
        if name not in self.files:
            raise CheckpointError(f"{self.path}: {MANIFEST} does not list {name}")
        return self.files[name]


def _digest(payload: Any) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bundle(
    path: str | PathLike[str], kind: str, payload: dict[str, Any], writers: Mapping[str, Writer]
) -> None:
    """Replace a folder's content atomically.

    Parameters
    ----------
    path : path
        The folder: new, empty, or one written by this function with the same kind.
    kind : str
        What it holds, such as ``"model"``; a folder of another kind is refused.
    payload : dict
        Plain data for the manifest.
    writers : mapping
        The function that writes each data file, by name.

    Raises
    ------
    CheckpointError
        If the folder holds something else or cannot be written; its old content is kept.
    """
    folder = Path(path)
    old = claim(folder, kind, writers) or {"generation": 0, "files": {}}
    made: list[Path] = []
    try:
        body = _write_files(folder, kind, payload, writers, old["generation"] + 1, made)
        manifest = json.dumps(
            {"format": _FORMAT, "sha256": _digest(body), "body": body}, indent=1, sort_keys=True
        )
        made.append(folder / f"{MANIFEST}.new")
        _write_file(made[-1], lambda file: _write_text(file, manifest))
        _sync_folder(folder)
        made[-1].replace(folder / MANIFEST)
    except BaseException as error:
        for file in made:
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            problem = f"{folder}: cannot be written ({error.strerror}); its old content is kept"
            raise CheckpointError(problem) from error
        raise
    _sync_folder(folder)
    for entry in old["files"].values():
        (folder / Path(entry["file"]).name).unlink(missing_ok=True)


def _write_files(
    folder: Path,
    kind: str,
    payload: dict[str, Any],
    writers: Mapping[str, Writer],
    generation: int,
    made: list[Path],
) -> dict[str, Any]:
    """Write the data files, adding each to ``made`` before it is written; returns the manifest's body."""
    entries = {}
    for name, write in writers.items():
        made.append(folder / _file_name(name, generation))
        entries[name] = _write_file(made[-1], write)
    return {
        "kind": kind,
        "generation": generation,
        "lshsample": __version__,
        "files": entries,
        "payload": payload,
    }


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)


def _file_name(name: str, generation: int) -> str:
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{generation}{dot}{suffix}"


def claim(path: str | PathLike[str], kind: str, names: Iterable[str] = ()) -> dict[str, Any] | None:
    """Create the folder, or check that it may be overwritten; returns its manifest's body, or None."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror})") from error
    if (folder / MANIFEST).exists():
        body = _read_manifest(folder)
        if body["kind"] != kind:
            raise CheckpointError(f"{folder}: holds a {body['kind']}, expected a {kind} or an empty folder")
        return body
    unfinished = {f"{MANIFEST}.new", *(_file_name(name, 1) for name in names)}  # of a killed process
    foreign = {file.name for file in folder.iterdir()} - unfinished
    if foreign:
        raise CheckpointError(
            f"{folder}: holds other files ({sorted(foreign)[0]}, ...), expected an empty folder"
        )
    return None


def _write_file(path: Path, write: Writer) -> dict[str, Any]:
    write(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": _file_digest(path)}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        whole = json.loads(path.read_bytes())
        version = whole["format"]
        if isinstance(version, int) and version > _FORMAT:
            raise CheckpointError(
                f"{path}: format {version} is of a newer version; this one reads up to {_FORMAT}"
            )
        body: dict[str, Any] = whole["body"]
        if version != _FORMAT or _digest(body) != whole["sha256"]:
            raise CheckpointError(f"{path}: changed since it was written (checksum mismatch)")
        if not _is_body(body):
            raise CheckpointError(f"{path}: not a manifest of lshsample")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: there is no {MANIFEST}, expected a folder written by lshsample"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a manifest of lshsample, or truncated ({error})") from error
    return body


def _is_body(body: Any) -> bool:
    """Whether a manifest's body has every field that is read, and data files in the same folder."""
    plain = isinstance(body["kind"], str) and isinstance(body["generation"], int)
    entries = body["files"].values()
    here = all(Path(entry["file"]).name == entry["file"] for entry in entries)
    sized = all(isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str) for entry in entries)
    return plain and here and sized and isinstance(body["payload"], dict)


def read_bundle(path: str | PathLike[str], kind: str) -> Bundle:
    """Open a folder, after verifying the size and checksum of every file."""
    folder = Path(path)
    body = _read_manifest(folder)
    if body["kind"] != kind:
        raise CheckpointError(f"{folder}: holds a {body['kind']}, expected a {kind}")
    files = {}
    for name, entry in body["files"].items():
        file = folder / entry["file"]
        if not file.is_file():
            raise CheckpointError(f"{file}: missing")
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise CheckpointError(f"{file}: {size} bytes, expected {entry['bytes']} (truncated?)")
        if _file_digest(file) != entry["sha256"]:
            raise CheckpointError(f"{file}: changed since it was written (checksum mismatch)")
        files[name] = file
    return Bundle(folder, body["payload"], files)
