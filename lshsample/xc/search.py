"""A search over recipes: which settings are best on training rows that are held out, by Optuna."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import metrics
from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import (
    ArgumentError,
    CheckpointError,
    DivergenceError,
    MemoryBudgetError,
    needs_extra,
)
from lshsample.files import as_path, try_lock
from lshsample.nn.network import StepReport
from lshsample.specs import checked_integer, checked_number
from lshsample.training import Callback, EpochRecord, Trainer
from lshsample.xc.classifier import Classifier
from lshsample.xc.fitting import Progress, Stage
from lshsample.xc.recipe import Recipe
from lshsample.xc.search_space import Space, default_space, value_of, with_values

__all__ = ["SearchResult", "Trial", "require_optuna", "search_recipes"]

#: Shares of a network's training after which a trial may be ended.
_RUNGS = (0.25, 0.5, 0.75)
#: Trials that are drawn at random, before the others decide; and trials that were done, before one is ended.
_AT_RANDOM, _UNPRUNED = 10, 4
#: The share of the settings of the best trial so far that the next one changes.
_CHANGED = 0.3
#: Draws of a recipe that was not tried yet.
_ATTEMPTS = 20
#: Held-out rows, at most: their P@1 has a standard error below 0.5 points.
_HELD_OUT = 10_000
#: The study, and the keys of what is stored with it and with a trial.
_STUDY, _SEARCH, _TRIAL = "lshsample", "lshsample:search", "lshsample:trial"

_MEASURES: dict[str, Callable[..., float]] = {
    "p": metrics.precision_at_k,
    "r": metrics.recall_at_k,
    "ndcg": metrics.ndcg_at_k,
    "f1": metrics.f1_at_k,
    "psp": metrics.psp_at_k,
    "psndcg": metrics.psndcg_at_k,
}


@attrs.frozen(kw_only=True)
class Trial:
    """A recipe that was tried.

    Attributes
    ----------
    number : int
        From 0 on; the first is the base recipe.
    state : str
        ``"complete"``; ``"pruned"``, ended early since its network was worse than the median of those before;
        ``"out of time"``; or ``"failed"``.
    value : float, optional
        The metric on the held-out rows, in percent; None unless it is complete.
    values : dict
        The settings that were tried, by their names; empty for the base recipe.
    measures : dict
        P@1, P@3, P@5 and the metric's measures on the held-out rows, in percent.
    parts : list of str
        The parts that helped.
    seconds : float
        Time that it took.
    reason : str
        Why it failed.
    """

    number: int
    state: str
    value: float | None = None
    values: dict[str, Any] = attrs.field(factory=dict)
    measures: dict[str, float] = attrs.field(factory=dict)
    parts: list[str] = attrs.field(factory=list)
    seconds: float = 0.0
    reason: str = ""


@attrs.frozen(kw_only=True)
class SearchResult:
    """What a search has found.

    Attributes
    ----------
    recipe : Recipe
        The best one, with what is chosen from the training rows filled in.
    trials : tuple of Trial
        All, in the order in which they were done.
    metric : str
        What was searched for.
    space : dict
        The settings that were searched.
    base_values : dict
        Their values in the base recipe; None where they are chosen later.
    """

    recipe: Recipe
    trials: tuple[Trial, ...]
    metric: str
    space: dict[str, list[Any]]
    base_values: dict[str, Any]

    @property
    def best(self) -> Trial:
        """The best trial, the first of equal ones."""
        complete = (trial for trial in self.trials if trial.value is not None)
        return max(complete, key=lambda trial: (trial.value, -trial.number))

    @property
    def seconds(self) -> float:
        """Time of all trials."""
        return sum(trial.seconds for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "metric": self.metric,
            "best": attrs.asdict(self.best),
            "base": attrs.asdict(self.trials[0]),
            "recipe": self.recipe.to_dict(),
            "space": self.space,
            "base_values": self.base_values,
            "seconds": self.seconds,
            "trials": [attrs.asdict(trial) for trial in self.trials],
        }


def require_optuna() -> None:
    """Refuse a search early if Optuna is not installed.

    Raises
    ------
    UnsupportedError
        Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise needs_extra("a search over recipes", "search", error) from error


