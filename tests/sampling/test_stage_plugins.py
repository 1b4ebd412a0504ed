"""Stages from plugins: found by name in text, rejected with their name if invalid; and their test kit."""

import itertools
from importlib import metadata
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from lshsample import plugin as api
from lshsample.errors import ArgumentError, PluginError
from lshsample.plugin import SamplerStage, hookimpl
from lshsample.plugin_manager import installed_plugins
from lshsample.sampling import (
    ActiveSet,
    Include,
    Retrieve,
    Uniform,
    builtin_stages,
    make_pipeline,
    parse_pipeline,
    stages,
)
from lshsample.sampling.installed import StageRegistry
from lshsample.sampling.text import stage_registry
from lshsample.testing import STAGE_CHECKS, StageCase, check_stage, stage_checks


@attrs.frozen
class Even(SamplerStage):
    """Keeps even ids, and forced ones."""

    step: int = 2

    def apply(self, active, batch):
        keep = active.ids % self.step == 0
        if batch.include is not None:
            indptr, indices = batch.include
            rows = np.repeat(np.arange(batch.n_queries), np.diff(indptr)) * (not batch.pooled)
            keep |= np.isin(active.row_of_ids() * batch.n_items + active.ids, rows * batch.n_items + indices)
        return active.keep(keep)


@attrs.frozen
class Coin(SamplerStage):
    """Keeps each id with probability 1/2, by the generator of the batch, forced ids as well."""

    def apply(self, active, batch):
        return active.keep(batch.generator().random(len(active.ids)) < 0.5)


@attrs.frozen
class Unseeded(SamplerStage):
    """Draws from a counter."""

    draws = itertools.count()

    def apply(self, active, batch):
        return active.keep(np.random.default_rng(next(self.draws)).random(len(active.ids)) < 0.5)


@attrs.frozen
class ByThreads(SamplerStage):
    """Divides its work by the number of threads."""

    def apply(self, active, batch):
        return active.keep(np.arange(len(active.ids)) % (batch.threads + 1) > 0)


@attrs.frozen
class Unsorted(SamplerStage):
    """Returns ids out of order."""

    def apply(self, active, batch):
        return attrs.evolve(active, ids=np.ascontiguousarray(active.ids[::-1]))


@attrs.frozen
class Beyond(SamplerStage):
    """Returns an id out of range."""

    def apply(self, active, batch):
        ids = active.ids.copy()
        ids[-1:] = batch.n_items
        return attrs.evolve(active, ids=ids)


@attrs.frozen
class InPlace(SamplerStage):
    """Writes to its input."""

    def apply(self, active, batch):
        active.counts[:] = 1
        return active


@attrs.frozen
class NormalizesQueries(SamplerStage):
    """Normalizes the caller's queries in place."""

    def needs(self):
        return frozenset({"queries"})

    def apply(self, active, batch):
        batch.queries[:] /= np.linalg.norm(batch.queries, axis=1, keepdims=True)
        return active


@attrs.frozen
class ReusesDraws(SamplerStage):
    """Draws the same numbers as a later Uniform, so that the two are not independent."""

    def apply(self, active, batch):
        sampler = Uniform(12).bind(n_items=batch.n_items)
        drawn = sampler.sample(n_queries=batch.n_queries, seed=batch.seed, step=batch.step, pool=batch.pooled)
        return attrs.evolve(drawn, log_inclusion=None)


@attrs.frozen
class Unplain(SamplerStage):
    """Has a parameter that is not plain data."""

    weights: tuple[int, ...] = attrs.field(default=(1, 2), converter=tuple)

    def apply(self, active, batch):
        return active


