"""The parts of a classifier: each names labels for rows, with values from 0 to 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import topk
from lshsample.nn import Loss, Network, Sigmoid
from lshsample.nn.tensorfile import under
from lshsample.tables import HashTables
from lshsample.xc.linear import LinearModel
from lshsample.xc.mixture import Scored
from lshsample.xc.neighbours import RowNeighbours
from lshsample.xc.pairs import FeaturePairs
from lshsample.xc.saved_csr import saved_csr
from lshsample.xc.stored import StoredNetwork
from lshsample.xc.votes import LabelVotes

__all__ = ["PARTS", "HiddenPart", "LinearPart", "NetworkPart", "Part", "Queries", "RowsPart"]

#: Rows by which the normalizers of networks are fitted, at most; the penalty on their weights, as a share of
#: the variance of the hidden vectors.
_FITTED, _PENALTY = 2000, 1e-3

Arrays = dict[str, npt.NDArray[Any]]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


class Queries:
    """Feature rows, as given and weighted, and what parts compute of them once."""

    def __init__(self, raw: sp.csr_array, weighted: sp.csr_array, threads: int | None) -> None:
        self.raw, self.weighted, self.threads = raw, weighted, threads
        self._hidden: dict[int, npt.NDArray[np.float32]] = {}
        #: What a part keeps of its answer for :meth:`Part.values`, by the part's name.
        self.kept: dict[str, Any] = {}

    def __getitem__(self, rows: Any) -> Queries:
        return Queries(self.raw[rows], self.weighted[rows], self.threads)

    def hidden(self, network: Network) -> npt.NDArray[np.float32]:
        """The hidden vectors of the rows."""
        if id(network) not in self._hidden:
            self._hidden[id(network)] = network.hidden(self.raw, threads=self.threads)
        return self._hidden[id(network)]


class Part(ABC):
    """A part of a classifier, ready to predict."""

    #: The part's name in recipes, reports and files.
    name: ClassVar[str]

    @property
    def tables(self) -> HashTables | None:
        """Hash tables of the part, which have a file of their own; None without any."""
        return None

    @abstractmethod
    def top_k(self, queries: Queries, k: int) -> Scored:
        """The labels that the part names for each row, best first, and values from 0 to 1."""

    @abstractmethod
    def values(self, queries: Queries, labels: Int32) -> Float32:
        """The values of chosen labels, (rows, n), on the scale of :meth:`top_k`, which was called before."""

    def independent(self, queries: Queries, labels: Int32) -> Float32:
        """Values of chosen labels, (rows, n), each of which depends on its label alone, from 0 to 1.

        Costs the products of these labels; no other label is looked at.
        """
        return self.values(queries, labels)

    def made_independent(self, queries: Queries, scored: Scored) -> Scored:
        """What :meth:`top_k` said of rows, with the values of :meth:`independent`."""
        return scored

    @abstractmethod
    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """The part as plain data and arrays, without its tables."""


class LinearPart(Part):
    """The linear path."""

    name = "linear"

    def __init__(self, models: Sequence[LinearModel], beam: int, pairs: FeaturePairs | None = None) -> None:
        #: The first, and those of labels that came later; a label is in one of them.
        self.models, self.beam, self.pairs = tuple(models), beam, pairs

    def top_k(self, queries: Queries, k: int) -> Scored:
        """Values are exp(score), the product of exp(-loss) over the path to the label."""
        rows = self.inputs(queries)
        found = [self._of_one(model, rows, k, queries.threads) for model in self.models]
        if len(found) == 1:
            return found[0]
        labels, values = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
        best = np.lexsort((labels, np.where(labels < 0, np.inf, -values)), axis=1)[:, :k]
        return np.take_along_axis(labels, best, axis=1), np.take_along_axis(values, best, axis=1)

    def _of_one(self, model: LinearModel, rows: sp.csr_array, k: int, threads: int | None) -> Scored:
        labels, scores = model.top_k(rows, min(k, model.n_labels), beam=self.beam, threads=threads)
        return labels, np.exp(scores)

    def values(self, queries: Queries, labels: Int32) -> Float32:
        """As for :meth:`top_k`, without a beam: only the paths to the labels are computed."""
        rows = self.inputs(queries)
        scores: Float32 = np.max([model.scores(rows, labels) for model in self.models], axis=0)
        return np.exp(scores)

    def shares(self, queries: Queries, label: int) -> tuple[Int32, Float32]:
        """As :meth:`LinearModel.shares`; what a pair of features contributes is shared by both."""
        rows = self.inputs(queries)
        columns, values = max(
            (model.shares(rows, label) for model in self.models), key=lambda one: len(one[0])
        )
        if self.pairs is None:
            return columns, values
        n_pairs = len(self.pairs.keys)
        is_pair = columns < n_pairs
        members = self.pairs.members(columns[is_pair])
        features, place = np.unique(np.append(columns[~is_pair] - n_pairs, members.T), return_inverse=True)
        total = np.bincount(place, np.append(values[~is_pair], np.tile(values[is_pair] / 2, 2)))
        order = np.argsort(-np.abs(total), kind="stable")
        return features[order].astype(np.int32), total[order].astype(np.float32)

    def inputs(self, queries: Queries) -> sp.csr_array:
        """What the models see of rows."""
        return queries.weighted if self.pairs is None else self.pairs(queries.weighted)

    @property
    def n_weights(self) -> int:
        """Weights of all models."""
        return sum(model.n_weights for model in self.models)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """The models' and the pairs', with the beam; later models are in folders by number."""
        first, *later = self.models
        spec: dict[str, Any] = {"beam": self.beam, "model": first.spec, "later": [one.spec for one in later]}
        arrays = dict(first.arrays())
        for number, model in enumerate(later, 1):
            arrays |= {f"{number}/{key}": array for key, array in model.arrays().items()}
        if self.pairs is not None:
            spec["pairs"], own = self.pairs.to_arrays()
            arrays |= {f"pairs/{key}": array for key, array in own.items()}
        return spec, arrays

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Arrays) -> Self:
        """The part that :meth:`to_arrays` returned."""
        own = {key: array for key, array in arrays.items() if "/" not in key}
        models = [LinearModel.from_arrays(spec["model"], own, check=False)]
        for number, later in enumerate(spec.get("later", ()), 1):
            models.append(LinearModel.from_arrays(later, under(arrays, f"{number}/"), check=False))
        pairs = None
        if "pairs" in spec:
            pairs = FeaturePairs.from_arrays(spec["pairs"], under(arrays, "pairs/"))
        return cls(models, spec["beam"], pairs)


class NetworkPart(Part):
    """The mean of one or more networks."""

    name = "network"

    def __init__(
        self, networks: Sequence[Network], storage: str, normalizers: Sequence[Float32] = ()
    ) -> None:
        self.networks, self.storage = list(networks), storage
        #: For each network with a softmax the weights, and then the intercept, of :meth:`normalize`.
        self.normalizers = list(normalizers)
        self._stored: list[StoredNetwork] = []

    def round(self) -> None:
        """Round the weights to what is stored of them, so that a loaded model has the same."""
        self._stored = [StoredNetwork.round(network, self.storage) for network in self.networks]

    @property
    def stored(self) -> list[StoredNetwork]:
        """The networks as they are stored; their weights are rounded, if they were not."""
        if not self._stored:
            self.round()
        return self._stored

    def top_k(self, queries: Queries, k: int) -> Scored:
        """Values are means of probabilities: of a softmax over the labels named, or of sigmoids."""
        queries.kept[self.name] = []
        each = [self._of_one(one, queries, k) for one in self.stored]
        return each[0] if len(each) == 1 else mean_of(each, self.networks[0].n_labels, k, queries.threads)

    def values(self, queries: Queries, labels: Int32) -> Float32:
        """As for :meth:`top_k`, at the cost of a product for each label."""
        total: Any = 0
        for network, scale in zip(self.networks, queries.kept[self.name], strict=True):
            logits = network.output.score(queries.hidden(network), labels, threads=queries.threads)
            total = total + _probabilities(network.loss, logits, scale) / len(self.networks)
        return np.asarray(total, np.float32)

    def normalize(self, queries: Queries, k: int) -> None:
        """Fit what :meth:`independent` divides by, on rows of which at most 2,000 are used.

        The logarithm of a row's sum of exponentials, of its k largest logits, as a linear function of the
        hidden vector: by ridge regression, so that a softmax costs one product more than its labels.
        """
        self.normalizers = []
        n_rows = queries.raw.shape[0]
        chosen = queries[np.linspace(0, n_rows - 1, min(n_rows, _FITTED)).astype(np.int64)]
        for stored in self.stored:
            if isinstance(stored.network.loss, Sigmoid):
                self.normalizers.append(np.empty(0, np.float32))
                continue
            hidden = chosen.hidden(stored.network)
            largest, total = _scale(
                stored.copy.top_k(hidden, min(k, stored.network.n_labels), threads=chosen.threads)[1]
            )
            self.normalizers.append(_ridge(hidden, (largest + np.log(total))[:, 0]))

    def made_independent(self, queries: Queries, scored: Scored) -> Scored:
        """The same labels, as far as all networks together have as many, by :meth:`independent`."""
        k, each = scored[0].shape[1], []
        for stored, normalizer in zip(self.stored, self.normalizers, strict=True):
            hidden, width = queries.hidden(stored.network), min(k, stored.network.n_labels)
            labels, logits, _ = stored.copy.top_k(hidden, width, threads=queries.threads)
            each.append((labels, _alone(hidden, logits, normalizer)))
        return each[0] if len(each) == 1 else mean_of(each, self.networks[0].n_labels, k, queries.threads)

    def independent(self, queries: Queries, labels: Int32) -> Float32:
        """Means of sigmoids, or of exp(logit) over the sum that :meth:`normalize` expects, at most 1."""
        total: Any = 0
        for network, normalizer in zip(self.networks, self.normalizers, strict=True):
            hidden = queries.hidden(network)
            logits = network.output.score(hidden, labels, threads=queries.threads)
            total = total + _alone(hidden, logits, normalizer) / len(self.networks)
        return np.asarray(total, np.float32)

    def _of_one(self, stored: StoredNetwork, queries: Queries, k: int) -> Scored:
        network, hidden = stored.network, queries.hidden(stored.network)
        labels, logits, _ = stored.copy.top_k(hidden, min(k, network.n_labels), threads=queries.threads)
        scale = _scale(logits)
        queries.kept[self.name].append(scale)
        return labels, _probabilities(network.loss, logits, scale)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """The networks' specs, and their weights in fewer bits."""
        arrays = {f"{i}/{key}": a for i, one in enumerate(self.stored) for key, a in one.arrays.items()}
        arrays |= {f"{i}/normalizer": one for i, one in enumerate(self.normalizers)}
        payloads = [network.payload() for network in self.networks]
        return {"storage": self.storage, "networks": payloads}, arrays

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Arrays, path: str) -> Self:
        """The part that :meth:`to_arrays` returned, over the arrays; ``path`` is where they come from."""
        networks = [Network.from_payload(payload, path) for payload in spec["networks"]]
        each = [under(arrays, f"{i}/") for i in range(len(networks))]
        part = cls(networks, spec["storage"], [own.pop("normalizer") for own in each if "normalizer" in own])
        part._stored = [StoredNetwork.open(one, own) for one, own in zip(networks, each, strict=True)]
        return part


