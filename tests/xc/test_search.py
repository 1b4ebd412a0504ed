"""The search over recipes: its trials, storage, time, metrics, spaces, refusals."""

from __future__ import annotations

import builtins
import time

import attrs
import numpy as np
import pytest

from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.metrics import propensities, psp_at_k
from lshsample.training import Callback
from lshsample.xc import Classifier, Recipe, default_space, search_recipes
from lshsample.xc.search_space import Space

SMALL = {"hidden": 16, "epochs": 4, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "n_active": 20}
NETWORK = Recipe(network=SMALL, linear=False, neighbours=False)
FAST = {"base": "fast", "space": {"linear.c": [0.01, 10.0, "log"], "neighbours.k": [5, 20]}, "threads": 1}
RATES = {"network.lr": [1e-6, 0.05, "log"], "network.hidden": [16, [8]]}


def plain(result):
    """What does not depend on timing."""
    return [(t.number, t.state, t.value, t.values, t.measures, t.parts) for t in result.trials]


def killed_after(n):
    def told(result):
        if len(result.trials) == n:
            raise KeyboardInterrupt

    return told


def test_the_result_is_not_worse_than_the_base_recipe(rows):
    x, y = rows
    found = search_recipes(x, y, **FAST, n_trials=6, valid=0.2)
    assert [trial.state for trial in found.trials] == ["complete"] * 6
    assert found.trials[0].values == {}
    assert found.best.value == max(trial.value for trial in found.trials) >= found.trials[0].value
    assert all(
        0.01 <= t.values["linear.c"] <= 10 and t.values["neighbours.k"] in (5, 20) for t in found.trials[1:]
    )
    for name, value in found.best.values.items():
        section, key = name.split(".")
        assert getattr(getattr(found.recipe, section), key) == value
    assert Recipe.from_toml(found.recipe.to_toml()) == found.recipe


def test_the_value_is_that_of_the_recipe_on_the_held_out_rows(rows):
    x, y = rows
    seen = []

    class Rows(Callback):
        def on_start(self, trainer, steps_done, steps_total):
            seen.append(steps_total)

    found = search_recipes(x, y, base=NETWORK, n_trials=1, valid=0.25, callbacks=[Rows()], threads=1)
    # 450 of 600 rows are left, 45 of them for the mixture, in batches of 40: trained once, not again on all.
    assert seen == [4 * 11]
    held = np.sort(np.random.default_rng((0, 600)).choice(600, 150, replace=False))
    kept = np.setdiff1d(np.arange(600), held)
    classifier = Classifier.fit(x[kept], y[kept], attrs.evolve(found.recipe, refit=False), threads=1)
    assert found.best.measures == classifier.evaluate(x[held], y[held])
    assert found.best.value == found.best.measures["p@1"]


def test_a_killed_search_continues_as_if_it_was_not(rows, tmp_path):
    x, y = rows
    whole = search_recipes(x, y, base=NETWORK, space=RATES, n_trials=9, threads=1, seed=3)
    assert len({str(trial.values) for trial in whole.trials}) == 9
    storage = tmp_path / "search.journal"
    again = {"base": NETWORK, "space": RATES, "n_trials": 9, "threads": 1, "seed": 3, "storage": storage}

    class Kill(Callback):
        def on_step(self, step, report, milliseconds):
            if step == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_recipes(x, y, **again, on_trial=killed_after(3))
    with pytest.raises(KeyboardInterrupt):
        search_recipes(x, y, **again, callbacks=[Kill()])
    continued = search_recipes(x, y, **again)
    assert plain(continued) == plain(whole)
    done = search_recipes(x, y, **again, on_trial=killed_after(9))
    assert (plain(done), done.recipe) == (plain(whole), whole.recipe)
    assert any(trial.state == "pruned" for trial in whole.trials)


def test_another_search_does_not_continue_it(rows, tmp_path):
    x, y = rows
    storage = tmp_path / "search.journal"
    search_recipes(x, y, **FAST, n_trials=1, storage=storage)
    before = storage.read_bytes()
    changed = x.copy()
    changed.data[0] += 1
    others = [
        (changed, {"n_trials": 2}, "data"),
        (x, {"valid": 0.2}, "valid"),
        (x, {"seed": 1}, "seed"),
        (x, {"metric": "p@3"}, "metric"),
        (x, {"base": Recipe(network=False, neighbours={"of": ["rows"], "k": 9})}, "base"),
        (x, {"space": {"linear.c": [0.1, 1]}}, "space"),
    ]
    for rows_of, more, name in others:
        with pytest.raises(ArgumentError, match=rf"storage must be that of the same search.*other {name}"):
            search_recipes(rows_of, y, **{**FAST, "n_trials": 2, **more}, storage=storage)
    assert storage.read_bytes() == before


def test_a_file_of_another_kind_is_refused(rows, tmp_path):
    storage = tmp_path / "search.journal"
    storage.write_text("no journal\nof anything\n")
    with pytest.raises(CheckpointError, match="not the journal of a search"):
        search_recipes(*rows, **FAST, n_trials=1, storage=storage)


