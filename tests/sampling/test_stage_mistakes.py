"""Mistakes in custom stages: each is an error that names the stage, what is wanted and what was given."""

import dataclasses

import attrs
import numpy as np
import pytest

from lshsample import HashTables, Retrieve, Uniform, make_family
from lshsample.errors import ArgumentError, PluginError
from lshsample.sampling import ActiveSet, Pipeline, SamplerStage, Top

ROWS = np.random.default_rng(0).standard_normal((200, 8), dtype=np.float32)
FAMILY = make_family("simhash", dim=8, n_hashes=3, n_tables=4, projection="gaussian")
TABLES = HashTables(FAMILY, threads=1).build(ROWS)


def stage(**methods):
    """A stage named Mine whose methods are replaced."""
    body = {"__module__": "author", "apply": lambda self, active, batch: active, **methods}
    return attrs.frozen(type("Mine", (SamplerStage,), body))()


def returning(value):
    return lambda self, *arguments: value


def failing(self, *arguments):
    return {}["missing"]


def bound(mine):
    return (Retrieve() | mine | Uniform(20)).bind(tables=TABLES)


FAILED = r"raised KeyError: 'missing'"
WHEN_COMPOSED = {
    "misspelt need": (
        {"needs": returning(frozenset({"querys"}))},
        r"needs returned 'querys', expected a set of 'f",
    ),
    "list of needs": (
        {"needs": returning(["queries"])},
        "needs returned list, expected a frozenset or a set",
    ),
    "need as text": ({"needs": returning("queries")}, "needs returned str, expected a frozenset or a set"),
    "no needs": ({"needs": returning(None)}, "needs returned NoneType"),
    "needs that fail": ({"needs": failing}, f"needs {FAILED}"),
    "needs as a value": ({"needs": frozenset()}, "needs raised TypeError"),
    "tables of another kind": (
        {"tables_of": returning(ROWS)},
        "tables_of returned ndarray, expected a TableReader or None",
    ),
}
WHEN_BOUND = {
    "check that fails": ({"check": failing}, f"check {FAILED}"),
    "size as text": ({"size": returning("9")}, "size returned '9', expected an integer >= 0"),
    "negative size": ({"size": returning(-1)}, "size returned -1, expected an integer >= 0"),
    "no probes": ({"n_probes": returning(None)}, "n_probes returned None, expected an integer >= 0"),
}
IN_APPLY = {
    "nothing": (lambda active: None, "returned NoneType, expected an ActiveSet"),
    "ids": (lambda active: active.ids, "returned ndarray, expected an ActiveSet"),
    "int64 ids": (
        lambda active: attrs.evolve(active, ids=active.ids.astype(np.int64)),
        r"ids is not a 1-D int32 array, but int64 \(\d+,\)",
    ),
    "list": (lambda active: attrs.evolve(active, counts=[1]), "counts is not a 1-D int32 array, but list"),
    "other items": (lambda active: attrs.evolve(active, n_items=5), "a set of 5 items, expected one of 200"),
    "fewer rows": (
        lambda active: attrs.evolve(active, indptr=active.indptr[[0, -1]]), "returned 1 rows, expected 2",
    ),
    "fewer counts": (
        lambda active: attrs.evolve(active, counts=active.counts[1:]), r"\d+ counts of \d+ ids",
    ),
    "a key": (lambda active: {}["missing"], FAILED),
    "an attribute": (lambda active: active.id, "raised AttributeError"),
}  # fmt: skip
IN_METHODS = {
    "join out of range": (lambda active: active.join(np.full((2, 1), 10**6)), "ids must be from 0 to 199"),
    "join of floats": (
        lambda active: active.join(np.full((2, 1), 1.5)),
        "ids must be an integer array with 2",
    ),
    "join of one row": (lambda active: active.join([[1]]), "ids must be an integer array with 2 rows"),
    "keep by ids": (
        lambda active: active.keep(active.ids),
        r"mask must be a bool array of shape \(\d+,\) \(got int",
    ),
}
LAWS = {
    "NaN factor": (lambda so_far, pairs: so_far.multiply(np.nan), "fraction must be prob.* above 0 .*nan"),
    "NaN": (
        lambda so_far, pairs: so_far.mix(np.nan),
        r"must be probabilities from 0 to 1 \(got values from nan",
    ),
    "above 1": (lambda so_far, pairs: so_far.mix(1.5), "must be probabilities from 0 to 1"),
    "negative": (lambda so_far, pairs: so_far.multiply(-0.5), "above 0 and at most 1 .got values from -0.5"),
    "zero": (lambda so_far, pairs: so_far.multiply(0), "above 0 and at most 1"),
    "factor above 1": (lambda so_far, pairs: so_far.multiply(2), "above 0 and at most 1"),
    "another shape": (
        lambda so_far, pairs: so_far.mix(np.full(7, 0.5)),
        r"number, or an array of shape \(0,\)",
    ),
    "text": (lambda so_far, pairs: so_far.mix("0.5"), "must be a number, or an array"),
    "forced ids": (lambda so_far, pairs: so_far.force(pairs.ids), "must be a bool array of shape"),
    "nothing": (lambda so_far, pairs: None, "returned NoneType, expected an Inclusion"),
    "an array": (lambda so_far, pairs: np.ones(len(pairs.ids)), "returned ndarray, expected an Inclusion"),
    "NaN as a value": (
        lambda so_far, pairs: attrs.evolve(so_far, probability=np.full(len(pairs.ids), np.nan)),
        "returned a probability of nan, expected numbers >= 0",
    ),
    "a key": (lambda so_far, pairs: {}["missing"], FAILED),
}


