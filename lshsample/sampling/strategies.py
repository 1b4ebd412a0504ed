"""Strategies that update tables of changing vectors: rebuild at once, in slices or in the background; move
changed vectors.

A :class:`Strategy` is a frozen value that a spec can hold. The :class:`Maintenance` that it starts holds the
tables of one sampler, and the state of the strategy between calls.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from threading import Thread
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError, did_you_mean
from lshsample.family import Codes, HashFamily, Rows
from lshsample.sampling.functions import FunctionSequence
from lshsample.tables import HashTables
from lshsample.tables.sliced import SlicedBuild

__all__ = [
    "STRATEGIES",
    "Background",
    "BackgroundBuild",
    "Drift",
    "Maintenance",
    "Rebuild",
    "Sliced",
    "Strategy",
]

#: Vectors that are moved at a time; their rows are copied.
_MOVED_AT_ONCE = 16384


class Maintenance(ABC):
    """The tables of one sampler, updated by a strategy.

    A subclass implements :meth:`advance`, and overrides the methods for the state that it keeps.

    Parameters
    ----------
    functions : FunctionSequence
        The hash functions of each build.
    n_vectors : int
        Number of vectors.

    Attributes
    ----------
    tables : HashTables or None
        The current tables; None before the first build.
    n_builds : int
        Number of the build that the tables are up to date with, from 1; 0 before the first.
    """

    def __init__(self, functions: FunctionSequence, n_vectors: int) -> None:
        self.functions, self.n_vectors = functions, n_vectors
        self.tables: HashTables | None = None
        self.n_builds = 0

    def refresh(
        self, vectors: Rows, due: int, threads: int | None, *, step: int = 0, next_due: int = 1
    ) -> None:
        """Update the tables if a build is due.

        Parameters
        ----------
        vectors : (n_vectors, dim) rows
            The current vectors.
        due : int
            Number of builds due so far, the first one included.
        threads : int, optional
            Number of threads of a build.
        step, next_due : int
            Steps done so far, and after which the next build is due.
        """
        if self.n_builds >= due:
            return
        if self.tables is None:
            self.rebuild(vectors, due, threads)
        else:
            self.advance(vectors, due, threads)

    @abstractmethod
    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        """Update ``tables``, which exist, to build number ``due``.

        Sets ``n_builds`` when that is done, which may be later.
        """

    def rebuild(self, vectors: Rows, number: int, threads: int | None) -> None:
        """Build new tables. The old ones are freed before, so that memory never holds both."""
        self.tables = None
        self.tables = self.built(vectors, number, threads)
        self.n_builds = number

    def built(self, vectors: Rows, number: int, threads: int | None) -> HashTables:
        """New tables over the given vectors with the functions of a build; ``tables`` is not changed."""
        return HashTables(self.family(number), threads=threads).build(vectors)

    def family(self, number: int) -> HashFamily:
        """The hash functions of a build, counted from 1."""
        return self.functions.family(max(number - 1, 0))

    def touched(self, ids: npt.NDArray[np.integer[Any]] | None) -> None:  # noqa: B027
        """Record that the vectors of these ids (None: all) may have changed."""

    def settle(self) -> None:  # noqa: B027
        """Wait for builds in the background that have started."""

    def forget(self) -> None:
        """Reset to the state before the first build."""
        self.tables, self.n_builds = None, 0

    def state(self) -> dict[str, Any]:
        """The state of the strategy besides the tables, as plain data."""
        return {}

    def next_codes(self) -> Codes | None:
        """Codes (rows, n_tables) of the next tables that are saved with the present ones; None for none."""
        return None

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        """Restore saved tables and the state that :meth:`state` returned with them.

        What :meth:`next_codes` returned is added to the state, under its name.
        """
        self.tables, self.n_builds = tables, n_builds


@attrs.frozen
class Strategy(ABC):
    """How tables are updated: base class of :class:`Rebuild`, :class:`Sliced`, :class:`Drift` and
    :class:`Background`.

    A custom strategy is a frozen attrs subclass that implements :meth:`start`; pass an instance to
    :class:`Rehash`. To save specs that contain it, add its class to ``STRATEGIES`` under a name.
    """

    #: Whether samples depend on timing; otherwise they are the same bits for any number of threads.
    is_asynchronous: ClassVar[bool] = False
    #: Whether all builds have the same hash functions.
    keeps_functions: ClassVar[bool] = False
    #: Whether samples are drawn from the old tables while new ones are built.
    keeps_serving: ClassVar[bool] = False

    @abstractmethod
    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """Start the strategy for the tables of one sampler."""

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes needed besides one set of tables and its build: those of the old tables during it."""
        return HashTables.memory_needed(family, n_vectors).tables


