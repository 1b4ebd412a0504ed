"""A classifier as an ONNX file: its parts over dense rows, and their mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from lshsample import memory
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.metrics import propensities_of_counts
from lshsample.nn import Sigmoid
from lshsample.nn.onnx_file import MAX_BYTES, OPERATORS, Graph, save_graph
from lshsample.nn.plain import PlainNetwork
from lshsample.xc.classifier import Classifier
from lshsample.xc.isotonic import Isotonic
from lshsample.xc.linear import LinearModel
from lshsample.xc.mixture import SMALLEST, Mixture
from lshsample.xc.parts import HiddenPart, LinearPart, NetworkPart, Part, RowsPart
from lshsample.xc.votes import LabelVotes, Voting

__all__ = ["write_classifier"]

#: A label that a part names has at least this value, so that 0 says that it does not.
_NAMED = 1e-37
#: Scores of labels that are not named.
_NONE = -1e30


def write_classifier(
    classifier: Classifier, parts: Sequence[str], path: Any, metadata: Mapping[str, str]
) -> None:
    """Write parts of a classifier; see :meth:`Classifier.to_onnx <lshsample.xc.Classifier.to_onnx>`."""
    chosen = {name: classifier.parts[name] for name in parts}
    for name, part in chosen.items():
        _check(name, part)
    _check_size(classifier, chosen)
    graph = _Builder(classifier)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", classifier.n_features]),
        helper.make_tensor_value_info("top", TensorProto.INT64, [1]),
    ]
    values = {name: graph.part(part) for name, part in chosen.items()}
    if set(parts) == set(classifier.mixture.parts):
        names = {"labels": TensorProto.INT64, "scores": TensorProto.FLOAT}
        graph.mixture(classifier.mixture, values)
    else:
        names = {}
        for name, value in values.items():
            names |= {f"{name}_labels": TensorProto.INT64, f"{name}_values": TensorProto.FLOAT}
            graph.best_of_part(name, value)
    outputs = [helper.make_tensor_value_info(name, kind, ["rows", "top"]) for name, kind in names.items()]
    save_graph(graph, inputs, outputs, path, metadata)


def _check(name: str, part: Part) -> None:
    """Refuse a part that no graph of ONNX computes."""
    advice = "choose other parts, or train without it"
    if isinstance(part, LinearPart) and part.pairs is not None and len(part.pairs.keys):
        raise UnsupportedError(
            f"the part {name!r} has features for pairs, which have no form in ONNX: {advice}"
        )
    if isinstance(part, RowsPart | HiddenPart) and part.index.index == "lsh":
        raise UnsupportedError(
            f"the part {name!r} searches hash tables, which have no form in ONNX: {advice}"
        )


def _check_size(classifier: Classifier, parts: Mapping[str, Part]) -> None:
    """Refuse dense matrices that do not fit into a file or into memory, before they are made."""
    sizes = {}
    for name, part in parts.items():
        if isinstance(part, LinearPart):
            columns = sum(len(model.forest.children) for model in part.models)
            sizes[name] = 4 * columns * classifier.n_features
        elif isinstance(part, RowsPart | HiddenPart):
            sizes[name] = 4 * part.index.n_rows * part.index.dim
    networks = classifier.parts.get("network")
    if isinstance(networks, NetworkPart) and {"network", "hidden"} & set(parts):
        used = networks.networks if "network" in parts else networks.networks[:1]
        sizes["network"] = 4 * sum(network.n_parameters for network in used)
    if sum(sizes.values()) > MAX_BYTES:
        listed = ", ".join(f"{name} {memory.mebibytes(size)}" for name, size in sizes.items())
        wanted = f"parts of at most {memory.mebibytes(MAX_BYTES)} together, for one ONNX file"
        raise ArgumentError("parts", f"{listed} as dense matrices", wanted)
    # The matrices, and the file as it is put together.
    memory.require_bytes(3 * sum(sizes.values()), "the ONNX file")


class _Builder(Graph):
    """Makes the graph of a classifier; values are named by the tensors that have them."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._classifier, self._n_labels = classifier, classifier.n_labels
        self._weighted: str | None = None
        self._hidden: dict[int, str] = {}
        self._width = self.op("Max", "top", np.array([classifier.recipe.candidates]))
        self._width = self.op("Min", self._width, np.array([self._n_labels]))

    def op(self, operator: str, *inputs: Any, output: str = "", **attributes: Any) -> str:
        """A node, whose inputs are tensors by name or constants."""
        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        return self.add(operator, names, output or f"t{len(self.nodes)}", **attributes)

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return self.constant(f"c{len(self.constants)}", array)

    def _top(self, values: str, k: str) -> tuple[str, str]:
        """The best values of rows, and their places."""
        names = [f"t{len(self.nodes)}.values", f"t{len(self.nodes)}.places"]
        self.nodes.append(helper.make_node("TopK", [values, k], names, name=names[0]))
        return names[0], names[1]

    # Rows.

    @property
    def weighted(self) -> str:
        """The weighted rows, of length 1."""
        if self._weighted is None:
            idf, x = self._classifier.weighting.idf, "x"
            self._weighted = self._unit(x if idf is None else self.op("Mul", x, idf))
        return self._weighted

    def _unit(self, rows: str) -> str:
        norms = self.op("ReduceL2", rows, axes=[1], keepdims=1)
        return self.op("Div", rows, self.op("Where", self.op("Equal", norms, 0.0), 1.0, norms))

    def _of_network(self, network: Any) -> tuple[str, Any]:
        """The hidden vectors of rows, and the step behind them."""
        plain = PlainNetwork.of(network.in_float32())
        *below, last = plain.steps
        if id(network) not in self._hidden:
            x = "x"
            if plain.weights is not None:
                x = self.op("Mul", x, plain.weights)
            if plain.weighting != "none":
                x = self._unit(x)
            for step in below:
                x = self.op("Gemm", x, step.weights, step.bias, transB=1)
                if step.activation in OPERATORS:
                    x = self.op(OPERATORS[step.activation], x)
            self._hidden[id(network)] = x
        return self._hidden[id(network)], last

    # Parts: values of all labels, (rows, n_labels), 0 for those that a part does not name.

    def part(self, part: Part) -> str:
        """The values that a part gives to labels."""
        if isinstance(part, LinearPart):
            return self._linear(part)
        if isinstance(part, NetworkPart):
            return self._network(part)
        assert isinstance(part, RowsPart | HiddenPart)
        if isinstance(part, RowsPart):
            vectors = self.weighted
        else:
            vectors = self._unit(self._of_network(part.network)[0])
        rows = part.index.unit_rows()
        return self._votes(vectors, rows if isinstance(rows, np.ndarray) else rows.toarray(), part.votes)

    def _kept(self, values: str) -> str:
        """The largest values of rows, as many as there are candidates, in their places; 0 elsewhere."""
        best, places = self._top(values, self._width)
        return self.op("ScatterElements", self.op("Mul", values, 0.0), places, best, axis=1)

    def _network(self, part: NetworkPart) -> str:
        total = ""
        for network in part.networks:
            hidden, last = self._of_network(network)
            logits = self.op("Gemm", hidden, last.weights, last.bias, transB=1)
            best, places = self._top(logits, self._width)
            of_best = "Sigmoid" if isinstance(network.loss, Sigmoid) else "Softmax"
            values = self.op(of_best, best) if of_best == "Sigmoid" else self.op(of_best, best, axis=1)
            values = self.op("Max", self.op("Div", values, float(len(part.networks))), _NAMED)
            values = self.op("ScatterElements", self.op("Mul", logits, 0.0), places, values, axis=1)
            total = values if not total else self.op("Add", total, values)
        return total if len(part.networks) == 1 else self._kept(total)

    def _votes(self, vectors: str, rows: npt.NDArray[np.float32], votes: LabelVotes) -> str:
        """The shares of the votes of the nearest rows."""
        # A row without labels fills up the neighbours if there are fewer than vote.
        rows = np.pad(rows, ((0, max(votes.voting.k - len(rows), 0)), (0, 0)))
        cosines = self.op("MatMul", vectors, np.ascontiguousarray(rows.T))
        near, ids = self._top(cosines, self._constant(np.array([votes.voting.k])))
        shares = self._shares(near, votes.voting)
        labels = self.op("Gather", _padded_labels(votes, len(rows)), ids, axis=0)
        updates = self.op("Mul", self.op("Unsqueeze", shares, np.array([2])), np.ones((1, 1, 1)))
        updates = self.op("Expand", updates, self.op("Shape", labels))
        flat = np.array([0, -1])
        labels, updates = (self.op("Reshape", one, flat) for one in (labels, updates))
        none = self.op("Mul", self.op("Slice", vectors, [0], [1], [1]), 0.0)
        none = self.op("Expand", none, np.array([1, self._n_labels + 1]))
        total = self.op("ScatterElements", none, labels, updates, axis=1, reduction="add")
        return self._kept(self.op("Slice", total, [0], [self._n_labels], [1]))

    def _shares(self, near: str, voting: Voting) -> str:
        votes = self.op("Greater", near, 0.0)
        if voting.temperature is None:
            raw = self.op("Pow", self.op("Max", near, 0.0), float(voting.power or 0.0))
        else:
            largest = self.op("Max", self.op("ReduceMax", near, axes=[1], keepdims=1), 0.0)
            raw = self.op("Exp", self.op("Div", self.op("Sub", near, largest), voting.temperature))
        raw = self.op("Where", votes, raw, 0.0)
        total = self.op("ReduceSum", raw, np.array([1]), keepdims=1)
        return self.op("Div", raw, self.op("Where", self.op("Equal", total, 0.0), 1.0, total))

    def _linear(self, part: LinearPart) -> str:
        total = ""
        for model in part.models:
            values = self._model(model, part.beam)
            total = values if not total else self.op("Add", total, values)
        return self._kept(total)

    def _model(self, model: LinearModel, beam: int) -> str:
        """The mean over trees of exp(score), by a search of each tree, depth by depth."""
        forest, (weights, bias) = model.forest, model.by_child()
        margins = self.op("Gemm", self.weighted, weights.toarray(), bias, transB=1)
        short = self.op("Max", self.op("Sub", 1.0, margins), 0.0)
        losses, total = self.op("Mul", short, short), ""
        for root in forest.roots:
            nodes = np.array([root])
            scores = self.op("Mul", self.op("Gather", losses, np.array([0]), axis=1), 0.0)
            ids, found = [], []
            while len(nodes):
                begins, ends = forest.child_begin[nodes], forest.child_begin[nodes + 1]
                children = np.concatenate([np.arange(b, e) for b, e in zip(begins, ends, strict=True)])
                parents = np.repeat(np.arange(len(nodes)), ends - begins)
                below = forest.children[children]
                of_labels = np.flatnonzero(below < 0)
                if len(of_labels):
                    ids.append(~below[of_labels])
                    found.append(self._below(scores, losses, parents[of_labels], children[of_labels]))
                inner = np.flatnonzero(below >= 0)
                inner = inner[np.argsort(below[inner])]
                nodes = below[inner]
                if len(nodes):
                    scores = self._below(scores, losses, parents[inner], children[inner])
                    scores = self._beamed(scores, len(nodes), beam)
            whole = found[0] if len(found) == 1 else self.op("Concat", *found, axis=1)
            reached = self.op("Greater", whole, _NONE / 2)
            shares = self.op("Exp", self.op("Max", whole, float(np.log(_NAMED * 10))))
            shares = self.op("Where", reached, self.op("Div", shares, float(len(forest.roots))), 0.0)
            none = self.op("Mul", self.op("Gather", losses, np.array([0]), axis=1), 0.0)
            shares = self.op("Concat", shares, none, axis=1)  # of labels that are not in the tree
            labels = np.concatenate(ids)
            place = np.full(self._n_labels, len(labels))
            place[labels] = np.arange(len(labels))
            values = self.op("Gather", shares, place, axis=1)
            total = values if not total else self.op("Add", total, values)
        return total

    def _below(self, scores: str, losses: str, parents: Any, children: Any) -> str:
        """The scores of children: those of their nodes less their losses."""
        own = self.op("Gather", losses, children.astype(np.int64), axis=1)
        return self.op("Sub", self.op("Gather", scores, parents.astype(np.int64), axis=1), own)

    def _beamed(self, scores: str, n_nodes: int, beam: int) -> str:
        """The best scores of a depth in their places; the others are below any score."""
        if n_nodes <= beam:
            return scores
        best, places = self._top(scores, self._constant(np.array([beam])))
        none = self.op("Add", self.op("Mul", scores, 0.0), _NONE)
        return self.op("ScatterElements", none, places, best, axis=1)

    # What is made of the values.

    def best_of_part(self, name: str, values: str) -> None:
        """The best labels of a part, and their values."""
        best, places = self._top(values, self.op("Min", "top", np.array([self._n_labels])))
        self.op("Identity", best, output=f"{name}_values")
        self.op("Where", self.op("Greater", best, 0.0), places, np.array(-1), output=f"{name}_labels")

    def mixture(self, mixture: Mixture, values: Mapping[str, str]) -> None:
        """The best labels of the mixture, and their probabilities."""
        counts = self._classifier.counts
        frequency = np.log1p(counts.astype(np.float64))
        weights = list(mixture.weights)
        of_frequency = weights[5 * len(mixture.parts)]
        by_frequency = weights[5 * len(mixture.parts) + 1 :]
        logits, named = "", ""
        for place, name in enumerate(mixture.parts):
            w, v = weights[5 * place : 5 * place + 5], self.op("Min", values[name], 1.0)
            root = self.op("Sqrt", v)
            largest = self.op("Max", self.op("ReduceMax", v, axes=[1], keepdims=1), SMALLEST)
            is_largest = self.op("Cast", self.op("Equal", v, largest), to=TensorProto.FLOAT)
            terms = [
                self.op("Mul", v, w[0]),
                self.op("Mul", root, w[1]),
                self.op("Mul", self.op("Log", self.op("Add", v, SMALLEST)), w[2]),
                self.op("Mul", self.op("Div", v, largest), w[3]),
                self.op("Mul", is_largest, w[4]),
            ]
            if mixture.by_frequency:
                terms.append(self.op("Mul", root, by_frequency[place] * frequency))
            logits = self.op("Sum", *terms, *([logits] if logits else []))
            here = self.op("Greater", values[name], 0.0)
            named = here if not named else self.op("Or", named, here)
        logits = self.op("Add", logits, of_frequency * frequency + mixture.intercept)
        removed = np.zeros(self._n_labels, bool)
        removed[self._classifier.removed] = True
        named = self.op("And", named, ~removed)
        tails = np.zeros(self._n_labels)
        if mixture.tail:
            tails = -mixture.tail * np.log(propensities_of_counts(counts, mixture.n_rows))
        ranked = logits
        if mixture.tail:
            logs = self.op(
                "Neg", self.op("Softplus", self.op("Neg", self._calibrated(logits, mixture.calibration)))
            )
            ranked = self.op("Add", logs, tails)
        best, places = self._top(
            self.op("Where", named, ranked, _NONE), self.op("Min", "top", np.array([self._n_labels]))
        )
        there = self.op("Greater", best, _NONE / 2)
        if mixture.tail:
            chances = self.op(
                "Exp", self.op("Min", self.op("Sub", best, self.op("Gather", tails, places)), 0.0)
            )
        else:
            chances = self.op("Sigmoid", self._calibrated(best, mixture.calibration))
        self.op("Where", there, places, np.array(-1), output="labels")
        self.op("Where", there, chances, 0.0, output="scores")

    def _calibrated(self, logits: str, calibration: Isotonic) -> str:
        """What a calibration makes of log odds: a sum of its pieces, each between its knots."""
        if not calibration.given:
            return logits
        given, true = np.array(calibration.given), np.array(calibration.true)
        lowest, highest = given[0], given[-1]
        inside = self.op("Min", self.op("Max", logits, lowest), highest)
        total = self.op("Add", self.op("Sub", logits, inside), true[0])
        wide = self.op("Unsqueeze", inside, np.array([2]))
        pieces = self.op("Sub", self.op("Min", self.op("Max", wide, given[:-1]), given[1:]), given[:-1])
        sums = self.op(
            "ReduceSum", self.op("Mul", pieces, np.diff(true) / np.diff(given)), np.array([2]), keepdims=0
        )
        return self.op("Add", total, sums)


def _padded_labels(votes: LabelVotes, n_rows: int) -> npt.NDArray[np.int64]:
    """The labels of training rows, filled up by one behind the others."""
    labels = votes.labels
    sizes = np.diff(labels.indptr)
    padded = np.full((n_rows, max(int(sizes.max(initial=0)), 1)), votes.n_labels, np.int64)
    row = np.repeat(np.arange(len(sizes)), sizes)
    padded[row, np.arange(len(row)) - np.repeat(labels.indptr[:-1], sizes)] = labels.indices
    return padded
