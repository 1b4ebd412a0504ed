"""The conformance kit for sampler stages: checks of the stage contract for the tests of a plugin.

.. code-block:: python

    import pytest
    from lshsample.testing import StageCase, stage_checks

    @pytest.mark.parametrize("check", stage_checks())
    def test_my_stage(check):
        check(StageCase(MyStage(3)))

As in the kit for families, checks raise AssertionError. A check that is known to fail is passed with a
reason, and must then fail: ``stage_checks({"forced_ids": "a filter for prediction, without forced ids"})``.
"""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import BiasedSampleError, LshsampleError, PipelineWarning
from lshsample.registry import make_family
from lshsample.sampling import (
    ActiveSet,
    Batch,
    Include,
    Pipeline,
    Retrieve,
    Sampler,
    SamplerStage,
    Stage,
    Uniform,
)
from lshsample.sampling import parse_pipeline as parse
from lshsample.sampling.checks import check_result
from lshsample.tables import HashTables
from lshsample.testing.outcomes import as_parameters, run_checks

__all__ = ["STAGE_CHECKS", "StageCase", "check_stage", "stage_checks"]

N_ITEMS, DIM, N_QUERIES, N_DRAWN, N_STEPS = 60, 16, 7, 12, 2000
#: Draws of the hash functions, and the minimum number of draws of a pair for a check of its rate.
N_FUNCTIONS, N_SEEN = 500, 40
#: What a stage may need.
_NEEDS = {"queries", "tables", "frequencies"}
_NEEDS_TEXT = ", ".join(map(repr, sorted(_NEEDS)))
#: Tolerance in standard errors, which a few hundred correct rates exceed with negligible probability.
_Z = 4.8


@attrs.frozen(eq=False)
class StageCase:
    """What is under test.

    Attributes
    ----------
    stage : SamplerStage
        The stage; it must fit 60 items of 16 columns, queries and tables.
    before : Pipeline
        The stages before it.
    family : str
        The family of the kit's tables, as text without dim and seed, for a stage that needs a certain one.
    """

    stage: SamplerStage
    before: Pipeline = attrs.field(factory=lambda: Retrieve() | Uniform(N_DRAWN))
    family: str = "simhash:n_hashes=4,n_tables=3,projection=gaussian"

    def sample(self, pipeline: Pipeline, *, rows: int = N_QUERIES, **options: Any) -> ActiveSet:
        """An active set of a pipeline over the items, tables, queries and forced ids of the kit."""
        queries, include = _world()[1:]
        forced = include[:rows] if pipeline.takes_include else None
        with self.accepted():
            return _bound(pipeline, self.family).sample(
                queries[:rows].copy(), include=forced, **{"threads": 1, **options}
            )

    @contextmanager
    def accepted(self) -> Iterator[None]:
        """Errors of samplers as failures, with the stage's name."""
        try:
            yield
        except LshsampleError as error:
            name = type(self.stage).__name__
            text = str(error) if name in str(error) else f"{name}: {error}"
            raise AssertionError(text) from error


@functools.cache
def _world() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Any]:
    """The items, queries near some of them, and ids to force."""
    rng = np.random.default_rng(17)
    vectors = rng.standard_normal((N_ITEMS, DIM)).astype(np.float32)
    queries = vectors[:N_QUERIES] + 0.3 * rng.standard_normal((N_QUERIES, DIM)).astype(np.float32)
    include: Any = sp.csr_array(rng.random((N_QUERIES, N_ITEMS)) < 0.05, dtype=np.float32)
    return vectors, queries, include


@functools.lru_cache(maxsize=N_FUNCTIONS + 1)
def _tables(family: str, seed: int) -> HashTables:
    """Tables of the kit's items for one draw of the hash functions, which are independent between tables."""
    return HashTables(make_family(family, dim=DIM, seed=seed), threads=1).build(_world()[0])


