"""A folder that is written atomically: data files, and a manifest that lists them.

Data files get new names and are flushed to disk; then the manifest is replaced by one rename. Until the
rename the old manifest and its files are untouched; after it they are removed. So a reader sees the old state
or the new one, never a mixture, and a full disk or a killed process leaves the old one.

One process at a time may write to a folder (:class:`~lshsample.nn.folder_lock.FolderLock`). What a killed one
left is recognised by its name, and removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import attrs

from lshsample import __version__
from lshsample.errors import CheckpointError
from lshsample.files import as_path, create_file, make_folder, open_regular, sync_folder
from lshsample.nn.folder_lock import LOCK, FolderLock

__all__ = [
    "BLOCK_FILES",
    "MANIFEST",
    "Bundle",
    "Claim",
    "Kind",
    "OtherWriter",
    "WrittenFiles",
    "claim",
    "is_of_head",
    "kind_of",
    "model_folder",
    "read_bundle",
    "remove_bundle",
    "write_bundle",
    "write_data_file",
]

MANIFEST = "lshsample.json"
#: Names of the files of blocks of a layer's units, which are read and written apart from the others.
BLOCK_FILES = r"block[0-9]+\.safetensors|block[0-9]+tables\.lsh"
_NEW = f"{MANIFEST}.new"
_FORMAT = 1
#: A manifest is read as a whole; a larger file is not one.
_MAX_MANIFEST = 1 << 25
_MAX_INTEGER = 2**63
Writer = Callable[[BinaryIO], None]
OtherWriter = Callable[[Path, int], "WrittenFiles | None"]


@attrs.frozen
class Kind:
    """A kind of folder, and the names that its data files may have.

    Attributes
    ----------
    name : str
        The kind, such as ``"model"``.
    names : str
        Regular expression of the names of its data files, such as ``"weights.safetensors"``. In the folder
        they are numbered: ``weights-3.safetensors`` is that of the third generation.
    """

    name: str
    names: str

    def generation(self, file: str) -> int:
        """The generation that a data file's name states; 0 for any other name."""
        found = re.fullmatch(r"([^.]+)-([1-9][0-9]{0,17})(\..+)", file, re.ASCII)
        return int(found[2]) if found and re.fullmatch(self.names, found[1] + found[3], re.ASCII) else 0

    def owns(self, file: str) -> bool:
        """Whether a file of this name is written by this module: it may be removed if nothing lists it."""
        temporary = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.tmp", file)
        return file == _NEW or self.generation(temporary[1] if temporary else file) > 0


@attrs.frozen
class WrittenFiles:
    """Data files of a folder that others have written, perhaps other processes.

    Attributes
    ----------
    entries : dict
        What the manifest says of each file, by name; from :func:`write_data_file`.
    facts : dict
        Plain data, by keys that are added to the manifest's payload.
    """

    entries: dict[str, dict[str, Any]]
    facts: dict[str, Any]


class Bundle:
    """A verified folder, with its data files open for reading.

    Attributes
    ----------
    path : Path
        The folder.
    payload : dict
        Plain data stored in the manifest.
    files : dict
        Each data file, by name.
    generation : int
        Number of this content of the folder: it rises with each that is written.
    """

    def __init__(
        self, path: Path, payload: dict[str, Any], files: dict[str, BinaryIO], generation: int
    ) -> None:
        self.path, self.payload, self.files, self.generation = path, payload, files, generation

    def file(self, name: str) -> BinaryIO:
        """The data file with this name, at its beginning; CheckpointError if there is none."""
        if name not in self.files:
            raise CheckpointError(f"{self.path}: {MANIFEST} does not list {name}")
        self.files[name].seek(0)
        return self.files[name]


class Claim:
    """A folder that this process alone may write to, until :meth:`release`; see :func:`claim`."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder, self.kind = folder, kind
        self._lock = _locked(folder, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def is_of(self, path: str | PathLike[str]) -> bool:
        """Whether a path is this folder."""
        return os.path.realpath(path) == os.path.realpath(self.folder)

    def write(
        self, payload: dict[str, Any], writers: Mapping[str, Writer], others: Sequence[OtherWriter] = ()
    ) -> None:
        """Replace the folder's content atomically.

        Parameters
        ----------
        payload : dict
            Plain data for the manifest.
        writers : mapping
            The function that writes each data file, by name.
        others : sequence of callable
            Functions of the folder and the generation that write further files by :func:`write_data_file`,
            here or in other processes, and return them; None for no file.

        Raises
        ------
        CheckpointError
            If the folder holds something else or cannot be written; its old content is kept.
        """
        if not self._lock.is_held:  # the folder was removed, or this is a forked child
            self._lock.close()
            self._lock = _locked(self.folder, self.kind)
        written = False
        try:
            _sweep(self.folder, self.kind)
            old, like = _content(self.folder, self.kind), _status(self.folder / MANIFEST)
            body = self._write_files(payload, writers, others, old, like)
            _write_manifest(self.folder, body, like)
            os.replace(self.folder / _NEW, self.folder / MANIFEST)
            written = True
            sync_folder(self.folder)
        except OSError as error:
            kept = "" if written else "; its old content is kept"
            raise CheckpointError(f"{self.folder}: cannot be written ({error.strerror}){kept}") from error
        finally:
            _sweep(self.folder, self.kind)  # by the manifest that is there now, whatever happened

    def _write_files(
        self,
        payload: dict[str, Any],
        writers: Mapping[str, Writer],
        others: Sequence[OtherWriter],
        old: dict[str, Any] | None,
        like: os.stat_result | None,
    ) -> dict[str, Any]:
        """Write the data files; returns the manifest's body."""
        generation = 1 + max(self.kind.generation(name) for name in [*os.listdir(self.folder), ""])
        entries = {}
        for name, write in writers.items():
            before = (old or {"files": {}})["files"].get(name)
            status = None if before is None else _status(self.folder / before["file"])
            path = self.folder / _numbered(name, generation)
            entries[name] = _write_file(path, write, status or like)
        for other in others:
            written = other(self.folder, generation)
            if written is not None:
                entries |= written.entries
                payload = payload | written.facts
        return {
            "kind": self.kind.name,
            "generation": generation,
            "lshsample": __version__,
            "files": entries,
            "payload": payload,
        }


