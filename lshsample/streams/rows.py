"""What a first pass over files finds: how rows are made, which are held out, and where each block is."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from os import PathLike
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample.errors import ArgumentError, CheckpointError, DataFormatError
from lshsample.nn import tensorfile
from lshsample.nn.bundle import Bundle, Kind, read_bundle, write_bundle
from lshsample.specs import checked_integer, checked_number
from lshsample.streams.files import Block, RowFiles
from lshsample.streams.jobs import Candidate, Counted, LeftOut, Making, counting_of, making_of
from lshsample.streams.parsers import Parsers
from lshsample.text import LabelNames, TextVectorizer, VectorizerSpec
from lshsample.training.defaults import DataShape

__all__ = ["ROWS", "StreamedRows"]

Int64 = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]

#: The kind of a folder that holds what a pass has found.
ROWS = Kind("rows", r"rows\.safetensors")
#: Held-out rows, and their bytes, at most.
_HELD_OUT, _HELD_BYTES = 5_000, 2**26
#: Terms that are counted at least; of twice as many, the rarest are forgotten.
_TERMS = 2**20
#: Blocks that each parser is ahead.
_AHEAD = 2


@attrs.frozen(eq=False, kw_only=True, repr=False)
class StreamedRows:
    r"""Rows of files that need not fit into memory, after a pass over them.

    Made by :meth:`scan` or :meth:`load`.

    Attributes
    ----------
    files : RowFiles
    seed : int
        Determines which rows are held out.
    vectorizer, names : TextVectorizer and LabelNames, optional
        How texts become rows, and the names of labels; None for files of features.
    n_features, n_labels : int
    held_x, held_y : csr_array
        The rows with labels that are held out, at most 5,000 of them and 64 MiB of texts.
    counts : (n_labels,) int64 array
        The rows with each label, without those held out.
    is_whole : bool
        Whether all values are integers.
    n_values : int
        Values of all rows.
    unknown : tuple of (int, str), or None
        With given names: how many other labels there are, which are left out, and the first of them.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "texts.jsonl"
    >>> _ = path.write_text('{"text": "a grey cat", "labels": ["cats"]}\n' * 20)
    >>> StreamedRows.scan(RowFiles(paths=path), parsers=0)
    StreamedRows(20 rows, 3 features, 1 labels, 2 of the rows held out)
    """

    files: RowFiles
    seed: int
    vectorizer: TextVectorizer | None
    names: LabelNames | None
    n_features: int
    n_labels: int
    held_x: sp.csr_array
    held_y: sp.csr_array
    counts: Int64
    is_whole: bool
    n_values: int
    unknown: tuple[int, str] | None = None
    _limit: int
    #: Of each block: its file, its rows, those with labels, those held out, and a checksum of its text.
    _blocks: dict[str, Int64]
    #: The rows with each feature, of files of features.
    _features: Int64 | None

    @classmethod
    def scan(
        cls,
        files: RowFiles,
        text: VectorizerSpec | None = None,
        *,
        names: LabelNames | None = None,
        holdout: float = 0.1,
        seed: int = 0,
        parsers: int = 1,
        progress: Progress | None = None,
    ) -> Self:
        """Read all files once.

        Parameters
        ----------
        files : RowFiles
        text : VectorizerSpec, optional
            How texts become rows.
        names : LabelNames, optional
            By default the names that occur.
        holdout : float
            The share of the rows with labels that is held out, 5,000 rows at most.
        seed : int
            Determines which rows are held out.
        parsers : int
            Processes that parse; 0 for this one. The result does not depend on it.
        progress : callable, optional
            Called with what is being done, and the bytes of the files that are done and of all of them, which
            are 0 for a dataset of Ray.

        Returns
        -------
        StreamedRows

        Raises
        ------
        ArgumentError
            Fewer than two rows with labels; no term in ``min_df`` of the texts.
        DataFormatError
            A line that does not follow its format; the error names the file and the line.

        Notes
        -----
        Memory: a few blocks of 1 MiB for each parser; the names of labels; without ``hashing`` a vocabulary,
        of which the rarest terms are forgotten while more than two million (or four times
        ``max_features``) are counted, so that of a larger vocabulary the rarest are counted too low.
        """
        checked_integer("seed", seed, 0, 2**63 - 1)
        checked_integer("parsers", parsers, 0, 1024)
        checked_number("holdout", holdout, 0, 1, open_low=True)
        chosen = VectorizerSpec() if text is None else text
        found = _Found(files, chosen, names)
        with Parsers(counting_of(files, chosen, names, seed), parsers) as pool:
            tasks = found.tasks(progress)
            for counted in pool.map(tasks, _AHEAD * parsers):
                found.add(counted)
        return cls(files=files, seed=seed, **found.result(holdout))

    # What it is.

    @property
    def n_rows(self) -> int:
        """Number of all rows."""
        return int(self._blocks["rows"].sum())

    @property
    def n_held(self) -> int:
        """Number of the rows that are held out."""
        return int(self.held_x.shape[0])

    @property
    def shape(self) -> DataShape:
        """What default hyperparameters are chosen by."""
        return DataShape(self.n_rows - self.n_held, self.n_features, self.n_labels, self.is_whole)

    def fingerprint(self) -> list[int]:
        """Numbers that identify the rows."""
        sums = [zlib.crc32(self._blocks[name].tobytes()) for name in ("rows", "crc")]
        return [self.n_rows, self.n_features, self.n_labels, self.seed, self._limit, *sums]

    def label_counts(self) -> Int64:
        """The number of rows with each label, those held out included."""
        return self.counts + np.bincount(self.held_y.indices, minlength=self.n_labels)

    def feature_counts(self) -> Int64 | None:
        """The number of rows with each feature, of files of features; None for texts."""
        return self._features

    # What batches are made of.

    @property
    def file_of(self) -> Int64:
        """The file of each block."""
        return self._blocks["file"]

    def n_kept(self, without_labels: bool) -> Int64:
        """The rows of each block that are trained on: with labels alone, or also those without."""
        every = self._blocks["rows"] if without_labels else self._blocks["labelled"]
        return every - self._blocks["held"]

    def making(self, without_labels: bool) -> Making:
        """What makes rows of a block."""
        left_out = LeftOut(self.seed, self._limit, not without_labels)
        return making_of(self.files, self.vectorizer, self.names, left_out)

    def read(self, order: Int64) -> Iterator[tuple[int, Block]]:
        """The blocks of an order in which those of a file ascend, with their numbers.

        Raises
        ------
        CheckpointError
            A file has changed since it was scanned.
        """
        file_of, crc = self._blocks["file"], self._blocks["crc"]
        first = np.searchsorted(file_of, np.arange(len(self.files.files)))
        left = np.bincount(file_of[order], minlength=len(self.files.files))
        opened: dict[int, Iterator[tuple[int, Block]]] = {}
        for number in order.tolist():
            file = int(file_of[number])
            if file not in opened:
                opened[file] = enumerate(self.files.files[file].blocks(), int(first[file]))
            block = next((one for at, one in opened[file] if at == number), None)
            if block is None or zlib.crc32(block.text) != crc[number]:
                raise CheckpointError(f"{self.files.files[file].path}: changed since it was scanned")
            left[file] -= 1
            if not left[file]:
                del opened[file]
            yield number, block

    # Folders.

    def save(self, path: str | PathLike[str]) -> None:
        """Write what was found to a folder, atomically, so that a continued run need not scan again."""
        arrays: dict[str, npt.NDArray[Any]] = {f"blocks/{key}": one for key, one in self._blocks.items()}
        arrays["counts"] = self.counts
        if self._features is not None:
            arrays["features"] = self._features
        for name, rows in (("held_x", self.held_x), ("held_y", self.held_y)):
            of_rows: Any = rows
            arrays |= {f"{name}/{key}": getattr(of_rows, key) for key in ("indptr", "indices", "data")}
        vectorizer = None
        if self.vectorizer is not None and self.names is not None:
            vectorizer, own = self.vectorizer.to_arrays()
            arrays |= {f"vectorizer/{key}": one for key, one in own.items()} | self.names.to_arrays()
        payload = {
            "files": _identity(self.files),
            "vectorizer": vectorizer,
            "seed": self.seed,
            "limit": self._limit,
            "sizes": [self.n_features, self.n_labels, self.n_values],
            "is_whole": self.is_whole,
            "unknown": None if self.unknown is None else list(self.unknown),
        }
        write = functools.partial(tensorfile.write_tensors, tensors=arrays)
        write_bundle(path, ROWS, payload, {"rows.safetensors": write})

    @classmethod
    def load(cls, path: str | PathLike[str], files: RowFiles) -> Self:
        """What :meth:`save` wrote, for the same files.

        Raises
        ------
        CheckpointError
            There is nothing, or it is damaged; the files are others: by their names, sizes, formats, columns,
            and numbers of features and labels. Their content is compared as it is read.
        """
        with read_bundle(path, ROWS) as bundle:
            header, sizes = files.header, bundle.payload.get("sizes")
            same_width = header is None or sizes is None or sizes[:2] == [header.n_features, header.n_labels]
            if not same_width or bundle.payload.get("files") != _identity(files):
                raise CheckpointError(
                    f"{bundle.path}: scanned from other files, or with other options for reading them"
                )
            try:
                return cls(files=files, **_stored(bundle))
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(f"{bundle.path}: cannot be read: {error!r}") from error

    def __repr__(self) -> str:
        shape = f"{self.n_rows:,} rows, {self.n_features:,} features, {self.n_labels:,} labels"
        return f"StreamedRows({shape}, {self.n_held:,} of the rows held out)"


def _identity(files: RowFiles) -> dict[str, Any]:
    """What files are known by, wherever they are."""
    several = [[file.path.name, file.form, file.size] for file in files.files]
    return {"files": several, "columns": [files.text, files.labels, files.separator]}


def _stored(bundle: Bundle) -> dict[str, Any]:
    """The fields of stored rows."""
    file, payload = bundle.file("rows.safetensors"), bundle.payload
    arrays = {name: tensorfile.read_tensor(file, name) for name in tensorfile.read_header(file)[0]}
    n_features, n_labels, n_values = payload["sizes"]

    def held(prefix: str, width: int) -> sp.csr_array:
        own = tensorfile.under(arrays, prefix)
        return csr_from_parts(own["indptr"], own["indices"], own["data"], (len(own["indptr"]) - 1, width))

    vectorizer, names = None, None
    if payload["vectorizer"] is not None:
        vectorizer = TextVectorizer.from_arrays(
            payload["vectorizer"], tensorfile.under(arrays, "vectorizer/")
        )
        names = LabelNames.from_arrays(arrays)
    return {
        "seed": payload["seed"],
        "vectorizer": vectorizer,
        "names": names,
        "n_features": n_features,
        "n_labels": n_labels,
        "held_x": held("held_x/", n_features),
        "held_y": held("held_y/", n_labels),
        "counts": arrays["counts"],
        "is_whole": payload["is_whole"],
        "n_values": n_values,
        "unknown": None if payload["unknown"] is None else tuple(payload["unknown"]),
        "limit": payload["limit"],
        "blocks": tensorfile.under(arrays, "blocks/"),
        "features": arrays.get("features"),
    }


class _Found:
    """What a pass has found so far."""

    def __init__(self, files: RowFiles, text: VectorizerSpec, names: LabelNames | None) -> None:
        self._files, self._text, self._names = files, text, names
        header = files.header
        self._features: _ByName | _ById
        self._labels: _ByName | _ById
        if header is not None:
            self._features, self._labels = _ById(header.n_features), _ById(header.n_labels)
        else:
            most = max(_TERMS, 2 * (text.max_features or 0))
            self._features = _ById(text.n_hashes) if text.hashing else _ByName(most)
            self._labels = _ByName(2**62) if names is None else _ById(len(names))
        self._held, self._unknown = _HeldOut(), set[str]()
        self._blocks: dict[str, list[Any]] = {"file": [], "crc": [], "rows": [], "labelled": []}
        self._is_whole = header is not None

    def tasks(self, progress: Progress | None) -> Iterator[tuple[int, Block, int]]:
        """The blocks of all files, with their numbers, and the largest priority of a candidate."""
        done, number = 0, 0
        for index, file in enumerate(self._files.files):
            read = 0
            for block in file.blocks():
                if progress is not None:
                    progress("reading all rows once", done + min(read, file.size), self._files.size)
                self._blocks["file"].append(index)
                self._blocks["crc"].append(zlib.crc32(block.text))
                yield number, block, self._held.limit
                number, read = number + 1, read + len(block.text)
            done += file.size
        if progress is not None:
            progress("reading all rows once", done, done)

    def add(self, counted: Counted) -> None:
        """Add what the next block has."""
        self._blocks["rows"].append(counted.n_rows)
        self._blocks["labelled"].append(int(counted.labelled.sum()))
        self._features.add(counted.features)
        self._labels.add(counted.labels)
        self._unknown |= counted.unknown
        self._is_whole = self._is_whole and counted.is_whole
        self._held.add(counted.candidates)

    def result(self, holdout: float) -> dict[str, Any]:
        """The fields of :class:`StreamedRows`."""
        blocks = {name: np.array(values, np.int64) for name, values in self._blocks.items()}
        self._check_rows(blocks)
        n_labelled = int(blocks["labelled"].sum())
        if n_labelled < 2:
            raise ArgumentError("files", f"{n_labelled} rows with a label", "at least two rows with a label")
        held = self._held.rows[: min(max(1, round(holdout * n_labelled)), n_labelled - 1)]
        blocks["held"] = np.bincount([one.block for one in held], minlength=len(blocks["rows"]))
        header, contents = self._files.header, [one.content for one in held]
        vectorizer, names, features = None, None, None
        if header is not None:
            assert isinstance(self._features, _ById)
            features = self._features.counts
            n_values = int(features.sum())
            held_x, held_y = _stacked(contents, header.n_features, header.n_labels)
        else:
            names = self._names
            if names is None:
                assert isinstance(self._labels, _ByName)
                names = LabelNames(sorted(self._labels.counts))
            n_rows = int(blocks["rows"].sum())
            if isinstance(self._features, _ById):
                vectorizer = TextVectorizer.of_frequencies(self._text, self._features.counts, n_rows)
                n_values = int(self._features.counts.sum())
            else:
                frequencies = self._features.counts
                vectorizer = TextVectorizer.of_frequencies(self._text, frequencies, n_rows)
                n_values = sum(frequencies[term] for term in vectorizer.terms or ())
            held_x = vectorizer.transform([one.text for one in contents])
            held_y = names.matrix([one.labels for one in contents])
        counts = self._labels.counts if isinstance(self._labels, _ById) else self._labels.sorted_counts()
        return {
            "vectorizer": vectorizer,
            "names": names,
            "n_features": held_x.shape[1],
            "n_labels": held_y.shape[1],
            "held_x": held_x,
            "held_y": held_y,
            "counts": counts - np.bincount(held_y.indices, minlength=held_y.shape[1]),
            "is_whole": self._is_whole,
            "n_values": n_values,
            "unknown": (len(self._unknown), min(self._unknown)) if self._unknown else None,
            "limit": held[-1].priority,
            "blocks": blocks,
            "features": features,
        }

    def _check_rows(self, blocks: Mapping[str, Int64]) -> None:
        """Refuse files with other numbers of rows than their headers state."""
        if self._files.trust_rows:
            return
        found = np.bincount(blocks["file"], blocks["rows"], minlength=len(self._files.files)).astype(int)
        for file, n_rows in zip(self._files.files, found.tolist(), strict=True):
            if file.header is not None and n_rows != file.header.n_rows:
                problem = (
                    f"{n_rows} samples, the header says {file.header.n_rows}; pass trust_rows=True "
                    "(--trust-rows) to read the rows that there are"
                )
                raise DataFormatError(file.path, 1, 0, problem)


class _ByName:
    """Counts of names, of which the rarest are forgotten while there are more than twice ``most``."""

    def __init__(self, most: int) -> None:
        self._most, self.counts = most, dict[str, int]()

    def add(self, counts: Any) -> None:
        own = self.counts
        for name, count in counts.items():
            own[name] = own.get(name, 0) + count
        if len(own) > 2 * self._most:
            kept = sorted(own.items(), key=lambda item: (-item[1], item[0]))[: self._most]
            self.counts = dict(kept)

    def sorted_counts(self) -> Int64:
        """The counts in the order of the names."""
        return np.array([self.counts[name] for name in sorted(self.counts)], np.int64)


class _ById:
    """Counts of ids."""

    def __init__(self, size: int) -> None:
        self.counts: Int64 = np.zeros(size, np.int64)

    def add(self, counts: Any) -> None:
        ids, found = counts
        self.counts[ids] += found


class _HeldOut:
    """The rows of the smallest priorities."""

    def __init__(self) -> None:
        #: The largest priority that a row may have to be one of them.
        self.limit = 2**63 - 1
        self.rows: list[Candidate] = []

    def add(self, candidates: list[Candidate]) -> None:
        fresh = [one for one in candidates if one.priority <= self.limit]
        if not fresh:
            return
        rows = sorted([*self.rows, *fresh], key=attrgetter("priority"))
        sizes = np.cumsum([one.size for one in rows])
        fitting = max(1, int(np.searchsorted(sizes, _HELD_BYTES, side="right")))
        kept = min(fitting, _HELD_OUT)
        self.rows = rows[:kept]
        if len(rows) > kept:
            self.limit = self.rows[-1].priority


def _stacked(rows: list[Any], n_features: int, n_labels: int) -> tuple[sp.csr_array, sp.csr_array]:
    """Rows of (ids, values, labels) as matrices."""
    ids, values, labels = zip(*rows, strict=True)

    def indptr(parts: Any) -> Int64:
        return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

    x = csr_from_parts(indptr(ids), np.concatenate(ids), np.concatenate(values), (len(rows), n_features))
    y = csr_from_parts(indptr(labels), np.concatenate(labels), None, (len(rows), n_labels))
    return x, y