class _NeighboursPart(Part):
    """The votes of the nearest training rows."""

    def __init__(self, index: RowNeighbours, votes: LabelVotes) -> None:
        self.index, self.votes = index, votes

    @property
    def tables(self) -> HashTables | None:
        """The tables of the index."""
        return self.index.tables

    @abstractmethod
    def vectors(self, queries: Queries) -> Any:
        """The vectors of rows whose neighbours are looked for."""

    def near(self, queries: Queries) -> tuple[Int32, Float32]:
        """The neighbours of rows, which are looked for once, and their cosines."""
        if self.name not in queries.kept:
            found = self.index.search(self.vectors(queries), self.votes.voting.k, threads=queries.threads)
            queries.kept[self.name] = found
        near: tuple[Int32, Float32] = queries.kept[self.name]
        return near

    def top_k(self, queries: Queries, k: int) -> Scored:
        """Values are shares of the votes."""
        return self.votes.predict(*self.near(queries), min(k, self.votes.n_labels), threads=queries.threads)

    def values(self, queries: Queries, labels: Int32) -> Float32:
        """As for :meth:`top_k`: the votes of the neighbours."""
        shares: Any = self.votes.votes(*self.near(queries))
        return np.asarray(shares[:, labels].toarray(), np.float32)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """The index, without its tables, and the labels of the rows."""
        index, arrays = self.index.to_arrays(tables=False)
        votes, labels = self.votes.to_arrays()
        arrays = {f"index/{key}": array for key, array in arrays.items()}
        return {"index": index, "votes": votes}, arrays | {f"labels/{k}": a for k, a in labels.items()}