def search_recipes(
    X: Any,
    Y: Any,
    *,
    base: Recipe | str | Mapping[str, Any] = "balanced",
    space: Mapping[str, Any] | None = None,
    max_seconds: float | None = None,
    n_trials: int | None = None,
    valid: float = 0.1,
    metric: str = "p@1",
    storage: str | PathLike[str] | None = None,
    seed: int = 0,
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    on_stage: Callable[[Stage], None] | None = None,
    on_trial: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """Search for the recipe that is best on training rows that are held out.

    Parameters
    ----------
    X : csr_array or array, shape (rows, n_features)
        Feature rows of the training data.
    Y : csr_array or array, shape (rows, n_labels)
        1 for a label, 0 for none, or lists of ids.
    base : Recipe, str or mapping
        Where the search begins: the first trial is this recipe, so that the result is not worse on the
        held-out rows. A name is one of :data:`~lshsample.xc.PRESETS`.
    space : mapping, optional
        What is changed: settings by dotted names (or sections), each with ``[low, high, "log"]``,
        ``[low, high, "linear"]`` or a list of choices. By default :func:`~lshsample.xc.default_space`.
    max_seconds : float, optional
        Time of all trials, also of those that ``storage`` has. A trial gets no more than is left of it.
    n_trials : int, optional
        Number of trials, also of those that ``storage`` has. This or ``max_seconds`` is needed.
    valid : float
        Share of the rows with labels that are held out from all trials; 10,000 rows at most.
    metric : str
        ``"p@1"``, ``"psp@3"``, ``"ndcg@5"`` and so on (:data:`lshsample.metrics.MEASURES`), or several, whose
        mean counts: ``"p@1,p@5"``.
    storage : path, optional
        Journal file of Optuna. A search that was ended, in whatever way, continues from it with the same
        arguments; ``max_seconds`` and ``n_trials`` may be larger then.
    seed : int
        Determines the rows that are held out, and what is tried.
    threads : int, optional
        Number of threads; trials do not depend on it.
    callbacks, progress, on_stage
        As for :meth:`Classifier.fit <lshsample.xc.Classifier.fit>`, for all trials.
    on_trial : callable, optional
        Called after each trial with the result so far.

    Returns
    -------
    SearchResult

    Raises
    ------
    ArgumentError
        Bad data, settings or space; a ``storage`` of a search of other data or arguments, or that another
        process uses; or ``max_seconds`` too short for the base recipe.
    CheckpointError
        If ``storage`` is no journal of a search.
    UnsupportedError
        Optuna is not installed.
    Interrupted
        A signal ended the training of a network; ``storage`` has the trials before.

    Notes
    -----
    A trial has the settings of the best one so far, but for about a third of them, which are drawn anew: at
    random, and after ten trials by a tree-structured Parzen estimator (Bergstra et al., NIPS 2011). No recipe
    is tried twice; a search ends when it finds no other. If ``metric`` is P@k, a trial ends after a quarter,
    half or three quarters of the training of its first network, if the P@1 there is below the median of the
    trials before at the same place. Trials are not trained again on all rows (``refit``). Without
    ``max_seconds`` the result depends on the arguments alone, also if the search was interrupted and
    continued.

    The value of the best of many trials is higher than what it will be on other rows, since the held-out rows
    have chosen it.

    Cost: a trial takes as long as a fit of its recipe.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> rng = np.random.default_rng(0)
    >>> x = sp.random_array((300, 40), density=0.2, rng=rng, format="csr")
    >>> y = sp.csr_array((x @ sp.eye_array(40, 10)).toarray() > 0.6)
    >>> found = search_recipes(x, y, base="fast", space={"linear.c": [0.1, 10, "log"]}, n_trials=3, threads=1)
    >>> len(found.trials), found.best.value >= found.trials[0].value
    (3, True)
    """
    require_optuna()
    base = Recipe.of(base)
    base.check_classifier()
    if max_seconds is None and n_trials is None:
        raise ArgumentError("max_seconds", "nothing, as n_trials", "given, or n_trials")
    seconds = math.inf
    if max_seconds is not None:
        seconds = checked_number("max_seconds", max_seconds, 0, np.inf, open_low=True)
    most = math.inf if n_trials is None else checked_integer("n_trials", n_trials, 1)
    valid = float(checked_number("valid", valid, 0, 1, open_low=True, open_high=True))
    seed = checked_integer("seed", seed, 0, 2**63 - 1)
    rows: Any = core.feature_rows(X, "X")
    labels: Any = label_rows(Y, "Y", None, rows.shape[0])
    wanted = _Metric.parse(metric, labels.shape[1])
    resolved = base.resolve(rows, labels)
    searched = Space.of(default_space(resolved, labels.shape[1]) if space is None else space)
    searched.check(base)
    held, kept = _split(labels, valid, seed)
    trying = _Trying(
        base=base,
        base_values={name: value_of(resolved, name) for name in searched.settings},
        space=searched,
        rows=rows,
        labels=labels,
        held=held,
        kept=kept,
        metric=wanted,
        threads=threads,
        callbacks=callbacks,
        progress=progress,
        on_stage=on_stage,
    )
    identity = {
        "data": _fingerprint(rows, labels),
        "valid": valid,
        "metric": metric,
        "seed": seed,
        "base": resolved.to_dict(),
        "space": searched.to_dict(),
    }
    with _study(storage, identity) as study:
        while len(trials := _trials(study)) < most:
            left = seconds - sum(trial.seconds for trial in trials)
            if left <= 0 or (trials and left < min(t.seconds for t in trials if t.state == "complete")):
                break
            if not trying.run(study, trials, left, seed):
                break
            if on_trial is not None:
                on_trial(trying.result(_trials(study), metric))
        return trying.result(_trials(study), metric)


@attrs.frozen
class _Metric:
    """Measures whose mean is searched for."""

    names: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: Any, n_labels: int) -> _Metric:
        names = []
        for one in str(text).split(","):
            name, _, number = one.strip().lower().partition("@")
            if name not in _MEASURES or not number.isdecimal() or not 1 <= int(number) <= n_labels:
                allowed = (
                    f"one or more of {', '.join(_MEASURES)} with a number from 1 to {n_labels}, the number "
                    "of labels, such as 'p@1' or 'p@1,p@5'"
                )
                raise ArgumentError("metric", repr(text), allowed)
            names.append((name, int(number)))
        return cls(tuple(names))

    @property
    def is_precision(self) -> bool:
        return all(name == "p" for name, _ in self.names)

    def measure(
        self, found: npt.NDArray[np.int32], truth: Any, trained: Any
    ) -> tuple[float, dict[str, float]]:
        """The value, and all measures, in percent."""
        usual = [("p", k) for k in (1, 3, 5) if k <= truth.shape[1]]
        propensity = metrics.propensities(trained)
        measures = {}
        for name, k in dict.fromkeys((*usual, *self.names)):
            more = {"propensity": propensity} if metrics.MEASURES[name] else {}
            measures[f"{name}@{k}"] = 100.0 * float(_MEASURES[name](found, truth, k=k, **more))
        return float(np.mean([measures[f"{name}@{k}"] for name, k in self.names])), measures


