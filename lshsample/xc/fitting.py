"""How a classifier is fitted: its parts, their mixture on held-out rows, and the parts again on all rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.errors import CheckpointError
from lshsample.metrics import precision_at_k
from lshsample.nn import Network
from lshsample.nn.bundle import MANIFEST
from lshsample.training import Callback, History, Trainer
from lshsample.xc.linear import LinearModel
from lshsample.xc.mixture import Mixture, Scored
from lshsample.xc.neighbours import RowNeighbours
from lshsample.xc.pairs import FeaturePairs
from lshsample.xc.parts import HiddenPart, LinearPart, NetworkPart, Part, Queries, RowsPart
from lshsample.xc.recipe import Recipe
from lshsample.xc.thresholds import Thresholds
from lshsample.xc.votes import LabelVotes

__all__ = [
    "Fit",
    "Interrupted",
    "Judge",
    "Mixed",
    "Progress",
    "Reporting",
    "Stage",
    "finished",
    "made_trainer",
]

#: The share of held-out rows up to which the parts are not trained again.
_SMALL_SHARE = 0.02
#: Share of a limited time that is left for the mixture and for what is built from the networks.
_RESERVE = 0.2
#: Share of a limited time below which no network is trained.
_NETWORK = 0.3
#: The linear path with pairs of features takes up to as many times as long as without, with finding them.
_PAIRED = 4.0
#: A part is trained again in a limited time if as many times as long as it took are left.
_AGAIN = 1.2

_log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]


@attrs.frozen
class Stage:
    """A part that is ready.

    Attributes
    ----------
    name : str
        ``"rows"``, ``"linear"``, ``"network"``, ``"hidden"``, or ``"mixture"`` for all of them.
    seconds : float
        Time since the beginning of the fit.
    took : float
        Seconds that the stage took.
    measures : dict
        P@k on the held-out rows, in percent; empty for the parts that are trained again on all rows.
    """

    name: str
    seconds: float
    took: float
    measures: dict[str, float]

    def line(self) -> str:
        """The stage as a line of text."""
        figures = "  ".join(f"{key.upper()} {value:.2f}" for key, value in self.measures.items())
        return f"{self.name:9} {self.seconds:7.1f} s  {figures or 'on all rows'}"


class Interrupted(Exception):
    """A signal ended the training of a network; the run can be continued."""

    def __init__(self, history: History) -> None:
        super().__init__(history.stopped)
        self.history = history


class _OutOfTimeError(Exception):
    """The time of a part has passed."""


@attrs.define(kw_only=True)
class Reporting:
    """What every fit tells of its stages.

    Attributes
    ----------
    recipe : Recipe
        Resolved for the rows.
    threads : int
    on_stage : callable, optional
        Called with each stage that is done.
    began : float
        A time of ``time.perf_counter``.
    stages : list of Stage
        What has been done.
    histories : list of History
        Of the networks.
    """

    recipe: Recipe
    threads: int
    on_stage: Callable[[Stage], None] | None = None
    began: float = attrs.field(factory=time.perf_counter)
    stages: list[Stage] = attrs.field(factory=list)
    histories: list[History] = attrs.field(factory=list)

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    def report(self, name: str, since: float, measures: dict[str, float]) -> None:
        """Say that a stage is done."""
        stage = Stage(name, self.elapsed(), self.elapsed() - since, measures)
        self.stages.append(stage)
        if self.on_stage is not None:
            self.on_stage(stage)


@attrs.define(kw_only=True)
class Fit(Reporting):
    """A fit of a classifier; :meth:`run` does it.

    Attributes
    ----------
    rows : Queries
        All training rows.
    labels : csr_array, shape (rows, n_labels)
    max_seconds, callbacks, checkpoint, checkpoint_seconds, curve_rows, progress
        See :meth:`Classifier.fit <lshsample.xc.Classifier.fit>`.
    """

    rows: Queries
    labels: sp.csr_array
    max_seconds: float | None = None
    callbacks: Sequence[Callback] = ()
    checkpoint: Path | None = None
    checkpoint_seconds: float = 300.0
    curve_rows: int = 0
    progress: Progress | None = None

    def run(self) -> tuple[dict[str, Part], Mixed]:
        """The parts that help, and their mixture."""
        held, kept = self._split()
        refit = self.recipe.refit and len(held) > _SMALL_SHARE * (len(held) + len(kept))
        trained = self.labels[kept]
        counts = np.bincount(trained.indices, minlength=trained.shape[1])
        judge = Judge(self, self.rows[held], self.labels[held], counts)
        parts = self._parts(self.rows[kept], trained, judge, refit)
        mixed = judge.mixed(self.labels.shape[0])
        names = mixed.mixture.parts
        needed = {*names, *(("network",) if "hidden" in names else ())}
        parts = {name: part for name, part in parts.items() if name in needed}
        if refit:
            parts |= self._refitted(parts)
        return parts, mixed

    def _split(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows that are held out, which have labels, and the others."""
        with_labels = np.flatnonzero(np.diff(self.labels.indptr))
        count = self.recipe.n_held_out(len(with_labels))
        rng = np.random.default_rng((self.recipe.seed, self.labels.shape[0]))
        held = np.sort(rng.choice(with_labels, count, replace=False))
        return held, np.setdiff1d(np.arange(self.labels.shape[0]), held)

    def _parts(self, rows: Queries, labels: sp.csr_array, judge: Judge, refit: bool) -> dict[str, Part]:
        """All parts of the recipe that the time allows, measured by the judge."""
        recipe, parts = self.recipe, dict[str, Part]()
        of = () if recipe.neighbours is None else recipe.neighbours.of
        if "rows" in of:
            since = self.elapsed()
            index = self._rows_index(rows)
            parts["rows"] = judge.heard(RowsPart(index, self._votes(index, labels, judge, None)), since)
        if recipe.linear is not None:
            limit = self.left()
            if not parts and recipe.network is None:
                limit = np.inf  # without it there is nothing
            try:
                since, linear = self._linear_in_time(rows, labels, limit, refit)
                parts["linear"] = judge.heard(linear, since)
            except _OutOfTimeError:
                _log.info("linear    left out: it takes too long")
        if recipe.network is not None and self._pays(parts, refit):
            since = self.elapsed()
            limit = self.left() - (_AGAIN * since if refit else 0.0)
            networks = []
            for number in range(1 if refit else recipe.n_networks):
                share = limit - (self.elapsed() - since)
                share /= 1 if refit else recipe.n_networks - number
                networks.append(self._network(rows, labels, number, share, "held-out", judge))
            network = NetworkPart(networks, recipe.storage)
            network.round()
            network.normalize(rows, recipe.candidates)
            parts["network"] = judge.heard(network, since)
            if recipe.neighbours is not None and "hidden" in of:
                since = self.elapsed()
                first, recall = networks[0], recipe.neighbours.recall
                index = HiddenPart.index_of(first, rows, recall, self.threads)
                votes = self._votes(index, labels, judge, first)
                parts["hidden"] = judge.heard(HiddenPart(first, rows.raw, index, votes, recall), since)
        return parts

    def _refitted(self, parts: dict[str, Part]) -> dict[str, Part]:
        """The parts that can be trained on all rows in the time that is left."""
        rows, labels, new = self.rows, self.labels, dict[str, Part]()
        took = {stage.name: stage.took for stage in self.stages}
        by_rows, linear, network, hidden = (parts.get(n) for n in ("rows", "linear", "network", "hidden"))
        if isinstance(by_rows, RowsPart) and self._has_time(took["rows"]):
            since = self.elapsed()
            new["rows"] = RowsPart(self._rows_index(rows), LabelVotes(labels, by_rows.votes.voting))
            self.report("rows", since, {})
        if isinstance(linear, LinearPart) and self._has_time(took["linear"]):
            since = self.elapsed()
            new["linear"] = self._linear(rows, labels, np.inf, linear.pairs is not None)
            self.report("linear", since, {})
        if isinstance(network, NetworkPart):
            networks = self._networks(network.networks[0], took["network"])
            whole = NetworkPart(networks, self.recipe.storage)
            whole.round()
            whole.normalize(rows, self.recipe.candidates)
            new["network"] = whole
            if isinstance(hidden, HiddenPart) and networks[0] is not network.networks[0]:
                since = self.elapsed()
                index = HiddenPart.index_of(networks[0], rows, hidden.recall, self.threads)
                votes = LabelVotes(labels, hidden.votes.voting)
                new["hidden"] = HiddenPart(networks[0], rows.raw, index, votes, hidden.recall)
                self.report("hidden", since, {})
        return new

    def _networks(self, first: Network, took: float) -> list[Network]:
        """Networks trained on all rows, as far as there is time; with several, ``first`` is one of them."""
        count = self.recipe.n_networks
        fresh, networks = max(count - 1, 1), list[Network]()
        for number in range(1, fresh + 1):
            if not self._has_time(took):
                break
            since = self.elapsed()
            share = self.left() / (fresh + 1 - number)
            networks.append(self._network(self.rows, self.labels, number, share, "network"))
            self.report("network", since, {})
        return [*networks, first] if count > 1 or not networks else networks

    # Time.

    def left(self) -> float:
        """Seconds that are left for training; infinite without a limit."""
        if self.max_seconds is None:
            return np.inf
        return self.max_seconds * (1.0 - _RESERVE) - self.elapsed()

    def _has_time(self, seconds: float) -> bool:
        return self.left() > _AGAIN * seconds

    def _pays(self, parts: dict[str, Part], refit: bool) -> bool:
        """Whether there is time for a network."""
        if self.max_seconds is None or not parts:
            return True
        again = _AGAIN * self.elapsed() if refit else 0.0
        return self.left() - again > _NETWORK * self.max_seconds

    def _telling(self, what: str, seconds: float) -> Callable[[int, int], None] | None:
        """What tells how much of something is done, and ends it when its time has passed."""
        tell, until = self.progress, self.elapsed() + seconds
        if tell is None and not np.isfinite(seconds):
            return None

        def told(done: int, total: int) -> None:
            if self.elapsed() > until and done < total:
                raise _OutOfTimeError
            if tell is not None:
                tell(what, done, total)

        return told

    # The parts.

    def _rows_index(self, rows: Queries) -> RowNeighbours:
        return RowNeighbours.build(rows.weighted, seed=self.recipe.seed, threads=self.threads)

    def _votes(
        self, index: RowNeighbours, labels: sp.csr_array, judge: Judge, network: Network | None
    ) -> LabelVotes:
        """How the neighbours vote, chosen on the held-out rows."""
        assert self.recipe.neighbours is not None
        queries = judge.queries.weighted if network is None else judge.queries.hidden(network)
        found = index.search(queries, self.recipe.neighbours.k, threads=self.threads)
        return LabelVotes.fit(labels, *found, judge.truth)

    def _linear_in_time(
        self, rows: Queries, labels: sp.csr_array, seconds: float, refit: bool
    ) -> tuple[float, LinearPart]:
        """The linear path, and when its training began: in a limited time without pairs of features first."""
        since = self.elapsed()
        if self.max_seconds is None:
            return since, self._linear(rows, labels, seconds, True)
        alone = self._linear(rows, labels, seconds, False)
        took, again = self.elapsed() - since, self.elapsed()
        assert self.recipe.linear is not None
        if not self.recipe.linear.pairs or self.left() < _PAIRED * took * (2 if refit else 1):
            return since, alone
        try:
            return again, self._linear(rows, labels, self.left(), True)
        except _OutOfTimeError:
            return since, alone

    def _linear(self, rows: Queries, labels: sp.csr_array, seconds: float, with_pairs: bool) -> LinearPart:
        assert self.recipe.linear is not None
        chosen, pairs = self.recipe.linear, None
        if chosen.pairs and with_pairs:
            pairs = FeaturePairs.of(rows.weighted, chosen.pairs)
        model = LinearModel.fit(
            rows.weighted if pairs is None else pairs(rows.weighted),
            labels,
            c=chosen.c,
            n_trees=chosen.n_trees,
            prune=chosen.prune,
            seed=self.recipe.seed,
            threads=self.threads,
            progress=self._telling("training the linear path", seconds),
        )
        return LinearPart([model], chosen.beam, pairs)

    def _network(
        self,
        rows: Queries,
        labels: sp.csr_array,
        number: int,
        seconds: float,
        name: str,
        judge: Judge | None = None,
    ) -> Network:
        """Train one network; raises :class:`Interrupted` if a signal ended it."""
        assert self.recipe.network is not None
        config = attrs.evolve(self.recipe.network, seed=self.recipe.seed + number)
        run: dict[str, Any] = {"threads": self.threads, "callbacks": self.callbacks}
        run["checkpoint_seconds"] = self.checkpoint_seconds
        if np.isfinite(seconds):
            run["max_seconds"] = max(seconds, 0.01)
        place = None if self.checkpoint is None else self.checkpoint / f"{name}-{number}"
        if judge is not None:
            run["curve_rows"] = self.curve_rows
        trainer = made_trainer(config, rows.raw.shape[1], labels.shape[1], place, **run)
        validation = None if judge is None else (judge.queries.raw, judge.truth)
        return finished(trainer, trainer.fit(rows.raw, labels, validation=validation), self.histories)


