"""Networks in other libraries: the labels and scores of predict, from PyTorch and from an ONNX runtime."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import LshsampleError, UnsupportedError
from lshsample.nn import Activation, Dense, Input, Network, Sampled, Sparse

NETWORKS = {
    "l2": [Sparse(60, weighting="l2"), Dense(16, "relu"), Sampled(40, "softmax", sampler="full")],
    "idf": [Sparse(60, weighting="idf-l2"), Dense(8, "tanh"), Dense(12, "linear"), Dense(40, "sigmoid")],
    "sampled": [Sparse(60), Dense(8), Sampled(30, "relu", n_active=9), Sampled(40, "softmax", n_active=9)],
    "one": [Sparse(60), Dense(40, "softmax", bias=False)],
    "dense": [Input(60), Dense(8), Sampled(40, "softmax", n_active=9)],
}


def made(name):
    """A network with other weights than initial ones, and rows, one of them empty."""
    rng = np.random.default_rng(0)
    x = sp.random_array((20, 60), density=0.15, rng=rng, format="lil")
    x[[4]] = 0
    x = sp.csr_array(x).astype(np.float32)
    network = Network(NETWORKS[name], seed=3)
    network.observe(x if network.input.spec.is_sparse else x.toarray())
    for parameter in network.parameters:
        if parameter.trained:
            parameter.weights[...] = rng.standard_normal(parameter.weights.shape, np.float32)
    return network, x if network.input.spec.is_sparse else x.toarray()


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_predicts_the_same(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime")
    network, x = made(name)
    network.to_onnx(tmp_path / "a.onnx", {"labels": "some"})
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    assert session.get_modelmeta().custom_metadata_map == {"labels": "some"}
    given = {"x": x}
    if sp.issparse(x):
        width = int(np.diff(x.indptr).max())
        given = {"ids": np.zeros((20, width), np.int64), "values": np.zeros((20, width), np.float32)}
        for row in range(20):
            own = slice(x.indptr[row], x.indptr[row + 1])
            count = own.stop - own.start
            given["ids"][row, :count], given["values"][row, :count] = x.indices[own], x.data[own]
    labels, scores = session.run(["labels", "scores"], {**given, "top": np.array([6])})
    wanted = network.predict(x, 6)
    np.testing.assert_allclose(scores, wanted[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(labels, wanted[0])


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_predicts_the_same(name):
    torch = pytest.importorskip("torch")
    network, x = made(name)
    module = network.to_torch()
    dense = torch.from_numpy(x.toarray() if sp.issparse(x) else x)
    logits = module(dense)
    labels, scores = network.predict(x, 40)
    found = np.take_along_axis(logits.detach().numpy(), labels.astype(np.int64), axis=1)
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5)
    if sp.issparse(x):
        parts = (torch.from_numpy(array) for array in (x.indptr, x.indices, x.data))
        rows = torch.sparse_csr_tensor(*parts, x.shape, check_invariants=True)
        torch.testing.assert_close(module(rows), logits, rtol=1e-4, atol=1e-5)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    # The weights are copies.
    network.output.unit_vectors()[...] = 0
    torch.testing.assert_close(module(dense), logits)


class Square(Activation):
    def apply(self, values):
        values *= values

    def slope(self, outputs):
        return 2 * np.sqrt(outputs)


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    network = Network([Sparse(9), Dense(4, Square()), Dense(5, "softmax")])
    with pytest.raises(UnsupportedError, match=r"layer 1: the activation .*Square.* cannot be exported"):
        network.to_onnx(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
    real = builtins.__import__

    def missing(name, *arguments):
        if name.split(".")[0] in ("onnx", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    for module in ("lshsample.nn.onnx_file", "lshsample.nn.torch_module"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    network = Network([Sparse(9), Dense(5, "softmax")])
    with pytest.raises(
        LshsampleError, match=r"to_onnx needs pip install 'lshsample\[onnx\]' \(onnx is missing"
    ):
        network.to_onnx(tmp_path / "a.onnx")
    with pytest.raises(
        LshsampleError, match=r"to_torch needs pip install 'lshsample\[torch\]' \(torch is missing"
    ):
        network.to_torch()