def _split(labels: Any, valid: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows with labels that are held out, and all others."""
    with_labels = np.flatnonzero(np.diff(labels.indptr))
    count = min(round(valid * len(with_labels)), _HELD_OUT)
    if count < 1 or len(with_labels) - count < 2:
        given = f"{valid:g} of {len(with_labels)} rows with labels"
        raise ArgumentError("valid", given, "a share with at least one of them, which leaves two")
    held = np.sort(np.random.default_rng((seed, len(with_labels))).choice(with_labels, count, replace=False))
    return held, np.setdiff1d(np.arange(labels.shape[0]), held)


def _fingerprint(*matrices: Any) -> str:
    digest = hashlib.sha256()
    for matrix in matrices:
        digest.update(repr(matrix.shape).encode())
        digest.update(matrix.indptr.astype(np.int64).tobytes())
        digest.update(matrix.indices.astype(np.int64).tobytes())
        digest.update(np.ascontiguousarray(matrix.data, np.float32).tobytes())
    return digest.hexdigest()


# Studies of Optuna.


@contextmanager
def _study(storage: str | PathLike[str] | None, identity: dict[str, Any]) -> Iterator[Any]:
    """A study in memory, or in a file that no other process uses meanwhile."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if storage is None:
            yield _opened(None, identity, "a new study")
        else:
            path = as_path(storage, "storage")
            with path.open("ab") as file:
                if not try_lock(file.fileno()):
                    raise ArgumentError("storage", path, "a file that no other search uses")
                try:
                    journal = JournalStorage(JournalFileBackend(str(path)))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise CheckpointError(f"{path}: not the journal of a search ({error})") from error
                yield _opened(journal, identity, str(path))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _opened(storage: Any, identity: dict[str, Any], where: str) -> Any:
    """A new study, or that of the same search, without its unfinished trial."""
    import optuna

    options: dict[str, Any] = {
        "storage": storage,
        "study_name": _STUDY,
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED),
    }
    if storage is not None and _STUDY in optuna.get_all_study_names(storage):
        study = optuna.load_study(**options)
    else:
        study = optuna.create_study(direction="maximize", **options)
    known = study.user_attrs.get(_SEARCH)
    if known is None:
        study.set_user_attr(_SEARCH, identity)
    else:
        for name, value in identity.items():
            if known.get(name) != value:
                given = f"{where}, of a search with other {name}"
                raise ArgumentError("storage", given, "that of the same search, or a new file")
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _trials(study: Any) -> list[Trial]:
    """The trials that ended by themselves."""
    ended = [
        trial.user_attrs[_TRIAL]
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and _TRIAL in trial.user_attrs
    ]
    return [Trial(**{**data, "number": number}) for number, data in enumerate(ended)]