def test_two_searches_do_not_use_one_file(rows, tmp_path):
    x, y = rows
    storage = tmp_path / "search.journal"

    def second(result):
        with pytest.raises(ArgumentError, match="a file that no other search uses"):
            search_recipes(x, y, **FAST, n_trials=2, storage=storage)

    assert len(search_recipes(x, y, **FAST, n_trials=1, storage=storage, on_trial=second).trials) == 1


def test_the_time_is_kept(rows):
    x, y = rows
    slow = Recipe(network={**SMALL, "epochs": 100_000}, linear=False, neighbours=False)
    began = time.perf_counter()
    with pytest.raises(ArgumentError, match="max_seconds must be at least the time of the base recipe"):
        search_recipes(x, y, base=slow, space=RATES, max_seconds=0.3, threads=1)
    space = {"network.epochs": [100_000, 200_000]}
    found = search_recipes(x, y, base=NETWORK, space=space, max_seconds=2, threads=1)
    assert [trial.state for trial in found.trials] == ["complete", "out of time"]
    assert time.perf_counter() - began < 6
    assert found.best.number == 0


def test_a_recipe_that_fails_does_not_end_the_search(rows):
    x, y = rows
    space = {"network.lr": [1e5, 1e6, "log"]}
    found = search_recipes(x, y, base=NETWORK, space=space, n_trials=2, threads=1)
    assert found.trials[1].state in ("failed", "complete", "pruned")
    assert found.best.number == 0 or found.best.value > found.trials[0].value


def test_metrics_may_be_propensity_scored_or_means(rows):
    x, y = rows
    found = search_recipes(x, y, **FAST, n_trials=1, metric="psp@1, p@3", valid=0.2)
    measures = found.best.measures
    assert set(measures) == {"p@1", "p@3", "p@5", "psp@1"}
    assert found.best.value == pytest.approx((measures["psp@1"] + measures["p@3"]) / 2)
    held = np.sort(np.random.default_rng((0, 600)).choice(600, 120, replace=False))
    kept = np.setdiff1d(np.arange(600), held)
    classifier = Classifier.fit(x[kept], y[kept], attrs.evolve(found.recipe, refit=False), threads=1)
    labels, _ = classifier.predict(x[held], 5)
    wanted = psp_at_k(labels, y[held], propensities(y[kept]), k=1)
    assert measures["psp@1"] == pytest.approx(100 * wanted)


def test_the_default_space_is_one_of_the_base_recipe(rows):
    x, y = rows
    recipe = Recipe.preset("balanced").resolve(x, y)
    space = default_space(recipe, y.shape[1])
    assert set(space) >= {"linear.c", "neighbours.k", "network.lr", "network.hidden", "network.loss"}
    Space.of(space).check(recipe)
    assert not any(name.startswith("network") for name in default_space(Recipe.preset("fast"), 60))
    assert max(space["network.n_active"]) < 60


def test_no_recipe_is_tried_twice(rows):
    x, y = rows
    space = {"linear.c": [0.1, 1.0], "neighbours.k": [5, 20]}
    found = search_recipes(x, y, base="fast", space=space, max_seconds=60, threads=1)
    assert len({str(trial.values) for trial in found.trials}) == len(found.trials) == 5


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({}, "space must be a mapping of at least one setting"),
        ({"network.lr": [0.1]}, r"space: network.lr must be \[low, high"),
        ({"network.lr": "log"}, r"space: network.lr must be \[low, high"),
        ({"network.lr": [0.0, 0.1, "log"]}, "a range from a lower to a higher number, above 0"),
        ({"network.lr": [0.2, 0.1, "linear"]}, "a range from a lower to a higher number"),
        ({"network.rate": [0.1, 0.2]}, "space: .*rate"),
        ({"network.dropout": [0.0, 1.5, "linear"]}, "space: dropout must be"),
        ({"linear": {"c": [1.0, 1.0]}}, "a list of different choices"),
        ({"linear.c": [-1.0, 1.0]}, "space: c must be"),
        ({"nothing.c": [1, 2]}, "space: nothing.c must be a setting of a section that the recipe has"),
    ],
)
def test_a_bad_space_is_refused(rows, space, named):
    with pytest.raises(ArgumentError, match=named):
        search_recipes(*rows, space=space, n_trials=1)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"n_trials": None}, "max_seconds must be given, or n_trials"),
        ({"n_trials": 0}, "n_trials must be an integer >= 1"),
        ({"max_seconds": 0}, "max_seconds must be"),
        ({"valid": 1.0}, "valid must be"),
        ({"valid": 1e-6}, "valid must be a share with at least one of them"),
        ({"metric": "accuracy"}, "metric must be one or more of p, r"),
        ({"metric": "p@61"}, "a number from 1 to 60"),
        ({"base": "quick"}, "recipe must be one of fast"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_refused(rows, more, named):
    with pytest.raises(ArgumentError, match=named):
        search_recipes(*rows, **{**FAST, "n_trials": 1, **more})


def test_without_optuna_the_error_names_the_extra(rows, monkeypatch):
    kept = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "optuna":
            raise ImportError("no module named optuna")
        return kept(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"pip install 'lshsample\[search\]'"):
        search_recipes(*rows, **FAST, n_trials=1)