@attrs.frozen
class PoissonDraw(SamplerStage):
    """Adds each item independently with probability ``rate``, and states this law."""

    rate: float = 0.2

    def apply(self, active, batch):
        return self.joined(active, batch)

    def joined(self, active, batch):
        drawn = batch.generator().random((active.n_rows, batch.n_items)) < self.rate
        drawn[active.row_of_ids(), active.ids] = True
        rows, ids = np.nonzero(drawn)
        counts = np.zeros(drawn.shape, np.int32)
        counts[active.row_of_ids(), active.ids] = active.counts
        indptr = np.searchsorted(rows, np.arange(active.n_rows + 1)).astype(np.int64)
        return ActiveSet(
            indptr=indptr,
            ids=ids.astype(np.int32),
            counts=counts[rows, ids],
            n_items=batch.n_items,
            pooled=batch.pooled,
        )

    def inclusion(self, so_far, pairs):
        return so_far.mix(self.rate)


@attrs.frozen
class Thin(SamplerStage):
    """Keeps each id independently with probability ``rate``, and forced ids."""

    rate: float = 0.5

    def apply(self, active, batch):
        keep = batch.generator().random(len(active.ids)) < self.rate
        if batch.include is not None:
            indptr, indices = batch.include
            rows = np.repeat(np.arange(batch.n_queries), np.diff(indptr)) * (not batch.pooled)
            keep |= np.isin(active.row_of_ids() * batch.n_items + active.ids, rows * batch.n_items + indices)
        return active.keep(keep)

    def inclusion(self, so_far, pairs):
        return so_far.multiply(self.rate)


@attrs.frozen
class Halved(PoissonDraw):
    """States half of its probability."""

    def inclusion(self, so_far, pairs):
        return so_far.mix(self.rate / 2)


@attrs.frozen
class NotMixed(PoissonDraw):
    """States a law without the mixture with ids already in the set."""

    def inclusion(self, so_far, pairs):
        mixed = so_far.mix(self.rate)
        return attrs.evolve(mixed, probability=np.full(len(pairs.ids), self.rate))


@attrs.frozen
class OnePlace(PoissonDraw):
    """Draws the same numbers at any position, so that two of them are not independent."""

    def apply(self, active, batch):
        return self.joined(active, attrs.evolve(batch, place=0))


@attrs.frozen
class OnlyFirst(PoissonDraw):
    """Drops the ids in its input: its law holds for a first stage only."""

    def apply(self, active, batch):
        return self.joined(active.keep(np.zeros(len(active.ids), bool)), batch)


@attrs.frozen
class SomeHaveNone(Thin):
    """Always drops odd ids, which its law does not state."""

    def apply(self, active, batch):
        return active.keep(active.ids % 2 == 0)

    def inclusion(self, so_far, pairs):
        return so_far


def plugin_returning(found):
    call = found if callable(found) else lambda: found

    def lshsample_sampler_stages():
        return call()

    return SimpleNamespace(lshsample_sampler_stages=hookimpl(lshsample_sampler_stages))


def test_installed_stages_are_found_by_name(monkeypatch):
    point = metadata.EntryPoint("evens", f"{__name__}:Plugin", "lshsample")
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: plugin_returning({"Even": Even}))
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    installed_plugins.cache_clear()
    stage_registry.cache_clear()
    try:
        assert stages()["Even"] is Even
        assert "evens" in stage_registry().owner("Even")
        assert parse_pipeline("Retrieve() | Even(step=3)") == Retrieve() | Even(step=3)
        assert make_pipeline("Even() | Include()", n_active=5, n_items=9) == Even() | Include()
        with pytest.raises(ArgumentError, match="Even"):
            parse_pipeline("Evn()")
    finally:
        monkeypatch.undo()
        installed_plugins.cache_clear()
        stage_registry.cache_clear()
    assert set(stages()) >= set(builtin_stages())


class Plain(SamplerStage):
    """Not an attrs class."""

    def apply(self, active, batch):
        return active


@attrs.frozen
class Lacking(SamplerStage):
    """No apply."""


