"""The diagnose command, on a saved network."""

from __future__ import annotations

import json

import pytest

from lshsample.nn import Dense, Network, Sampled, Sparse


def test_diagnose(lshsample, rows_file, tmp_path):
    pytest.importorskip("matplotlib")
    model = tmp_path / "model"
    Network([Sparse(30), Dense(16), Sampled(150, "softmax", sampler="full")]).save(model)
    plot, result = tmp_path / "d.svg", tmp_path / "d.json"
    done = lshsample(
        "diagnose", model, rows_file, "--rows", 50, "--plot", plot, "--json", result, "--threads", 1
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert found["n_rows"] == 50
    assert set(found["oracle"]) == {"0.01", "0.02", "0.05", "0.1"}
    assert " ".join(done.stdout.split()).endswith(" ".join(found["verdict"].split()))
    assert "<svg" in plot.read_text()
    refused = lshsample("diagnose", model, rows_file, "--layer", 3)
    assert refused.returncode != 0
    assert "layer must be an integer from 2 to 2" in refused.stderr