def _opened(
    spec: Mapping[str, Any], arrays: Arrays, tables: HashTables | None
) -> tuple[RowNeighbours, LabelVotes]:
    index = RowNeighbours.from_arrays(spec["index"], under(arrays, "index/"), tables=tables, check=False)
    return index, LabelVotes.from_arrays(spec["votes"], under(arrays, "labels/"), check=False)


class RowsPart(_NeighboursPart):
    """Neighbours by the cosine of the sparse rows."""

    name = "rows"

    def vectors(self, queries: Queries) -> sp.csr_array:
        """The weighted rows."""
        return queries.weighted

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Arrays, tables: HashTables | None) -> Self:
        """The part that :meth:`to_arrays` returned, over the arrays."""
        return cls(*_opened(spec, arrays, tables))


class HiddenPart(_NeighboursPart):
    """Neighbours by the cosine of the hidden vectors of a network.

    Stored are the hidden vectors and their tables, and the training rows, from which they are made again when
    the network is trained further.
    """

    name = "hidden"

    def __init__(
        self, network: Network, rows: sp.csr_array, index: RowNeighbours, votes: LabelVotes, recall: float
    ) -> None:
        super().__init__(index, votes)
        self.network, self.rows, self.recall = network, rows, recall

    @staticmethod
    def index_of(network: Network, rows: Queries, recall: float, threads: int | None) -> RowNeighbours:
        """The index of the hidden vectors of rows."""
        hidden = network.hidden(rows.raw, threads=threads)
        return RowNeighbours.build(hidden, recall=recall, seed=network.spec.seed, threads=threads)

    def vectors(self, queries: Queries) -> Float32:
        """The hidden vectors of the rows."""
        return queries.hidden(self.network)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """The index, the training rows and their labels."""
        (spec, arrays), rows = super().to_arrays(), cast(Any, self.rows)
        arrays |= {f"rows/{key}": getattr(rows, key) for key in ("indptr", "indices", "data")}
        return spec | {"recall": self.recall}, arrays

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Arrays, tables: HashTables | None, network: Network
    ) -> Self:
        """The part that :meth:`to_arrays` returned, for the same network, over the arrays."""
        rows = saved_csr(under(arrays, "rows/"), network.n_features, "the training rows")
        return cls(network, rows, *_opened(spec, arrays, tables), spec["recall"])


