"""The files of a classifier: what its folder holds, written and read."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import CheckpointError
from lshsample.nn import tensorfile
from lshsample.nn.bundle import Bundle, Kind, write_bundle
from lshsample.tables import HashTables
from lshsample.tables.mapped import MappedFile
from lshsample.text import LabelNames, TextVectorizer
from lshsample.xc.fitting import Stage
from lshsample.xc.mixture import Mixture
from lshsample.xc.parts import PARTS, HiddenPart, LinearPart, NetworkPart, Part, RowsPart
from lshsample.xc.recipe import Recipe
from lshsample.xc.thresholds import Thresholds
from lshsample.xc.weighting import RowWeighting

if TYPE_CHECKING:
    from lshsample.xc.classifier import Classifier

__all__ = ["CLASSIFIER", "Contents", "Lazy", "write_files"]

T = TypeVar("T")
Arrays = dict[str, npt.NDArray[Any]]

#: The folder of a classifier.
CLASSIFIER = Kind("classifier", rf"({'|'.join(PARTS)}|labels|text)\.safetensors|({'|'.join(PARTS)})\.tables")
#: The version of what the files of a classifier hold; it is in the manifest.
_LAYOUT = 2


class Lazy(Generic[T]):
    """A value, or what makes it when it is first asked for."""

    def __init__(self, value: T | None = None, make: Callable[[], T] | None = None) -> None:
        self._value, self._make = value, make

    @property
    def value(self) -> T | None:
        """The value; made by the first who asks."""
        make = self._make
        if make is not None:
            self._value, self._make = make(), None
        return self._value


def write_files(classifier: Classifier, path: str | PathLike[str]) -> None:
    """Write a classifier to a folder, atomically; an older one in it is replaced.

    Raises
    ------
    CheckpointError
        If the folder holds other files, cannot be written, or is in use by another process.
    """
    specs: dict[str, Any] = {}
    tensors: dict[str, Arrays] = {"labels": {"counts": classifier.counts}}
    if classifier.weighting.idf is not None:
        tensors["labels"]["idf"] = classifier.weighting.idf
    if classifier.thresholds is not None:
        tensors["labels"]["thresholds"] = classifier.thresholds.by_label
    if classifier.removed.size:
        tensors["labels"]["removed"] = classifier.removed
    for name, part in classifier.parts.items():
        specs[name], tensors[name] = part.to_arrays()
    text: dict[str, Any] = {}
    vectorizer, names = classifier.vectorizer, classifier.names
    if vectorizer is not None:
        text["vectorizer"], arrays = vectorizer.to_arrays()
        tensors["text"] = {f"vectorizer/{key}": array for key, array in arrays.items()}
    if names is not None:
        text["names"] = True
        tensors.setdefault("text", {}).update(names.to_arrays())
    payload = {
        "layout": _LAYOUT,
        "text": text,
        "recipe": classifier.recipe.to_dict(),
        "mixture": classifier.mixture.to_dict(),
        "independent": None if classifier.independent is None else classifier.independent.to_dict(),
        "threshold": None if classifier.thresholds is None else classifier.thresholds.overall,
        "n_features": classifier.n_features,
        "parts": specs,
        "stages": [attrs.asdict(stage) for stage in classifier.stages],
    }
    writers: dict[str, Any] = {
        f"{name}.safetensors": lambda file, arrays=arrays: tensorfile.write_tensors(file, arrays)
        for name, arrays in tensors.items()
    }
    tables = {name: part.tables for name, part in classifier.parts.items()}
    writers |= {f"{name}.tables": one.save for name, one in tables.items() if one is not None}
    write_bundle(path, CLASSIFIER, payload, writers)


@attrs.frozen(eq=False, kw_only=True)
class Contents:
    """What was read from the folder of a classifier.

    Attributes
    ----------
    recipe, weighting, parts, mixture, counts, n_features, stages, thresholds, independent, removed
        As of :class:`~lshsample.xc.Classifier`.
    vectorizer, names : Lazy
        Read when they are asked for, since texts take long to read.
    files : tuple of MappedFile
        The files that arrays lie in.
    """

    recipe: Recipe
    weighting: RowWeighting
    parts: dict[str, Part]
    mixture: Mixture
    counts: npt.NDArray[np.int64]
    n_features: int
    stages: tuple[Stage, ...]
    thresholds: Thresholds | None
    independent: Mixture | None
    removed: npt.NDArray[np.int64]
    vectorizer: Lazy[TextVectorizer]
    names: Lazy[LabelNames]
    files: tuple[MappedFile, ...]

    @classmethod
    def read(cls, bundle: Bundle) -> Self:
        """What an open folder holds; its arrays are mapped, not read.

        Raises
        ------
        CheckpointError
            If it is of another version, or cannot be understood.
        """
        layout = bundle.payload.get("layout", 1)
        if layout != _LAYOUT:
            wanted = f"this one reads layout {_LAYOUT}; train the model again, or use that version"
            raise CheckpointError(
                f"{bundle.path}: of another version of lshsample (layout {layout}); {wanted}"
            )
        try:
            return cls._read(bundle)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{bundle.path}: the classifier cannot be made: {error!r}") from error

    @classmethod
    def _read(cls, bundle: Bundle) -> Self:
        payload, files = bundle.payload, list[MappedFile]()

        def tensors(name: str) -> Arrays:
            arrays, file = tensorfile.map_tensors(bundle.file(f"{name}.safetensors"))
            files.append(file)
            return arrays

        parts = dict[str, Part]()
        for name in PARTS:
            if name in payload["parts"]:
                stored = f"{name}.tables"
                tables = HashTables.open(bundle.file(stored)) if stored in bundle.files else None
                spec, path = payload["parts"][name], os.fspath(bundle.path)
                parts[name] = _part(name, spec, tensors(name), tables, parts, path)
        own, text = tensors("labels"), payload["text"]
        texts = tensors("text") if text else {}
        vectorizer, names = Lazy[TextVectorizer](), Lazy[LabelNames]()
        if "vectorizer" in text:
            of_vectorizer = tensorfile.under(texts, "vectorizer/")
            make = functools.partial(TextVectorizer.from_arrays, text["vectorizer"], of_vectorizer)
            vectorizer = Lazy(make=functools.partial(_read_texts, make, bundle.path))
        if "names" in text:
            named = functools.partial(LabelNames.from_arrays, texts)
            names = Lazy(make=functools.partial(_read_texts, named, bundle.path))
        threshold, independent = payload.get("threshold"), payload.get("independent")
        return cls(
            recipe=Recipe.from_dict(payload["recipe"]),
            weighting=RowWeighting(own.get("idf")),
            parts=parts,
            mixture=Mixture(**payload["mixture"]),
            counts=own["counts"],
            n_features=payload["n_features"],
            stages=tuple(Stage(**stage) for stage in payload["stages"]),
            thresholds=None if threshold is None else Thresholds(threshold, own["thresholds"]),
            independent=None if independent is None else Mixture(**independent),
            removed=own.get("removed", np.empty(0, np.int64)),
            vectorizer=vectorizer,
            names=names,
            files=tuple(files),
        )


def _read_texts(make: Callable[[], T], path: PathLike[str]) -> T:
    """Texts of stored arrays, which may be damaged."""
    try:
        return make()
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its texts cannot be read: {error!r}") from error


def _part(
    name: str, spec: Any, arrays: Any, tables: HashTables | None, before: dict[str, Part], path: str
) -> Part:
    """The part that was stored under a name."""
    if name == "linear":
        return LinearPart.from_arrays(spec, arrays)
    if name == "network":
        return NetworkPart.from_arrays(spec, arrays, path)
    if name == "rows":
        return RowsPart.from_arrays(spec, arrays, tables)
    network = before["network"]
    assert isinstance(network, NetworkPart)
    return HiddenPart.from_arrays(spec, arrays, tables, network.networks[0])