def made_trainer(
    config: TrainConfig, n_features: int, n_labels: int, place: Path | None, **run: Any
) -> Trainer:
    """The trainer of a network, which continues from the checkpoint of a place if there is one."""
    network = build_network(config, n_features, n_labels)
    trainer = build_trainer(config, network, checkpoint=place, **run)
    if place is not None and (place / MANIFEST).exists():
        before = Trainer.resume(place, **run)
        if (before.settings, before.network.spec) != (trainer.settings, network.spec):
            raise CheckpointError(f"{place}: the checkpoint of a network of another recipe or other data")
        trainer = before
    trainer.validation_name = "held-out"
    return trainer


def finished(trainer: Trainer, history: History, histories: list[History]) -> Network:
    """The network of a run, whose history is kept; raises :class:`Interrupted` if a signal ended it."""
    histories.append(history)
    if history.stopped.startswith("SIG"):
        raise Interrupted(history)
    return trainer.network.in_float32()


@attrs.frozen
class Mixed:
    """What held-out rows say of parts.

    Attributes
    ----------
    mixture : Mixture
    thresholds : Thresholds
        Of its probabilities.
    independent : Mixture
        Of values that do not depend on the other labels of a row.
    """

    mixture: Mixture
    thresholds: Thresholds
    independent: Mixture


