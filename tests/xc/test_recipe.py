"""Recipes: presets, TOML, refusals that name the key."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.config import TrainConfig, build_network
from lshsample.errors import ArgumentError
from lshsample.nn import Sharded
from lshsample.xc import PRESETS, Classifier, LinearRecipe, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml(name):
    recipe = Recipe.preset(name)
    assert Recipe.from_toml(recipe.to_toml()) == recipe == Recipe.of(name)
    assert recipe.is_network_alone == (name == "network")


def test_the_parts_follow_from_the_sections():
    assert Recipe().parts == ("rows", "linear", "network", "hidden")
    assert Recipe(linear=None, neighbours={"of": ["hidden"]}).parts == ("network", "hidden")
    assert Recipe(linear={"c": 2}, neighbours=False, network=False).linear == LinearRecipe(c=2)
    assert Recipe.of({"n_networks": 2, "neighbours": False}).parts == ("linear", "network")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linear = false\nneighbours = false\nnetwork = false", "^recipe must be linear, neighbours or netw"),
        ("network = false", r"^neighbours.of must be used with network, or \[\"rows\"\]"),
        ('[neighbours]\nof = ["cells"]', r"^of must be \[\"rows\"\], \[\"hidden\"\] or"),
        ("holdout = 0", r"^holdout must be a finite number in \(0, 0.9\]"),
        ("storage = 'int4'", "^storage must be one of 'int8'"),
        ("epochs = 3", r"^epochs must be a key of the section \[network\]"),
        ("[linear]\nC = 3", "^LinearRecipe.C must be left out: the keys are c, "),
        ("[network]\nvalid = 0.1", "^network.valid must be left out: it is for a network alone"),
        ("[network]\nseed = 4", "^network.seed must be left out: seed is a key of the recipe"),
        (
            "linear = false\nneighbours = false\nholdout = 0.2",
            "^holdout must be left out for a network alone",
        ),
        ("linear = 7", "^linear must be true, false or a section"),
    ],
)
def test_bad_values_are_named(text, said):
    with pytest.raises(ArgumentError, match=said):
        Recipe.from_toml(text)


def test_other_things_are_no_recipe(tmp_path):
    with pytest.raises(ArgumentError, match=r"^recipe must be one of fast, .*did you mean 'fast'"):
        Recipe.of("fasst")
    with pytest.raises(ArgumentError, match=r"^recipe must be a Recipe, the name of one"):
        Recipe.of(3)
    with pytest.raises(ArgumentError, match=r"^recipe must be a readable TOML file"):
        Recipe.from_file(tmp_path / "absent.toml")
    with pytest.raises(ArgumentError, match=r"^lr must be used with a recipe that has a network"):
        Recipe.preset("fast").merged({"lr": 0.1})


def test_a_resolved_recipe_has_all_settings_of_its_network():
    x, y = sp.csr_array(np.eye(50, dtype=np.float32)), sp.csr_array(np.eye(50))
    recipe = Recipe(network=TrainConfig(epochs=3)).resolve(x, y)
    assert recipe.network.epochs == 3
    assert None not in (recipe.network.hidden, recipe.network.lr, recipe.network.loss)
    assert recipe.resolve(x, y) == recipe
    fast = Recipe.preset("fast")
    assert fast.resolve(x, y) == Recipe.of(fast.to_dict() | {"linear": {"pairs": 0.0}})


def test_a_network_is_left_out_beyond_its_rows():
    x, y = sp.csr_array(np.eye(50, dtype=np.float32)), sp.csr_array(np.eye(50))
    small = Recipe(network_rows=50).resolve(x, y)
    assert small.parts == ("rows", "linear", "network", "hidden")
    large = Recipe(network_rows=49).resolve(x, y)
    assert (large.parts, large.network, large.neighbours.of) == (("rows", "linear"), None, ("rows",))
    assert Recipe.from_toml(large.to_toml()) == large
    no_rows = Recipe(network_rows=49, neighbours={"of": ["hidden"]})
    assert no_rows.resolve(x, y).parts == ("linear",)
    # The settings of a network ask for one, and without it nothing would be left.
    assert Recipe(network_rows=49).merged({"epochs": 2}).resolve(x, y).network.epochs == 2
    alone = Recipe(network_rows=49, linear=False, neighbours={"of": ["hidden"]})
    assert alone.resolve(x, y).parts == ("network", "hidden")


def test_how_many_rows_are_held_out():
    assert [Recipe(holdout=0.1).n_held_out(n) for n in (3, 600, 10**6)] == [1, 60, 5000]


def test_parts_are_for_a_network_alone_that_is_no_classifier():
    with pytest.raises(ArgumentError, match=r"^network\.parts must be left out: it is for a network alone"):
        Recipe.from_dict({"network": {"parts": 2}})
    recipe = Recipe.preset("network").merged({"parts": 2})
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert type(TrainConfig(parts=np.int64(2)).parts) is int
    eye = sp.eye_array(20, format="csr")
    for refused in (
        lambda: Classifier.fit(eye, eye, recipe),
        lambda: recipe.check_stream(),
    ):
        with pytest.raises(
            ArgumentError, match=r"^parts must be left out: it is for a network alone that is tr"
        ):
            refused()
    for change in ({"parts": 3}, {"parts": 0}, {"parts": True}, {"parts": 2048}):
        with pytest.raises(ArgumentError, match=r"^parts must be a power of two from 1 to 1024"):
            recipe.merged(change)
    with pytest.raises(ArgumentError, match=r"^parts must be used with the precision float32"):
        recipe.merged({"precision": "bfloat16"})


def test_a_network_in_parts_has_a_last_layer_in_blocks():
    config = TrainConfig(hidden=8, dropout=0.0, n_active=16, parts=4)
    last = build_network(config, 30, 50).spec.layers[-1]
    assert (type(last), last.parts, last.blocks, last.n_active) == (Sharded, 4, 8, 16)
    config = TrainConfig(hidden=8, dropout=0.0, sampler="full", parts=4)
    blocks = [build_network(config, 30, n).spec.layers[-1].blocks for n in (2, 3, 7, 8)]
    assert blocks == [2, 2, 4, 8], "no more than labels"