# Trials.


class _OutOfTimeError(Exception):
    """The time of the search has passed."""


class _PrunedError(Exception):
    """The network is worse than others were."""


class _Watch(Callback):
    """Ends a trial when its time has passed, or when its first network is worse than others were."""

    def __init__(self, until: float, is_worse: Callable[[float, int], bool] | None) -> None:
        self._until, self._is_worse = until, is_worse
        self._total: int | None = None
        self._networks = 0
        self._rungs = list(_RUNGS)
        #: P@1 of the first network in percent, by the percent of its training.
        self.reached: dict[int, float] = {}

    def check_time(self) -> None:
        if time.perf_counter() > self._until:
            raise _OutOfTimeError

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        self._networks, self._total = self._networks + 1, steps_total

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> None:
        self.check_time()

    def on_epoch(self, record: EpochRecord) -> None:
        if self._networks != 1 or self._total is None or "p@1" not in record.validation:
            return
        done = [rung for rung in self._rungs if record.step >= rung * self._total]
        self._rungs = self._rungs[len(done) :]
        if done and record.step < self._total:
            value, percent = record.validation["p@1"], round(100 * done[-1])
            self.reached[percent] = value
            if self._is_worse is not None and self._is_worse(value, percent):
                raise _PrunedError


@attrs.define(kw_only=True)
class _Trying:
    """Tries recipes on the rows that are not held out."""

    base: Recipe
    base_values: dict[str, Any]
    space: Space
    rows: Any
    labels: Any
    held: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    metric: _Metric
    threads: int | None
    callbacks: Sequence[Callback]
    progress: Progress | None
    on_stage: Callable[[Stage], None] | None

    def result(self, trials: Sequence[Trial], metric: str) -> SearchResult:
        found = SearchResult(
            recipe=self.base,
            trials=tuple(trials),
            metric=metric,
            space=self.space.to_dict(),
            base_values=self.base_values,
        )
        return attrs.evolve(found, recipe=self._recipe(found.best.values))

    def run(self, study: Any, trials: Sequence[Trial], seconds: float, seed: int) -> bool:
        """Try one more recipe, the base recipe first, and store how it was; False if there is no other."""
        import optuna

        states = optuna.trial.TrialState
        if not trials:
            self._run_base(study, seconds)
            return True
        known = [self.base_values, *(trial.values for trial in trials)]
        for attempt in range(_ATTEMPTS):
            asked = self._asked(study, np.random.SeedSequence((seed, len(trials), attempt)))
            values = {name: setting.suggest(asked, name) for name, setting in self.space.settings.items()}
            if values not in known:
                break
            study.tell(asked, state=states.FAIL)
        else:
            return False

        def is_worse(value: float, percent: int) -> bool:
            asked.report(value, percent)
            return bool(asked.should_prune())

        watch = _Watch(time.perf_counter() + seconds, is_worse if self.metric.is_precision else None)
        try:
            trial = self._tried(len(trials), values, watch)
        except BaseException:
            study.tell(asked, state=states.FAIL)
            raise
        asked.set_user_attr(_TRIAL, attrs.asdict(trial))
        if trial.state == "pruned":
            study.tell(asked, state=states.PRUNED)
        elif trial.value is None:
            study.tell(asked, state=states.FAIL)
        else:
            study.tell(asked, trial.value)
        return True

    def _asked(self, study: Any, seed: np.random.SeedSequence) -> Any:
        """A new trial: that of a generator of its own, so that a continued search draws the same."""
        import optuna

        of_sampler, of_change = seed.spawn(2)
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_AT_RANDOM, seed=int(of_sampler.generate_state(1)[0])
        )
        waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        if not waiting:  # else a search was killed here
            study.enqueue_trial(self._kept(study.best_trial.params, np.random.default_rng(of_change)))
        return study.ask()

    def _kept(self, best: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The settings of the best trial that the next one has too: all but a few, which are drawn anew."""
        names = list(self.space.settings)
        drawn = rng.random(len(names)) < _CHANGED
        drawn[rng.integers(len(names))] = True
        return {name: best[name] for name, new in zip(names, drawn, strict=True) if not new and name in best}

    def _run_base(self, study: Any, seconds: float) -> None:
        """Try the base recipe, whose values may be outside of the space or not set."""
        import optuna

        watch = _Watch(time.perf_counter() + seconds, None)
        trial = self._tried(0, {}, watch)
        if trial.state == "out of time":
            wanted = "at least the time of the base recipe"
            raise ArgumentError("max_seconds", f"{seconds:g}, which has passed", wanted)
        at_base = {
            name: setting.known(self.base_values[name]) for name, setting in self.space.settings.items()
        }
        known = {name: at for name, at in at_base.items() if at is not None}
        study.add_trial(
            optuna.trial.create_trial(
                value=trial.value,
                params={name: at[0] for name, at in known.items()},
                distributions={name: at[1] for name, at in known.items()},
                intermediate_values=watch.reached,
                user_attrs={_TRIAL: attrs.asdict(trial)},
            )
        )

    def _recipe(self, values: Mapping[str, Any]) -> Recipe:
        """A recipe of the space, with the rest chosen for all rows."""
        return with_values(self.base, values).resolve(self.rows, self.labels)

    def _tried(self, number: int, values: dict[str, Any], watch: _Watch) -> Trial:
        """How good a recipe is; the errors of the base recipe are raised, others are failures."""
        began = time.perf_counter()

        def ended(state: str, **more: Any) -> Trial:
            took = time.perf_counter() - began
            return Trial(number=number, state=state, values=values, seconds=took, **more)

        try:
            classifier = self._fitted(values, watch)
        except _PrunedError:
            return ended("pruned")
        except _OutOfTimeError:
            return ended("out of time")
        except (ArgumentError, DivergenceError, MemoryBudgetError) as error:
            if number == 0:
                raise
            return ended("failed", reason=str(error))
        trained, truth = self.labels[self.kept], self.labels[self.held]
        top = min(max(5, *(k for _, k in self.metric.names)), truth.shape[1])
        found, _ = classifier.predict(self.rows[self.held], top, threads=self.threads)
        value, measures = self.metric.measure(found, truth, trained)
        return ended("complete", value=value, measures=measures, parts=list(classifier.mixture.parts))

    def _fitted(self, values: Mapping[str, Any], watch: _Watch) -> Classifier:
        # A fit on all of its rows again would be better by the same for all trials, at twice the cost.
        recipe = attrs.evolve(self._recipe(values), refit=False)

        def progress(what: str, done: int, total: int) -> None:
            if done < total:
                watch.check_time()
            if self.progress is not None:
                self.progress(what, done, total)

        def on_stage(stage: Stage) -> None:
            watch.check_time()
            if self.on_stage is not None:
                self.on_stage(stage)

        return Classifier.fit(
            self.rows[self.kept],
            self.labels[self.kept],
            recipe,
            threads=self.threads,
            callbacks=[watch, *self.callbacks],
            progress=progress,
            on_stage=on_stage,
        )
