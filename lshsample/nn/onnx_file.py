"""A network as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lshsample.errors import ArgumentError
from lshsample.files import atomic_file
from lshsample.nn.plain import PlainNetwork

__all__ = ["MAX_BYTES", "OPERATORS", "Graph", "save_graph", "write_onnx"]

#: Operators and format that runtimes of 2022 and later read.
_OPSET, _IR = 17, 8
OPERATORS = {"relu": "Relu", "tanh": "Tanh"}
#: A file of protocol buffers is smaller than this.
MAX_BYTES = 2**31 - 2**20


class Graph:
    """The nodes and the constants of a graph that is being made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, array: Any) -> str:
        """Add a constant; returns its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output; returns its name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def write_onnx(plain: PlainNetwork, path: Any, metadata: Mapping[str, str]) -> None:
    """Write the exact prediction of a network; see :meth:`Network.to_onnx <lshsample.Network.to_onnx>`."""
    size = sum(step.weights.nbytes for step in plain.steps)
    if size > MAX_BYTES:
        raise ArgumentError(
            "network", f"{size:,} bytes of weights", f"at most {MAX_BYTES:,}, for one ONNX file"
        )
    graph, rows = Graph(), "rows"
    first, *rest = plain.steps
    if plain.sparse:
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [rows, "width"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [rows, "width"]),
        ]
        values = _weighted(graph, plain)
        table = graph.constant("1.weights", first.weights.T)
        vectors = graph.add("Gather", [table, "ids"], "1.rows", axis=0)
        values = graph.add("Unsqueeze", [values, graph.constant("1.axis", np.array([1]))], "1.values")
        sums = graph.add("MatMul", [values, vectors], "1.sums")
        flat = graph.add("Squeeze", [sums, "1.axis"], "1.flat")
        x = graph.add("Add", [flat, graph.constant("1.bias", first.bias)], "1.affine")
        x = _activated(graph, x, first.activation, 1)
    else:
        inputs, x = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, plain.n_features])], "x"
        rest = [first, *rest]
    for index, step in enumerate(rest, 2 if plain.sparse else 1):
        weights = graph.constant(f"{index}.weights", step.weights)
        bias = graph.constant(f"{index}.bias", step.bias)
        x = graph.add("Gemm", [x, weights, bias], f"{index}.affine", transB=1)
        x = _activated(graph, x, step.activation, index)
    inputs.append(helper.make_tensor_value_info("top", TensorProto.INT64, [1]))
    graph.nodes.append(helper.make_node("TopK", [x, "top"], ["scores", "labels"], name="top_k"))
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.INT64, [rows, "top"]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [rows, "top"]),
    ]
    save_graph(graph, inputs, outputs, path, metadata)


def save_graph(
    graph: Graph, inputs: list[Any], outputs: list[Any], path: Any, metadata: Mapping[str, str]
) -> None:
    """Write a graph to a file, which is replaced atomically, after a check of it."""
    whole = helper.make_graph(graph.nodes, "lshsample", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(whole, producer_name="lshsample", opset_imports=opsets, ir_version=_IR)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    with atomic_file(path) as file:
        file.write(model.SerializeToString())


def _weighted(graph: Graph, plain: PlainNetwork) -> str:
    """The weighted values of sparse rows."""
    values = "values"
    if plain.weights is not None:
        factors = graph.add("Gather", [graph.constant("0.idf", plain.weights), "ids"], "0.factors")
        values = graph.add("Mul", [values, factors], "0.weighted")
    if plain.weighting == "none":
        return values
    norms = graph.add("ReduceL2", [values], "0.norms", axes=[1], keepdims=1)
    zero, one = (graph.constant(f"0.{name}", np.float32(v)) for name, v in (("zero", 0), ("one", 1)))
    empty = graph.add("Equal", [norms, zero], "0.empty")
    divisors = graph.add("Where", [empty, one, norms], "0.divisors")
    return graph.add("Div", [values, divisors], "0.unit")


def _activated(graph: Graph, x: str, activation: str, index: int) -> str:
    if activation not in OPERATORS:
        return x
    return graph.add(OPERATORS[activation], [x], f"{index}.active")