def claim(path: str | PathLike[str], kind: Kind) -> Claim:
    """Create a folder, or check that it may be overwritten, and keep other processes from writing to it.

    Parameters
    ----------
    path : path
        The folder: new, empty, or one written by this module with the same kind. Unfinished files of a
        process that was killed do not count.
    kind : Kind
        What it will hold; a folder of another kind is refused.

    Returns
    -------
    Claim
        A context manager, which ends the claim.

    Raises
    ------
    CheckpointError
        The folder holds something else, cannot be written, or is in use by another process.
    """
    return Claim(as_path(path), kind)


def model_folder(path: str | PathLike[str]) -> Path:
    """The folder of the model, for itself or for the folder of a run, which has it below."""
    folder = as_path(path)
    return folder / "model" if (folder / "model").is_dir() else folder


def is_of_head(name: str) -> bool:
    """Whether a data file is not that of a block."""
    return re.fullmatch(BLOCK_FILES, name) is None


def kind_of(path: str | PathLike[str]) -> str | None:
    """The name of the kind that a folder holds; None if it has no manifest.

    Raises
    ------
    CheckpointError
        The manifest cannot be read.
    """
    folder = as_path(path)
    return _read_manifest(folder, None)["kind"] if os.path.lexists(folder / MANIFEST) else None


def write_bundle(
    path: str | PathLike[str],
    kind: Kind,
    payload: dict[str, Any],
    writers: Mapping[str, Writer],
    others: Sequence[OtherWriter] = (),
) -> None:
    """Replace a folder's content atomically, as :func:`claim` and :meth:`Claim.write`."""
    with claim(path, kind) as own:
        own.write(payload, writers, others)


def write_data_file(folder: Path, generation: int, name: str, write: Writer) -> dict[str, Any]:
    """Write a data file for a generation of a folder, which the manifest is to list; returns its entry."""
    path, like = folder / _numbered(name, generation), _status(folder / MANIFEST)
    path.unlink(missing_ok=True)  # of a process that died while it wrote this generation
    return _write_file(path, write, like)


def _numbered(name: str, generation: int) -> str:
    """The name that a data file has in the folder."""
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{generation}{dot}{suffix}"


def remove_bundle(path: str | PathLike[str], kind: Kind) -> None:
    """Remove a folder's content, and the folder if nothing else is in it.

    Raises
    ------
    CheckpointError
        As :func:`claim`, or if a file cannot be removed.
    """
    with claim(path, kind) as own:
        try:
            (own.folder / MANIFEST).unlink(missing_ok=True)
            sync_folder(own.folder)
        except OSError as error:
            raise CheckpointError(f"{own.folder}: cannot be removed ({error.strerror})") from error
        _sweep(own.folder, kind)
    with contextlib.suppress(OSError):
        own.folder.rmdir()


def _locked(folder: Path, kind: Kind) -> FolderLock:
    try:
        make_folder(folder)
        _check_content(folder, kind)  # first without a lock, so that a refused folder has no trace of it
        lock = FolderLock(folder)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        _check_content(folder, kind)
    except BaseException:
        lock.release()
        raise
    return lock


def _check_content(folder: Path, kind: Kind) -> None:
    """Refuse a folder that holds anything but this kind, or what a killed process left of it."""
    if _content(folder, kind) is None:
        foreign = sorted(name for name in os.listdir(folder) if name != LOCK and not kind.owns(name))
        if foreign:
            raise CheckpointError(
                f"{folder}: holds other files ({foreign[0]}, ...), expected an empty folder"
            )


def _content(folder: Path, kind: Kind) -> dict[str, Any] | None:
    """The body of a folder's manifest; None without one."""
    if not os.path.lexists(folder / MANIFEST):
        return None
    return _read_manifest(folder, kind, f"a {kind.name} or an empty folder")