@attrs.frozen
class Rebuild(Strategy):
    """Hash all vectors and rebuild the tables, each time.

    Examples
    --------
    >>> Rebuild().is_asynchronous
    False
    """

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """Start the strategy for the tables of one sampler."""
        return _RebuildMaintenance(functions, n_vectors)


class _RebuildMaintenance(Maintenance):
    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        self.rebuild(vectors, due, threads)


@attrs.frozen
class Sliced(Strategy):
    """Build new tables in slices, one at each refresh, and sample from the old ones meanwhile.

    No step waits for a whole build: rows are hashed in order, each as it is at the step of its slice, and
    then sorted into the tables in slices too. Which step does what is a function of the schedule and the step
    alone, so that results are the same bits for any number of threads, and after a restart in the middle of a
    build.

    Attributes
    ----------
    steps : int
        Number of steps that a build takes; fewer where the next one is due before, which it never waits for.

    Notes
    -----
    The first build is done at once. Marginal inclusion probabilities are unknown after a build in slices,
    since the vectors changed during it; conditional ones are exact. A family that is fitted to all rows (a
    norm bound) cannot be hashed while they change: its tables are rebuilt at once. Wide codes (``code_bits``
    above about log2 of the number of vectors) are sorted one table at a time. If ``refresh`` is not called at
    each step, the slices that were left out are done by the next call. Memory: a second set of tables, and
    four bytes for each vector and table.

    Examples
    --------
    >>> Sliced().steps, Sliced.is_asynchronous
    (64, False)
    """

    steps: int = attrs.field(default=64, validator=specs.integer(1, 2**31 - 1))

    keeps_serving: ClassVar[bool] = True

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """Start the strategy for the tables of one sampler."""
        return _SlicedMaintenance(functions, n_vectors, self.steps)

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes of the old tables, and of the codes until they are sorted."""
        return super().memory_needed(n_vectors, dim, family) + SlicedBuild.bytes_of_codes(family, n_vectors)


@attrs.define
class _Pending:
    """A build in slices: its number, the step of its first slice, and the number of its slices."""

    build: SlicedBuild
    number: int
    begin: int
    slices: int


class _SlicedMaintenance(Maintenance):
    def __init__(self, functions: FunctionSequence, n_vectors: int, steps: int) -> None:
        super().__init__(functions, n_vectors)
        self._steps = steps
        self._step = self._next_due = 0
        self._pending: _Pending | None = None

    def refresh(
        self, vectors: Rows, due: int, threads: int | None, *, step: int = 0, next_due: int = 1
    ) -> None:
        self._step, self._next_due = step, next_due
        super().refresh(vectors, due, threads)

    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        if self._pending is None:
            family = self.family(due)
            if type(family).prepare is not HashFamily.prepare:
                self.rebuild(
                    vectors, due, threads
                )  # it is fitted to all rows, which must not change meanwhile
                return
            slices = max(min(self._steps, self._next_due - self._step), 1)
            self._pending = _Pending(SlicedBuild(family, self.n_vectors, threads), due, self._step, slices)
        now = self._pending
        if now.build.advance(vectors, self._step + 1 - now.begin, now.slices, threads):
            self.tables, self.n_builds, self._pending = now.build.result(), now.number, None

    def forget(self) -> None:
        super().forget()
        self._pending = None

    def state(self) -> dict[str, Any]:
        now = self._pending
        if now is None:
            return {}
        named = {"number": now.number, "begin": now.begin, "slices": now.slices, "sorted": now.build.sorted}
        return {"next": named}

    def next_codes(self) -> Codes | None:
        return None if self._pending is None else self._pending.build.codes

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        pending = None
        if "next" in state:
            number, begin, slices, done = _next_of(state["next"])
            if "next_codes" not in state:
                raise CheckpointError("the codes of the next tables, which were being built, are not saved")
            build = SlicedBuild(self.family(number), self.n_vectors)
            build.restore(state["next_codes"], done)
            pending = _Pending(build, number, begin, slices)
        super().restore(state, tables, n_builds)
        self._pending = pending


def _next_of(named: Any) -> tuple[int, int, int, int]:
    """Number, first step, slices and steps of sorting of a build, from the state of its maintenance."""
    keys = ("number", "begin", "slices", "sorted")
    values: list[Any] = [named.get(key) if isinstance(named, dict) else None for key in keys]
    if not all(type(value) is int and 0 <= value < 2**63 for value in values) or 0 in (values[0], values[2]):
        raise CheckpointError(f"the state of the tables does not describe the next build: {named!r:.100}")
    return values[0], values[1], values[2], values[3]


@attrs.frozen
class Drift(Strategy):
    """Move the vectors whose codes have changed to their new buckets, if enough have (MONGOOSE, ICLR 2021).

    A random sample of the touched vectors, the sketch, is hashed. If at least a fraction ``threshold`` of its
    codes have changed, all touched vectors whose codes changed are moved; other vectors are not. The hash
    functions stay the same. With a family that is fitted to all rows (a norm bound) the tables are rebuilt.

    Attributes
    ----------
    threshold : float
        Fraction of the sketch's codes that must have changed; 0.01 in the paper.
    sketch : int
        Number of vectors in the sketch.

    Notes
    -----
    Only vectors passed to :meth:`MaintainedSampler.touched` are hashed; others stay in their old buckets even
    if they change. Memory: a second set of tables while they are rebuilt, and the codes, four bytes for each
    vector and table.

    Examples
    --------
    >>> Drift(0.05)
    Drift(threshold=0.05, sketch=256)
    """

    threshold: float = attrs.field(default=0.01, validator=specs.number(0.0, 1.0))
    sketch: int = attrs.field(default=256, validator=specs.integer(1, 2**20))

    keeps_functions: ClassVar[bool] = True

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """Start the strategy for the tables of one sampler."""
        return _DriftMaintenance(functions, n_vectors, self)

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes of the old tables, and of the codes of each vector."""
        need = HashTables.memory_needed(family, n_vectors)
        return need.tables + need.writer


