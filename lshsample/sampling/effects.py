"""Stages without an effect, found by leaving them out: warnings of descriptions and of new samplers."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.display import span
from lshsample.errors import PluginError
from lshsample.sampling.contract import ask, stage_label
from lshsample.sampling.expected import Expected, Population, RetrievalLaw
from lshsample.sampling.stage import Stage, Stages
from lshsample.tables import TableReader

__all__ = [
    "Probed",
    "certain_warnings",
    "certainty_key",
    "effect_warnings",
    "expected_sets",
    "probed_tables",
    "repetitions",
    "retrieval_warnings",
]

Floats = npt.NDArray[np.float64]
Probed = Mapping[int, tuple[TableReader, int]]
"""For each retrieving stage, by its position: the tables that it probes, and the buckets per table."""

#: Expected numbers of ids below it are none.
_NONE = 1e-6
#: Fraction of all items above which a retrieval hardly chooses.
_NEARLY_ALL = 0.5
#: Probabilities of one table, and factors of the number of tables (for pooled queries, whose collisions add
#: up): what holds for all of them does not depend on the data.
_ANY_CHANCE, _ANY_POOL = (0.3, 1e-6, 1 - 1e-6), (1, 32)
#: Items differ, nearer ones first, since a stage may replace some by others.
_ANY_ITEM = (1.0, 0.6, 0.3)


def probed_tables(pipeline: Stages, bound: TableReader | None) -> Probed:
    """The tables that each retrieving stage probes."""
    found = {}
    for place, stage in enumerate(pipeline):
        tables = stage.tables_of() or bound
        if tables is not None and (probes := stage.n_probes(tables.family)):
            found[place] = tables, probes
    return found


def repetitions(pipeline: Stages, probed: Probed) -> dict[int, int]:
    """For each stage that retrieves once more what an equal stage did: the position of that one."""
    found, first = {}, dict[tuple[int, Stage], int]()
    for place, (tables, _) in probed.items():
        key = id(tables), pipeline.stages[place]
        if key in first:
            found[place] = first[key]
        first.setdefault(key, place)
    return found


def expected_sets(
    stages: Sequence[tuple[int, Stage]], population: Population, included: float = 0
) -> Iterator[Expected]:
    """The expected set after each stage, given with its position in the pipeline.

    Stages without an ``expected`` of their own leave the set unchanged, but for ``included`` ids that the
    caller adds.
    """
    expected = Expected.empty(population.weights)
    for place, stage in stages:
        if stage.forces_ids and not _is_stated(stage):
            expected = expected.draw(included)
        else:
            here = attrs.evolve(population, place=place)
            expected = ask(stage, "expected", expected, here, kind=Expected)
        if not np.isfinite(expected.size):
            label = f"{stage_label(stage)}.expected"
            raise PluginError(f"{label} returned a set of {expected.size} ids, expected a finite number")
        yield expected


def _is_stated(stage: Stage) -> bool:
    return type(stage).expected is not Stage.expected


def _judged(pipeline: Stages) -> list[tuple[int, Stage]]:
    """The stages up to the first whose effect is not known."""
    judged = []
    for place, stage in enumerate(pipeline):
        if not _is_stated(stage) and not stage.forces_ids:
            break
        judged.append((place, stage))
    return judged


def _differ(one: Expected, other: Expected, counts: bool) -> bool:
    """Whether two expected sets differ, in their ids or, if ``counts``, also in their collisions."""
    a, b = one.probability[:, None], other.probability[:, None]
    if counts:
        width = max(one.inside.shape[1], other.inside.shape[1])
        a, b = (np.pad(each.inside, ((0, 0), (0, width - each.inside.shape[1]))) for each in (one, other))
    return bool(one.weights @ np.abs(a - b).sum(axis=1) > _NONE)


@attrs.frozen(eq=False)
class _Cases:
    """Populations, each with numbers of ids that the caller may include.

    What holds for all of them is looked at case by case, until one shows that it does not.
    """

    cases: list[tuple[Population, float]]
    _known: dict[tuple[int, tuple[int, ...]], list[Expected]] = attrs.field(factory=dict, init=False)

    def runs(self, stages: Sequence[tuple[int, Stage]]) -> Iterator[list[Expected]]:
        """For each case, the empty set and the expected sets after each stage."""
        places = tuple(place for place, _ in stages)
        for number, (population, included) in enumerate(self.cases):
            if (number, places) not in self._known:
                empty = Expected.empty(population.weights)
                sets = [empty, *expected_sets(stages, population, included)]
                self._known[number, places] = sets
            yield self._known[number, places]


def effect_warnings(pipeline: Stages, populations: Sequence[Population], probed: Probed) -> list[str]:
    """Warnings of stages that have no effect, or remove every id, for all of these populations.

    A stage has no effect if the expected set after the last stage is the same without it. A stage of a plugin
    without an ``expected`` method may do anything: stages after it are not judged, and those before it must
    leave the numbers of collisions unchanged as well.
    """
    kept = _judged(pipeline)
    forced = any(stage.forces_ids for _, stage in kept)
    included = (0, max(1.0, populations[0].n_items // 2)) if forced else (0,)
    cases = _Cases([(population, n) for n in included for population in populations])
    repeated = repetitions(pipeline, probed)
    removing = next((at for at in range(len(kept)) if _removes_all(at, kept, cases)), None)
    found = []
    for at in reversed(range(len(kept))):
        place, stage = kept[at]
        why: str | None
        if at == removing:
            why = _removal(at, kept, cases)
        else:
            # What is before a stage that removes every id is judged by what it leaves to that stage.
            end = removing if removing is not None and at < removing else len(kept)
            counts = end < len(pipeline)
            why = _no_effect(at, kept[:end], cases, counts=counts, repeats=place in repeated)
        if why is not None:
            found.append(f"{stage} (stage {place + 1}) {why}")
        if why is not None and why.startswith(_NO_EFFECT):
            kept = kept[:at] + kept[at + 1 :]
            removing = removing - 1 if removing is not None and at < removing else removing
    return found[::-1]


_NO_EFFECT = "has no effect"


def _no_effect(
    at: int, stages: Sequence[tuple[int, Stage]], cases: _Cases, *, counts: bool, repeats: bool
) -> str | None:
    stage, rest = stages[at][1], [*stages[:at], *stages[at + 1 :]]
    if stage.forces_ids and not _is_stated(stage):
        again = any(other == stage for _, other in stages[:at])
        return f"{_NO_EFFECT}: an equal stage before it includes the same ids" if again else None
    pairs = zip(cases.runs(stages), cases.runs(rest), strict=True)
    differs = any(_differ(a[-1], b[-1], counts) for a, b in pairs)
    if repeats:
        adds = "" if differs else "adds no ids: it "
        return f"{adds}probes the same buckets as a stage before it, and their numbers of collisions double"
    if differs:
        return None
    runs = list(cases.runs(stages))
    if any(_differ(sets[at], sets[at + 1], counts=True) for sets in runs):
        # Items of a group have different frequencies: its mean probability does not show who is drawn.
        if any("frequencies" in other.needs() for _, other in stages) and not _is_full(runs):
            return None
        return f"{_NO_EFFECT} on the result, which is the same without it"
    sizes = [sets[at].size for sets in runs]
    if max(sizes) <= _NONE:
        return f"{_NO_EFFECT}: no stage before it adds ids (a filter follows a source, such as Retrieve())"
    return f"{_NO_EFFECT}: it leaves the set before it unchanged{_ids(min(sizes), max(sizes))}"


def _is_full(runs: Sequence[Sequence[Expected]]) -> bool:
    return all(sets[-1].n_items - sets[-1].size < _NONE * sets[-1].n_items for sets in runs)


def _ids(low: float, high: float) -> str:
    """Sizes of sets, if they are of the same order."""
    return f", of about {span([low, high], ',.0f')} ids" if high < 10 * low else ""


def _removes_all(at: int, stages: Sequence[tuple[int, Stage]], cases: _Cases) -> bool:
    return all(sets[at].size > _NONE >= sets[at + 1].size for sets in cases.runs(stages))


def _removal(at: int, stages: Sequence[tuple[int, Stage]], cases: _Cases) -> str:
    held = [sets[at].weights @ sets[at].inside for sets in cases.runs(stages)]
    most = max(int(np.flatnonzero(levels > 0)[-1]) for levels in held)
    return f"removes every id: those before it collide at most {most} times with a query"


def retrieval_warnings(pipeline: Stages, populations: Sequence[Population]) -> list[str]:
    """Warnings of retrievals that find most of all items, averaged over the populations of queries."""
    found = []
    for place in populations[0].retrievals:
        shares = []
        for population in populations:
            law = population.retrievals[place]
            each = np.broadcast_to(law.chance, (len(law.chance), law.n_tables))
            missed = np.prod(1 - each, axis=1)
            shares.append(1 - population.weights @ missed / population.n_items)
        share = float(np.mean(shares))
        if share >= _NEARLY_ALL:
            found.append(
                f"{pipeline.stages[place]} (stage {place + 1}) finds {share:.0%} of all items, so that it "
                "hardly chooses: centre the vectors and the queries (subtract the mean of the vectors), or "
                "take more hashes per table (n_hashes)"
            )
    return found


def certain_warnings(
    pipeline: Stages, n_items: int, tables: TableReader | None, frequencies: Floats | None
) -> list[str]:
    """The warnings of :func:`effect_warnings` that hold for any data and queries, pooled ones included."""
    probed = probed_tables(pipeline, tables)
    repeated = repetitions(pipeline, probed)
    populations = [
        Population(
            weights=n_items / len(_ANY_ITEM) * np.ones(len(_ANY_ITEM)),
            retrievals={
                place: _any_law(reader, chance, pool, repeats=place in repeated)
                for place, (reader, _) in probed.items()
            },
            ranks=np.linspace(0, 1, 64 * len(_ANY_ITEM), endpoint=False).reshape(-1, 64),
            rank_width=1 / (64 * len(_ANY_ITEM)),
            frequencies=frequencies,
        )
        for pool in (_ANY_POOL if probed else _ANY_POOL[:1])
        for chance in (_ANY_CHANCE if probed else _ANY_CHANCE[:1])
    ]
    return effect_warnings(pipeline, populations, probed)


def certainty_key(
    pipeline: Stages, n_items: int, tables: TableReader | None, frequencies: Floats | None
) -> Hashable:
    """What :func:`certain_warnings` depends on, besides the pipeline: the tables' sizes, not their ids."""
    probed = probed_tables(pipeline, tables)
    sizes = ((place, each.family.n_tables, each.bucket_size) for place, (each, _) in probed.items())
    drawn_by = None if frequencies is None else hashlib.blake2b(frequencies.tobytes()).digest()
    return n_items, tuple(sizes), tuple(repetitions(pipeline, probed).items()), drawn_by


def _any_law(tables: TableReader, chance: float, pool: int, repeats: bool) -> RetrievalLaw:
    return RetrievalLaw(
        chance=chance * np.array(_ANY_ITEM)[:, None],
        n_tables=tables.family.n_tables * pool,
        bucket_size=tables.bucket_size,
        spread=0.0,
        exponents=np.ones(1),
        repeats=repeats,
    )