def _sweep(folder: Path, kind: Kind) -> None:
    """Remove the files of this module that the manifest does not list; what cannot be removed stays."""
    with contextlib.suppress(OSError, CheckpointError):
        body = _content(folder, kind)
        listed = set() if body is None else {entry["file"] for entry in body["files"].values()}
        for name in os.listdir(folder):
            if kind.owns(name) and name not in listed:
                with contextlib.suppress(OSError):
                    (folder / name).unlink()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _write_file(path: Path, write: Writer, like: os.stat_result | None) -> dict[str, Any]:
    with create_file(path, like) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
        return {"file": path.name, "bytes": os.fstat(file.fileno()).st_size, "sha256": _checksum(file)}


def _write_manifest(folder: Path, body: dict[str, Any], like: os.stat_result | None) -> None:
    whole = {"format": _FORMAT, "sha256": _digest(body), "body": body}
    text = json.dumps(whole, indent=1, sort_keys=True).encode()
    if len(text) > _MAX_MANIFEST:
        raise CheckpointError(
            f"{folder}: its {MANIFEST} would have {len(text)} bytes; at most {_MAX_MANIFEST} can be read"
        )

    def write(file: BinaryIO) -> None:
        file.write(text)

    _write_file(folder / _NEW, write, like)
    sync_folder(folder)


def _checksum(file: Any) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read_manifest(folder: Path, kind: Kind | None, wanted: str = "") -> dict[str, Any]:
    """The body of a folder's manifest, verified; CheckpointError if it is not of this kind, or of any."""
    path = folder / MANIFEST
    try:
        with open_regular(path) as file:
            text = file.read(_MAX_MANIFEST + 1)
        if len(text) > _MAX_MANIFEST:
            raise CheckpointError(f"{path}: not a manifest of lshsample (more than {_MAX_MANIFEST} bytes)")
        whole = json.loads(text)
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
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder}: there is no {MANIFEST}, expected a folder written by lshsample"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a manifest of lshsample, or truncated ({error})") from error
    if kind is None:
        return body
    if body["kind"] != kind.name:
        raise CheckpointError(f"{folder}: holds a {body['kind']}, expected {wanted}")
    for name, entry in body["files"].items():
        generation = kind.generation(entry["file"])
        if not generation or entry["file"] != _numbered(name, generation):
            raise CheckpointError(
                f"{path}: lists the file {entry['file']!r} as {name!r}, which a {kind.name} does not have"
            )
    return body


def _is_body(body: Any) -> bool:
    """Whether a manifest's body has every field that is read, each of its type."""
    entries = body["files"].values()
    plain = type(body["kind"]) is str and isinstance(body["payload"], dict)
    counted = type(body["generation"]) is int and 0 < body["generation"] < _MAX_INTEGER
    named = all(type(entry["file"]) is str and type(entry["sha256"]) is str for entry in entries)
    sized = all(type(entry["bytes"]) is int and 0 <= entry["bytes"] < _MAX_INTEGER for entry in entries)
    return plain and counted and named and sized


@contextlib.contextmanager
def read_bundle(
    path: str | PathLike[str], kind: Kind, names: Callable[[str], bool] | None = None, *, verify: bool = True
) -> Iterator[Bundle]:
    """Open a folder, after verifying the size and checksum of every file; a context manager.

    Each file is opened once, and what is read is what was verified, whatever another process saves
    meanwhile. Without ``verify`` the manifest and the sizes are verified, and no other file is read.

    Parameters
    ----------
    path : path
        The folder.
    kind : Kind
        What it has to hold.
    names : callable, optional
        Whether to open the file of a name; by default all are.
    verify : bool
        Whether to read the files for their checksums.

    Raises
    ------
    CheckpointError
        The folder is missing, truncated, changed, of another kind or of a newer version.
    """
    folder = as_path(path)
    with contextlib.ExitStack() as stack:
        body, files = _opened(folder, kind, names, stack)
        for name, file in files.items():
            entry = body["files"][name]
            _verify(folder / entry["file"], file, entry, verify)
        yield Bundle(folder, body["payload"], files, body["generation"])


def _opened(
    folder: Path, kind: Kind, names: Callable[[str], bool] | None, stack: contextlib.ExitStack
) -> tuple[dict[str, Any], dict[str, BinaryIO]]:
    """The manifest's body and its open files; read again if another process has replaced them meanwhile."""
    body = _read_manifest(folder, kind, f"a {kind.name}")
    while True:
        files = {}
        try:
            wanted = {name: entry for name, entry in body["files"].items() if names is None or names(name)}
            for name, entry in wanted.items():
                files[name] = stack.enter_context(open_regular(folder / entry["file"]))
            return body, files
        except FileNotFoundError as error:
            stack.close()
            before, body = body, _read_manifest(folder, kind, f"a {kind.name}")
            if body == before:
                raise CheckpointError(f"{error.filename}: missing") from error
        except OSError as error:
            raise CheckpointError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _verify(path: Path, file: BinaryIO, entry: dict[str, Any], content: bool) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != entry["bytes"]:
        raise CheckpointError(f"{path}: {size} bytes, expected {entry['bytes']} (truncated?)")
    if content and _checksum(file) != entry["sha256"]:
        raise CheckpointError(f"{path}: changed since it was written (checksum mismatch)")