class _DriftMaintenance(Maintenance):
    def __init__(self, functions: FunctionSequence, n_vectors: int, strategy: Drift) -> None:
        super().__init__(functions, n_vectors)
        self._strategy = strategy
        self._touched = np.zeros(n_vectors, bool)
        self.last_drift = 0.0  #: fraction of the sketch's codes that had changed at the last refresh

    def touched(self, ids: npt.NDArray[np.integer[Any]] | None) -> None:
        if ids is None:
            self._touched[:] = True
            return
        given = np.asarray(ids)
        inside = given.dtype.kind in "iu" and given.min(initial=0) >= 0
        if given.size and not (inside and given.max() < self.n_vectors):
            wanted = f"integers from 0 to {self.n_vectors - 1}"
            raise ArgumentError(
                "ids", f"{given.dtype} of shape {given.shape}: {given.reshape(-1)[:3]}...", wanted
            )
        self._touched[given.astype(np.intp, copy=False)] = True

    def forget(self) -> None:
        super().forget()
        self._touched[:] = False

    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        assert self.tables is not None
        self._follow(self.tables, vectors, due)
        self.n_builds = due

    def _follow(self, tables: HashTables, vectors: Rows, due: int) -> None:
        touched = np.flatnonzero(self._touched)
        if not len(touched):
            return
        if type(tables.family).prepare is not HashFamily.prepare:
            tables.rebuild(vectors)  # functions fitted to all rows may have to change with them
            self._touched[:] = False
            return
        self.last_drift = self._drift(tables, vectors, touched, due)
        if self.last_drift < self._strategy.threshold:
            return
        for begin in range(0, len(touched), _MOVED_AT_ONCE):
            part = touched[begin : begin + _MOVED_AT_ONCE]
            tables.update(part, vectors[part])
        self._touched[:] = False

    def _drift(self, tables: HashTables, vectors: Rows, touched: npt.NDArray[np.int64], due: int) -> float:
        """Fraction of changed codes in a sketch of the touched vectors."""
        generator = np.random.Generator(np.random.Philox(self.functions.seed(due)))
        size = min(self._strategy.sketch, len(touched))
        sketch = np.sort(generator.choice(touched, size, replace=False))
        return float(tables.changed(sketch, vectors[sketch]).mean())

    def state(self) -> dict[str, Any]:
        return {"touched": base64.b64encode(np.packbits(self._touched).tobytes()).decode()}

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        try:
            bits = np.frombuffer(base64.b64decode(state["touched"], validate=True), np.uint8)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the state of the tables does not say which of {self.n_vectors} vectors changed: {error!r}"
            ) from error
        if len(bits) != -(-self.n_vectors // 8):
            raise CheckpointError(f"the state of the tables is not that of {self.n_vectors} vectors")
        self._touched[:] = np.unpackbits(bits, count=self.n_vectors).astype(bool)
        super().restore(state, tables, n_builds)


@attrs.frozen
class Background(Strategy):
    """Build new tables in a thread from a copy of the vectors, and sample from the old ones meanwhile.

    The first build is synchronous. The step that first uses new tables depends on timing, so that two runs
    differ; ``is_asynchronous`` is True, also in checkpoints. An error of a build is raised by the next
    refresh, or by :meth:`MaintainedSampler.settle`.

    Examples
    --------
    >>> Background().is_asynchronous
    True
    """

    is_asynchronous: ClassVar[bool] = True

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """Start the strategy for the tables of one sampler."""
        return _BackgroundMaintenance(functions, n_vectors)

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes of the old tables, and of the copy of the vectors."""
        return super().memory_needed(n_vectors, dim, family) + 4 * n_vectors * dim


class _BackgroundMaintenance(Maintenance):
    def __init__(self, functions: FunctionSequence, n_vectors: int) -> None:
        super().__init__(functions, n_vectors)
        self._pending: BackgroundBuild | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pending": None}  # a copy has no thread, and starts its own

    def refresh(
        self, vectors: Rows, due: int, threads: int | None, *, step: int = 0, next_due: int = 1
    ) -> None:
        self._change_over(0.0)
        super().refresh(vectors, due, threads)

    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        if self._pending is None:
            self._pending = BackgroundBuild(self.family(due), vectors, due)

    def settle(self) -> None:
        self._change_over(None)

    def forget(self) -> None:
        super().forget()
        self._pending = None

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        super().restore(state, tables, n_builds)
        self._pending = None

    def _change_over(self, timeout: float | None) -> None:
        """Use the new tables if they are done within ``timeout`` seconds (None: wait for them)."""
        pending = self._pending
        if pending is None or not pending.is_done(timeout):
            return
        self._pending = None
        tables = pending.result()
        if tables is not None:
            self.tables, self.n_builds = tables, pending.number


class BackgroundBuild:
    """A build over a copy of the vectors, in a thread that starts immediately.

    Parameters
    ----------
    family : HashFamily
        The functions.
    vectors : (n, dim) rows
        Copied before the constructor returns; the caller may change them afterwards.
    number : int
        Number of the build, from 1.
    """

    def __init__(self, family: HashFamily, vectors: Rows, number: int) -> None:
        self.number = number
        self._tables: HashTables | None = None
        self._error: BaseException | None = None
        self._thread = Thread(
            target=self._build, args=(family, vectors.copy()), name=f"lshsample-build-{number}", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            raise UnsupportedError(
                f"tables cannot be built in the background: {error}; use Rehash(strategy='rebuild')"
            ) from error

    def _build(self, family: HashFamily, vectors: Rows) -> None:
        try:
            self._tables = HashTables(family, threads=1).build(vectors)
        except BaseException as error:  # raised again in the thread that calls result
            self._error = error

    def is_done(self, timeout: float | None = 0.0) -> bool:
        """Whether the thread has ended, after waiting at most ``timeout`` seconds (None: without limit)."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self) -> HashTables | None:
        """The tables of a build that is done; None in a forked process, where the thread does not exist.

        Raises
        ------
        Exception
            The error of the build.
        """
        if self._error is not None:
            raise self._error
        return self._tables


#: Strategies by name. Add a custom subclass of :class:`Strategy` to save specs that contain it.
STRATEGIES: dict[str, type[Strategy]] = {
    "rebuild": Rebuild,
    "sliced": Sliced,
    "drift": Drift,
    "background": Background,
}


def strategy_class(name: Any) -> type[Strategy]:
    """The class of a strategy by its name."""
    if not isinstance(name, str) or name not in STRATEGIES:
        known = ", ".join(map(repr, STRATEGIES))
        wanted = f"a Strategy, or the name of one: {known}{did_you_mean(name, STRATEGIES)}"
        raise ArgumentError("strategy", repr(name), wanted)
    return STRATEGIES[name]


def strategy_name(strategy: Strategy) -> str:
    """The name of a strategy, for saved specs."""
    for name, cls in STRATEGIES.items():
        if cls is type(strategy):
            return name
    wanted = f"one of {', '.join(STRATEGIES)}, to be saved; add other classes to STRATEGIES under a name"
    raise ArgumentError("strategy", repr(strategy), wanted)