@pytest.mark.parametrize("mistake", WHEN_COMPOSED)
def test_mistakes_found_when_a_pipeline_is_made(mistake):
    methods, message = WHEN_COMPOSED[mistake]
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.{message}"):
        Retrieve() | stage(**methods)
    with pytest.raises(PluginError, match=r"stage Mine\(\)"):
        stage(**methods).bind(n_items=9)


@pytest.mark.parametrize("mistake", WHEN_BOUND)
def test_mistakes_found_when_a_sampler_is_bound(mistake):
    methods, message = WHEN_BOUND[mistake]
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.{message}"):
        bound(stage(**methods))


@pytest.mark.parametrize("mistake", IN_APPLY)
def test_mistakes_in_the_returned_set(mistake):
    change, message = IN_APPLY[mistake]
    sampler = bound(stage(apply=lambda self, active, batch: change(active)))
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.apply:? .*{message}"):
        sampler.sample(ROWS[:2])


@pytest.mark.parametrize("mistake", IN_METHODS)
def test_refused_arguments_name_the_stage(mistake):
    change, message = IN_METHODS[mistake]
    sampler = bound(stage(apply=lambda self, active, batch: change(active)))
    with pytest.raises(ArgumentError, match=rf"^Mine\(\): {message}"):
        sampler.sample(ROWS[:2])


@pytest.mark.parametrize("law", ["conditional", "marginal"])
@pytest.mark.parametrize("mistake", LAWS)
def test_mistakes_in_a_law(mistake, law):
    inclusion, message = LAWS[mistake]
    sampler = bound(stage(inclusion=lambda self, so_far, pairs: inclusion(so_far, pairs)))
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.inclusion:? .*{message}"):
        sampler.sample(ROWS[:2], law=law)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"expected": returning(None)}, "expected returned NoneType, expected an Expected"),
        ({"expected": failing}, f"expected {FAILED}"),
        (
            {"expected": lambda self, so_far, population: so_far.keep(np.nan)},
            "expected returned a set of nan ids",
        ),
    ],
)
def test_mistakes_in_the_expected_set(methods, message):
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.{message}"):
        bound(stage(**methods)).describe()


@pytest.mark.parametrize(("reason", "message"), [(returning(None), "returned NoneType"), (failing, FAILED)])
def test_mistakes_in_the_reason(reason, message):
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.reason {message}"):
        bound(stage(reason=reason)).explain(ROWS[:1])


@pytest.mark.parametrize(
    ("call", "message"),
    [(returning("TOP"), "returned str, expected a StageCall or None"), (returning(Top(3)), "returned Top"),
     (failing, FAILED)],
)  # fmt: skip
def test_mistakes_in_a_call_of_the_core(call, message):
    with pytest.raises(PluginError, match=rf"stage Mine\(\) \(author\.Mine\)\.call {message}"):
        bound(stage(call=call)).sample(ROWS[:2])


def test_a_simple_sample_has_a_size_for_each_row():
    with pytest.raises(PluginError, match=r"Mine\(\)\.simple_sample returned shape \(\), expected \(2,\)"):
        bound(stage(simple_sample=returning(5))).sample(ROWS[:2])


class Undecorated(SamplerStage):
    """Sets an attribute in its own __init__."""

    def __init__(self, k):
        self.k = k

    def apply(self, active, batch):
        return active


@dataclasses.dataclass(frozen=True)
class Data(SamplerStage):
    """A dataclass."""

    k: int = 3

    def apply(self, active, batch):
        return active


@pytest.mark.parametrize("cls", [Undecorated, Data])
def test_a_class_that_is_no_attrs_class_says_so(cls):
    message = rf"stage .*\.{cls.__name__} is not a frozen attrs class: decorate it with @attrs\.frozen"
    with pytest.raises(PluginError, match=message):
        cls(3)


def test_a_stage_without_apply_is_refused_when_it_is_composed():
    lacking = attrs.frozen(type("Lacking", (SamplerStage,), {"__module__": "author"}))
    with pytest.raises(
        PluginError, match=r"stage Lacking\(\) \(author\.Lacking\) lacks apply\(active, batch\)"
    ):
        Pipeline([lacking()])


@attrs.define
class Defined(SamplerStage):
    """Decorated with attrs.define, which keeps the base class frozen."""

    k: int = 3

    def apply(self, active, batch):
        return ActiveSet(
            indptr=active.indptr,
            ids=active.ids,
            counts=active.counts,
            n_items=active.n_items,
            pooled=active.pooled,
        )


def test_a_stage_is_immutable_however_it_is_decorated():
    mine = Defined(k=4)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        mine.k = 5
    assert bound(mine).sample(ROWS[:2]).weights.max() == pytest.approx(10)