Top = attrs.frozen(type("Top", (Even,), {"__module__": __name__}))


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([Even], "returned list, expected a dict of names to SamplerStage classes"),
        ({"Even": object}, "is .*, expected a subclass of SamplerStage"),
        ({"Even": Even()}, "is .*, expected a subclass of SamplerStage"),
        ({"Uniform": Uniform}, "Uniform lacks apply"),
        ({"even": Even}, "expected the name of the class, 'Even'"),
        ({"Plain": Plain}, "Plain is not a frozen attrs class"),
        ({"Lacking": Lacking}, "Lacking lacks apply"),
        ({"Top": Top}, "the stage name 'Top', which lshsample itself has"),
        (lambda: 1 // 0, "lshsample_sampler_stages raised ZeroDivisionError"),
    ],
)
def test_errors_contain_the_name_of_an_invalid_plugin(found, problem):
    plugins = [("good", plugin_returning({"Coin": Coin})), ("broken-one", plugin_returning(found))]
    with pytest.raises(PluginError, match=problem) as error:
        StageRegistry(plugins, builtin_stages())
    assert "plugin broken-one" in str(error.value)


def test_two_plugins_with_the_same_stage_name():
    plugins = [("one", plugin_returning({"Even": Even})), ("two", plugin_returning({"Even": Even}))]
    with pytest.raises(PluginError, match=r"plugin (one|two).*'Even', which (one|two) has"):
        StageRegistry(plugins)


def test_the_plugin_api_contains_what_stages_need():
    assert api.SamplerStage is SamplerStage
    assert {"ActiveSet", "Batch", "SamplerStage"} <= set(api.__all__)
    with pytest.raises(AttributeError, match="SamplrStage"):
        api.SamplrStage  # noqa: B018


@pytest.mark.parametrize("check", stage_checks())
def test_a_correct_stage_passes(check):
    check(StageCase(Even(3)))


@pytest.mark.parametrize("check", stage_checks({"forced_ids": "it is a filter for prediction"}))
def test_a_random_stage_passes(check):
    check(StageCase(Coin()))


@pytest.mark.parametrize("check", stage_checks())
@pytest.mark.parametrize("stage", [PoissonDraw(), Thin()], ids=str)
def test_stages_that_state_their_laws_pass(check, stage):
    check(StageCase(stage))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Halved(), "times as often as log_inclusion says"),
        (NotMixed(), r"\| NotMixed"),
        (OnePlace(), r"OnePlace\(\) \| OnePlace"),
        (OnlyFirst(), "times as often as log_inclusion says|add up to"),
        (SomeHaveNone(), "add up to"),
    ],
    ids=str,
)
def test_wrong_laws_are_caught(stage, message):
    with pytest.raises(AssertionError, match=message):
        STAGE_CHECKS["stated_law"](StageCase(stage))


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        (Unseeded(), "determinism", "is something unseeded"),
        (ByThreads(), "threads", "number of threads"),
        (Unsorted(), "contract", "not ascending and unique"),
        (Beyond(), "contract", "out of range"),
        (InPlace(), "contract", "changes the arrays"),
        (NormalizesQueries(), "contract", "changes the queries"),
        (Coin(), "forced_ids", "drops the forced ids"),
        (ReusesDraws(), "law", "as often as log_inclusion says"),
        (Unplain((3,)), "spec", "a plain value"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SamplerStage) else None,
)
def test_broken_stages_are_caught(stage, name, message):
    with pytest.raises(AssertionError, match=message):
        STAGE_CHECKS[name](StageCase(stage))


def test_all_checks_without_pytest():
    outcomes = check_stage(StageCase(Coin()), {"forced_ids": "it is a filter for prediction"})
    assert outcomes["forced_ids"] == "fails as expected: it is a filter for prediction"
    with pytest.raises(AssertionError, match="forced_ids: failed"):
        check_stage(StageCase(Coin()))


@pytest.mark.parametrize("reason", ["", "  ", None, True])
def test_an_expected_failure_requires_a_reason(reason):
    with pytest.raises(ArgumentError, match="must be a reason, as text"):
        stage_checks({"law": reason})
    with pytest.raises(ArgumentError, match="names of checks"):
        stage_checks({"lwa": "a misprint"})