@functools.lru_cache(maxsize=8)
def _bound(pipeline: Pipeline, family: str) -> Sampler:
    return _bound_to(pipeline, _tables(family, 5))


def _bound_to(pipeline: Pipeline, tables: HashTables) -> Sampler:
    with warnings.catch_warnings():
        # A stage is tried in places where it has no effect, too.
        warnings.simplefilter("ignore", PipelineWarning)
        return pipeline.bind(tables=tables, frequencies=np.arange(1, N_ITEMS + 1))


def _watched(stage: SamplerStage) -> SamplerStage:
    """An equal stage, with the same name in errors, that fails if it modifies its input set or its batch."""
    cls = type(stage)
    if cls.apply is Stage.apply:
        return stage  # run by the C core, which gives it no arrays to modify

    def apply(self: SamplerStage, active: ActiveSet, batch: Batch) -> ActiveSet:
        given: dict[str, tuple[Any, ...]] = {
            "arrays of its input set": (active.indptr, active.ids, active.counts),
            "queries": (batch.queries,),
            "items": (batch.vectors, batch.state.vectors if batch.state else None),
            "ids to include": batch.include or (),
        }
        before = copy.deepcopy(given)
        result = cls.apply(self, active, batch)
        for what, arrays in given.items():
            same = (np.array_equal(old, new) for old, new in zip(before[what], arrays, strict=True))
            assert all(same), f"{stage} changes the {what}"
        return result

    names = {
        "apply": apply,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    watching = attrs.frozen(type(cls.__name__, (cls,), names))
    values = {
        field.alias or field.name: getattr(stage, field.name) for field in attrs.fields(cls) if field.init
    }
    made: SamplerStage = watching(**values)
    return made


def _check_class(stage: Any) -> None:
    """The class of a stage: frozen attrs, with a way to run, and needs that samplers know."""
    name = stage.__name__ if isinstance(stage, type) else type(stage).__name__
    assert not isinstance(stage, type), f"{name} is a class, expected an instance: StageCase({name}(...))"
    assert isinstance(stage, SamplerStage), f"{name} is not a subclass of SamplerStage"
    assert "__attrs_attrs__" in vars(type(stage)), (
        f"{name} is not a frozen attrs class: decorate it with @attrs.frozen"
    )
    runs = type(stage).apply is not Stage.apply or type(stage).call is not Stage.call
    assert runs, f"{name} lacks apply(active, batch)"
    try:
        unknown = sorted(set(stage.needs()) - _NEEDS)
    except Exception as error:
        raise AssertionError(f"{name}.needs raises {type(error).__name__}: {error}") from error
    assert not unknown, (
        f"{name}.needs returns {', '.join(map(repr, unknown))}, expected some of {_NEEDS_TEXT}"
    )


def _equal(one: ActiveSet, other: ActiveSet) -> bool:
    pairs = ((one.indptr, other.indptr), (one.ids, other.ids), (one.counts, other.counts))
    return all(np.array_equal(a, b) for a, b in pairs)


def check_spec(case: StageCase) -> None:
    """The stage is the same after conversion to text, plain data, TOML and pickle, and is hashable."""
    stage, known = case.stage, {type(case.stage).name: type(case.stage)}
    pipeline = Pipeline((stage,))
    with case.accepted():
        assert parse(str(pipeline), known) == pipeline, f"{pipeline} is parsed as another pipeline"
        assert Pipeline.from_dict(pipeline.to_dict(), known) == pipeline, "plain data makes another stage"
        assert Pipeline.from_toml(pipeline.to_toml(), known) == pipeline, "TOML makes another stage"
    assert hash(stage) == hash(attrs.evolve(stage)), "equal stages have different hash values"
    try:
        again = pickle.loads(pickle.dumps(stage))
    except Exception as error:
        raise AssertionError(f"the stage cannot be pickled: {error}") from error
    assert again == stage, "pickling changes the stage"


def check_contract(case: StageCase) -> None:
    """Ids are in range, ascending and unique in each row, at any position; the input is not modified."""
    watched = _watched(case.stage)
    for pipeline in (case.before | watched, Pipeline((watched,)), watched | Include() | Uniform(2)):
        for rows in (N_QUERIES, 1, 0):
            for pool in (False, True):
                active = case.sample(pipeline, rows=rows, pool=pool)
                with case.accepted():
                    check_result(active, 1 if pool else rows, N_ITEMS, f"the set of {pipeline}")


def check_determinism(case: StageCase) -> None:
    """Seed and step determine the set: repeated calls, and an equal stage, give the same one."""
    for pool in (False, True):
        for step in range(3):
            sets = [
                case.sample(case.before | attrs.evolve(case.stage), seed=3, step=step, pool=pool)
                for _ in range(3)
            ]
            assert all(_equal(sets[0], other) for other in sets[1:]), (
                "the same seed and step give another set: is something unseeded?"
            )


def check_threads(case: StageCase) -> None:
    """The set does not depend on the number of threads."""
    for step in range(5):
        one, *others = (case.sample(case.before | case.stage, step=step, threads=t) for t in (1, 2, 4))
        assert all(_equal(one, other) for other in others), "the set depends on the number of threads"


def check_forced_ids(case: StageCase) -> None:
    """Ids forced by ``Include`` are in the set after the stage, per row and pooled."""
    include = _world()[2]
    for pool in (False, True):
        for step in range(20):
            active = case.sample(case.before | Include() | case.stage, step=step, pool=pool)
            for row in range(N_QUERIES):
                forced = include.indices[include.indptr[row] : include.indptr[row + 1]]
                lost = np.setdiff1d(forced, active.row(0 if pool else row))
                assert not len(lost), f"the stage drops the forced ids {lost.tolist()} of row {row}"


def check_law(case: StageCase) -> None:
    """Inclusion frequencies agree with ``log_inclusion``, or the set is marked as biased.

    If the stage does not state its law, probabilities are conditional on its output. Over many steps, the
    mean of 1(id in set) / pi must be 1 for each row and id (Horvitz & Thompson 1952), and so must the mean
    over all items.
    """
    alone = case.sample(Pipeline((case.stage,)))
    if alone.is_biased:
        _check_biased(case.stage, alone)
    _check_weights(case, case.before | case.stage | Uniform(N_DRAWN))
    _check_weights(case, case.stage | Uniform(N_DRAWN))


def check_stated_law(case: StageCase) -> None:
    """The law stated by the stage's ``inclusion`` holds at any position, and twice in one pipeline.

    Checked over draws for the conditional law, and over draws of the hash functions for the marginal law.
    Pipelines in which the stage does not state a law are skipped.
    """
    stage = case.stage
    if type(stage).inclusion is Stage.inclusion:
        raise SkipTest("the stage states no law")
    pipelines = [
        Pipeline((stage,)),
        Retrieve() | stage,
        case.before | stage,
        Uniform(N_DRAWN) | stage | Uniform(N_DRAWN // 2),
        case.before | Include() | stage,
        stage | attrs.evolve(stage),
        Uniform(N_DRAWN) | stage | attrs.evolve(stage),
    ]
    for pipeline in pipelines:
        if not case.sample(pipeline).is_biased:
            _check_weights(case, pipeline, N_STEPS // 2)
        if not case.sample(pipeline, law="marginal").is_biased:
            _check_marginal_weights(case, pipeline)


def _check_weights(case: StageCase, pipeline: Pipeline, n_steps: int = N_STEPS) -> None:
    sets = (case.sample(pipeline, step=step) for step in range(n_steps))
    _check_means(sets, n_steps, str(pipeline))


def _check_marginal_weights(case: StageCase, pipeline: Pipeline) -> None:
    """Weights over many draws of the hash functions, with one sample each."""
    queries, include = _world()[1:]
    forced = include if pipeline.takes_include else None

    def drawn(seed: int) -> ActiveSet:
        with case.accepted():
            sampler = _bound_to(pipeline, _tables(case.family, seed))
            return sampler.sample(queries.copy(), include=forced, seed=seed, law="marginal", threads=1)

    _check_means(map(drawn, range(100, 100 + N_FUNCTIONS)), N_FUNCTIONS, f"{pipeline}, law='marginal'")


def _check_means(sets: Iterable[ActiveSet], n: int, what: str) -> None:
    """The mean weight of each pair that is drawn often, and of all items of a row, is 1."""
    weights, squares, seen = np.zeros((3, N_QUERIES, N_ITEMS))
    totals = np.empty((n, N_QUERIES))
    for k, active in enumerate(sets):
        inverse = np.exp(-active.log_inclusion.astype(np.float64))
        place = active.row_of_ids(), active.ids
        weights[place] += inverse
        squares[place] += inverse**2
        seen[place] += 1
        totals[k] = np.bincount(place[0], weights=inverse, minlength=N_QUERIES) / N_ITEMS
    mean = weights / n
    # If the mean is 1, squares / weights is an estimate of the mean square as well, for any number of draws.
    square = np.maximum(squares / n, squares / np.maximum(weights, 1e-300))
    width = _Z * np.sqrt(np.maximum(square - mean**2, 1 / n) / n)
    off = np.where(seen >= N_SEEN, np.abs(mean - 1) / width, 0)
    row, item = np.unravel_index(np.argmax(off), mean.shape)
    assert off[row, item] <= 1, (
        f"{what}: item {item} of row {row} is drawn {mean[row, item]:.3f} times as often as log_inclusion "
        f"says (allowed: 1 +- {width[row, item]:.3f})"
    )
    mean, width = totals.mean(axis=0), _Z * np.sqrt(np.maximum(totals.var(axis=0), 1 / n) / n)
    worst = int(np.argmax(np.abs(mean - 1) / width))
    assert abs(mean[worst] - 1) <= width[worst], (
        f"{what}: the weights of row {worst} add up to {mean[worst]:.3f} of the items (allowed: 1 +- "
        f"{width[worst]:.3f}): are there items with probability 0?"
    )


def _check_biased(stage: SamplerStage, active: ActiveSet) -> None:
    try:
        active.log_inclusion  # noqa: B018 - for its error
    except BiasedSampleError as error:
        why = str(error)
    assert type(stage).name in why, f"the error does not contain the stage: {why}"


_ALL: dict[str, Callable[[StageCase], None]] = {
    "spec": check_spec,
    "contract": check_contract,
    "determinism": check_determinism,
    "threads": check_threads,
    "forced_ids": check_forced_ids,
    "law": check_law,
    "stated_law": check_stated_law,
}


def _guarded(check: Callable[[StageCase], None]) -> Callable[[StageCase], None]:
    """A check that fails, with the reason, for what is no valid stage at all."""

    @functools.wraps(check)
    def run(case: StageCase) -> None:
        _check_class(case.stage)
        check(case)

    return run


#: Every check by name.
STAGE_CHECKS = {name: _guarded(check) for name, check in _ALL.items()}


def stage_checks(expected_failures: Mapping[str, str] | None = None) -> list[Any]:
    """The checks of a stage as pytest parameters; each value is a function of a :class:`StageCase`.

    Parameters
    ----------
    expected_failures : mapping of str to str
        Checks that the stage is known to fail, by name, each with a reason. They must fail.
    """
    return as_parameters(STAGE_CHECKS, expected_failures)


def check_stage(case: StageCase, expected_failures: Mapping[str, str] | None = None) -> dict[str, str]:
    """Run all checks on a stage, without pytest, and return their outcomes; AssertionError lists failures.

    Examples
    --------
    >>> from lshsample.sampling import ExactTop
    >>> check_stage(StageCase(ExactTop(5)))["law"]
    'passed'
    """
    return run_checks(STAGE_CHECKS, case, expected_failures)
