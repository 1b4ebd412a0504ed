"""Training runs as plain data: valid values, and errors that name the invalid ones."""

from __future__ import annotations

import pytest
import scipy.sparse as sp

from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.nn import Adam, LearningRate, Sampled, Sigmoid, Sparse
from lshsample.specs import from_toml


@pytest.mark.parametrize(
    ("text", "hidden"), [('"64,32"', (64, 32)), ("64", (64,)), ("[64, 32]", (64, 32)), ('" 64 "', (64,))]
)
def test_widths_are_accepted_in_several_forms(text: str, hidden: tuple[int, ...]) -> None:
    assert from_toml(TrainConfig, f"hidden = {text}").hidden == hidden


@pytest.mark.parametrize("value", [0, -3, 1.5, True, [1.5], [True], [], "", "a", "1,", [2**31], 10**12])
def test_other_widths_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^hidden must be one or more integers from 1 .* \(got "):
        TrainConfig(hidden=value)  # type: ignore[arg-type]


def test_options_of_losses_and_optimizers_reach_them() -> None:
    config = TrainConfig(
        hidden=8, dropout=0.0, input_dropout=0.2, loss="sigmoid", label_smoothing=0.1, propensity="0.5,0.4",
        weight_decay=0.01, batch_size=10, epochs=1, lr=0.01, sampler="full",
    )  # fmt: skip
    assert from_toml(TrainConfig, config.to_toml()) == config
    network = build_network(config, 20, 10)
    assert network.loss == Sigmoid(smoothing=0.1, propensity=(0.5, 0.4))
    assert network.spec.layers[0] == Sparse(20, dropout=0.2)
    assert build_trainer(config, network).settings.optimizer == Adam(weight_decay=0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [("label_smoothing", 1.0), ("propensity", "0.5"), ("propensity", "a,b"), ("propensity", (0.5, -1.0)),
     ("propensity", 3), ("weight_decay", -0.1), ("input_dropout", 1.0)],
)  # fmt: skip
def test_bad_options_of_losses_and_optimizers_are_named(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name} must be "):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["family", "sampler"])
def test_names_are_text(name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name} must be text.* \(got 3\)"):
        TrainConfig(**{name: 3})
    if name == "family":
        with pytest.raises(ArgumentError, match=r"^family must be text.* \(got 3\)"):
            Sampled(10, family=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("", LearningRate("linear")),
        ('schedule = "cosine"', LearningRate("cosine")),
        ('schedule = "constant"\nwarmup = 20', LearningRate("constant", warmup=20)),
        ("warmup = 0.05", LearningRate("linear", warmup=0.05)),
    ],
)
def test_schedule_and_warm_up_reach_the_trainer(text: str, schedule: LearningRate) -> None:
    eye = sp.eye_array(60)
    config = from_toml(TrainConfig, text).resolve(Dataset.of(eye, eye))
    assert from_toml(TrainConfig, config.to_toml()) == config
    assert build_trainer(config, build_network(config, 60, 60)).settings.schedule == schedule