@attrs.define
class Judge:
    """Measures parts on the held-out rows, and keeps what they say of them for the mixture.

    Attributes
    ----------
    fit : Reporting
        What is told of the parts.
    queries, truth : Queries and csr_array
        The held-out rows, and their labels.
    counts : (n_labels,) integers
        The number of training rows of each label.
    parts, scored : dict
        The parts, and what each says.
    """

    fit: Reporting
    queries: Queries
    truth: sp.csr_array
    counts: npt.NDArray[np.int64]
    parts: dict[str, Part] = attrs.field(factory=dict)
    scored: dict[str, Scored] = attrs.field(factory=dict)

    def mixed(self, n_rows: int) -> Mixed:
        """The mixture of the parts, for so many training rows."""
        since, recipe = self.fit.elapsed(), self.fit.recipe
        mixture = Mixture.fit(self.scored, self.truth, self.counts)
        mixture = attrs.evolve(mixture, tail=recipe.tail, n_rows=n_rows)
        alone = {
            name: self.parts[name].made_independent(self.queries, self.scored[name]) for name in self.parts
        }
        independent = Mixture.fit(alone, self.truth, self.counts, parts=mixture.parts, relative=False)
        independent = attrs.evolve(independent, tail=recipe.tail, n_rows=n_rows)
        width = min(recipe.candidates, self.truth.shape[1])
        found = mixture.predict(self.scored, self.counts, width, threads=self.fit.threads)
        thresholds = Thresholds.fit(*found, self.truth, self.truth.shape[1])
        self.measure("mixture", found, since)
        return Mixed(mixture, thresholds, independent)

    @property
    def top(self) -> int:
        """The labels by which parts are measured, at most."""
        return min(5, self.truth.shape[1])

    def heard(self, part: Any, since: float) -> Any:
        """The part, after it was measured."""
        scored = part.top_k(self.queries, self.fit.recipe.candidates)
        self.parts[part.name], self.scored[part.name] = part, scored
        self.measure(part.name, scored, since)
        return part

    def measure(self, name: str, scored: Scored, since: float) -> None:
        """Report the precision of what was said."""
        found = scored[0]
        if found.shape[1] < self.top:
            found = np.pad(found, ((0, 0), (0, self.top - found.shape[1])), constant_values=-1)
        tops = [k for k in (1, 3, 5) if k <= self.top]
        measures = {f"p@{k}": 100.0 * float(precision_at_k(found, self.truth, k)) for k in tops}
        self.fit.report(name, since, measures)
