"""New rows, labels and features for a fitted classifier, without a pass over its former rows."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample.config import build_trainer
from lshsample.errors import ArgumentError
from lshsample.nn import Adam, Input, Network, Optimizer
from lshsample.nn.network_spec import NetworkSpec
from lshsample.xc.linear import LinearModel
from lshsample.xc.parts import HiddenPart, LinearPart, NetworkPart, Part, Queries, RowsPart
from lshsample.xc.recipe import LinearRecipe, Recipe
from lshsample.xc.stored import pack, unpack

__all__ = ["NETWORK_UPDATES", "Update", "widened"]

#: What new rows can change in a network: its new labels alone, all weights, or nothing.
NETWORK_UPDATES = ("labels", "all", "none")
#: Passes over new rows by which all weights are trained, and the factor of the learning rate.
_EPOCHS, _SLOWER = 2, 0.2
#: Rows of zeros that are shown to the linear path as rows without any new label.
_EMPTY = 100


def widened(matrix: Any, columns: int) -> sp.csr_array:
    """A CSR array with at least some number of columns."""
    width = max(matrix.shape[1], columns)
    made: sp.csr_array = csr_from_parts(matrix.indptr, matrix.indices, matrix.data, (matrix.shape[0], width))
    return made


@attrs.frozen(kw_only=True)
class Update:
    """New rows of a classifier, and what its parts make of them.

    Attributes
    ----------
    recipe : Recipe
        That of the classifier.
    rows : Queries
        The new rows, with all features.
    labels : csr_array, shape (rows, n_labels)
        Their labels, of all.
    n_rows : int
        Training rows, with the new ones.
    fresh : (n,) integers
        Labels that had no training row before.
    network : str
        One of :data:`NETWORK_UPDATES`.
    """

    recipe: Recipe
    rows: Queries
    labels: sp.csr_array
    n_rows: int
    fresh: npt.NDArray[np.int64]
    network: str

    def run(self, parts: dict[str, Part]) -> dict[str, Part]:
        """The parts with the new rows. What is trained comes first: indexes are changed in place, last."""
        new = dict(parts)
        if isinstance(linear := parts.get("linear"), LinearPart):
            new["linear"] = self._linear(linear)
        if isinstance(network := parts.get("network"), NetworkPart):
            new["network"] = self._network(network)
        if isinstance(rows := parts.get("rows"), RowsPart):
            votes = rows.votes.extended(self.labels)
            new["rows"] = RowsPart(rows.index.add(self.rows.weighted), votes)
        if isinstance(hidden := parts.get("hidden"), HiddenPart):
            new["hidden"] = self._hidden(hidden, new["network"])
        return new

    def _linear(self, part: LinearPart) -> LinearPart:
        """A model of the new labels beside the others, which stay as they are."""
        x = part.inputs(self.rows)
        shape = x.shape[1], self.labels.shape[1]
        models = [model.widened(*shape) for model in part.models]
        if len(self.fresh):
            chosen = self.recipe.linear or LinearRecipe()
            mask = np.zeros(shape[1], bool)
            mask[self.fresh] = True
            kept = mask[self.labels.indices]
            indptr = np.concatenate([[0], np.cumsum(kept)])[self.labels.indptr]
            empty = np.full(_EMPTY, indptr[-1])
            n_rows = self.labels.shape[0] + _EMPTY
            y = sp.csr_array(
                (self.labels.data[kept], self.labels.indices[kept], np.append(indptr, empty)),
                shape=(n_rows, shape[1]),
            )
            x = csr_from_parts(
                np.append(x.indptr, np.full(_EMPTY, x.indptr[-1])), x.indices, x.data, (n_rows, shape[0])
            )
            models.append(
                LinearModel.fit(
                    x,
                    y,
                    c=chosen.c,
                    n_trees=chosen.n_trees,
                    prune=chosen.prune,
                    seed=self.recipe.seed,
                    threads=self.rows.threads,
                )
            )
        return LinearPart(models, part.beam, part.pairs)

    # Networks.

    def _network(self, part: NetworkPart) -> NetworkPart:
        networks = [self._trained(network, part.storage) for network in part.networks]
        made = NetworkPart(networks, part.storage, part.normalizers)
        if self.network == "all":
            made.round()
            made.normalize(self.rows, self.recipe.candidates)
        return made

    def _trained(self, old: Network, storage: str) -> Network:
        """A wider copy of a network, trained on the new rows."""
        grown = _grown(old, self.rows.raw.shape[1], self.labels.shape[1])
        self._weigh_features(grown, old.n_features)
        with_labels = np.flatnonzero(np.diff(self.labels.indptr))
        is_trained = self.network != "none" and len(with_labels)
        silent = np.setdiff1d(np.arange(old.n_labels, grown.n_labels), self.fresh if is_trained else ())
        _silence(grown, silent.astype(np.int64))
        if not is_trained:
            return grown
        assert self.recipe.network is not None
        config: Any = attrs.evolve(self.recipe.network, seed=old.spec.seed)
        x, y = self.rows.raw[with_labels], self.labels[with_labels]
        if self.network == "all":
            config = attrs.evolve(config, epochs=_EPOCHS, lr=_SLOWER * config.lr)
            build_trainer(config, grown, threads=self.rows.threads).fit(x, y)
        elif len(self.fresh):
            self._train_labels(grown, config, x, y, storage)
        return grown

    def _weigh_features(self, network: Network, n_before: int) -> None:
        """Give new features of a network their inverse document frequencies, if it has such."""
        for parameter in network.input.parameters:
            counts = np.bincount(self.rows.raw.indices, minlength=network.n_features)[n_before:]
            parameter.weights[n_before:, 0] = np.log((1.0 + self.n_rows) / (1.0 + counts))

    def _train_labels(self, network: Network, config: Any, x: Any, y: Any, storage: str) -> None:
        """Train the weights of the new labels alone, on the hidden vectors of rows."""
        vectors, spec = network.hidden(x, threads=self.rows.threads), network.spec
        first = Input(vectors.shape[1], dropout=config.dropout)
        head = Network.from_spec(NetworkSpec([first, spec.layers[-1]], spec.seed))
        for own, of_network in zip(head.output.parameters, network.output.parameters, strict=True):
            own.adopt(of_network.weights[:, None].copy())
        trainer = build_trainer(config, head, threads=self.rows.threads)
        trainer.settings = attrs.evolve(trainer.settings, optimizer=_OfRows(rows=self.fresh))
        trainer.fit(vectors, y)
        for own, of_network in zip(head.output.parameters, network.output.parameters, strict=True):
            new = np.ascontiguousarray(own.weights[self.fresh])
            of_network.weights[self.fresh] = unpack(pack(new, storage))
        network.output.forget()

    def _hidden(self, part: HiddenPart, networks: Part) -> HiddenPart:
        assert isinstance(networks, NetworkPart)
        network, raw = networks.networks[0], self.rows.raw
        rows = sp.csr_array(sp.vstack([widened(part.rows, raw.shape[1]), raw]))
        if self.network == "all":
            queries = Queries(rows, rows, self.rows.threads)
            index = HiddenPart.index_of(network, queries, part.recall, self.rows.threads)
        else:
            index = part.index.add(network.hidden(raw, threads=self.rows.threads))
        return HiddenPart(network, rows, index, part.votes.extended(self.labels), part.recall)


@attrs.frozen(kw_only=True, eq=False)
class _OfRows(Optimizer):
    """Adam of some rows of each parameter; the others stay as they are."""

    rows: npt.NDArray[np.int64]
    adam: Adam = attrs.field(factory=Adam)
    slots = Adam.slots

    def update(
        self, store: Any, rows: Any, gradient: npt.NDArray[np.float32], lr: float, step: int, threads: int
    ) -> None:
        """As :meth:`Optimizer.update`."""
        given = np.arange(store.rows, dtype=np.int32) if rows is None else rows
        kept = np.flatnonzero(np.isin(given, self.rows))
        if len(kept):
            own = np.ascontiguousarray(given[kept], np.int32)
            self.adam.update(store, own, np.ascontiguousarray(gradient[kept]), lr, step, threads)


def _grown(old: Network, n_features: int, n_labels: int) -> Network:
    """A copy of a network with more features, whose weights are 0, and more labels, as before training."""
    layers: list[Any] = list(old.spec.layers)
    layers[0] = attrs.evolve(layers[0], n_features=n_features)
    layers[-1] = attrs.evolve(layers[-1], units=n_labels)
    grown = Network(layers, old.spec.seed)
    grown.allocate()
    for parameter, before in zip(grown.parameters, old.parameters, strict=True):
        if parameter.columns != before.columns:
            raise ArgumentError("network", f"layers {old.spec.layers}", "one whose layers can grow by rows")
        weights = parameter.weights
        weights[: before.rows] = before.weights
    if len(layers) > 2:
        grown.layers[1].parameters[0].weights[old.n_features :] = 0
    for parameter in grown.output.parameters[1:]:
        parameter.weights[old.n_labels :] = parameter.weights[: old.n_labels].mean()
    return grown


def _silence(network: Network, labels: npt.NDArray[np.int64]) -> None:
    """Weights with which a network does not name labels: 0, and the smallest bias."""
    weights, *biases = network.output.parameters
    weights.weights[labels] = 0
    for bias in biases:
        bias.weights[labels] = bias.weights.min()