PARTS = (LinearPart.name, NetworkPart.name, RowsPart.name, HiddenPart.name)


def _scale(logits: Float32) -> tuple[Float32, Float32]:
    """The largest logit of each row, and the sum of the softmax relative to it, (rows, 1) each."""
    largest = logits[:, :1]
    return largest, np.exp(logits - largest).sum(axis=1, keepdims=True)


def _probabilities(loss: Loss, logits: Float32, scale: tuple[Float32, Float32]) -> Float32:
    """Values from 0 to 1: sigmoids for the sigmoid loss, else the softmax over the labels of a scale."""
    if isinstance(loss, Sigmoid):
        return _sigmoids(logits)
    values = np.exp(logits - scale[0])
    values /= scale[1]
    return cast(Float32, values.astype(np.float32))


def _sigmoids(logits: Float32) -> Float32:
    return cast(Float32, (1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))).astype(np.float32))


def _alone(hidden: Float32, logits: Float32, normalizer: Float32) -> Float32:
    """Values from 0 to 1, each of one logit: sigmoids without a normalizer."""
    if not len(normalizer):
        return _sigmoids(logits)
    sums = np.einsum("ij,j->i", hidden, normalizer[:-1]) + normalizer[-1]
    return cast(Float32, np.exp(np.minimum(logits - sums[:, None], 0.0)).astype(np.float32))


def _ridge(x: Float32, y: Float32) -> Float32:
    """Weights of a linear function, and its intercept: ridge regression in its dual form, by rows."""
    means, mean = x.mean(axis=0, dtype=np.float64), float(y.mean(dtype=np.float64))
    centred = x - means
    products = centred @ centred.T
    products[np.diag_indices_from(products)] += max(_PENALTY * float(np.trace(products)), 1e-12)
    weights = centred.T @ np.linalg.solve(products, y - mean)
    return np.append(weights, mean - weights @ means).astype(np.float32)


def mean_of(each: Sequence[Scored], n_labels: int, k: int, threads: int | None) -> Scored:
    """The best labels by the mean of values; a label that one does not name has the value 0 there."""
    total: Any = 0
    for labels, values in each:
        named = labels >= 0
        indptr = np.concatenate([[0], np.cumsum(named.sum(axis=1))])
        shape = len(labels), n_labels
        total = total + sp.csr_array((values[named] / len(each), labels[named], indptr), shape=shape)
    values, ids = total.data.astype(np.float32), total.indices.astype(np.int32)
    best = topk.top_k_ragged(values, total.indptr.astype(np.int64), ids, k, threads=threads)
    best[1][best[0] < 0] = 0
    return best
