"""What is done with tables when their vectors have moved: rebuild them, follow the drift, or build in the
background.

A :class:`Strategy` is a frozen value, as a spec holds it. The :class:`Maintenance` that it starts is the same
strategy at work on the tables of one sampler, with all that it must remember from one call to the next.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from threading import Thread
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.family import HashFamily, Rows
from lshsample.sampling.functions import FunctionSequence
from lshsample.tables import HashTables

__all__ = ["STRATEGIES", "Background", "BackgroundBuild", "Drift", "Maintenance", "Rebuild", "Strategy"]

#: Vectors that are hashed at a time when they move: their rows are copied.
_MOVED_AT_ONCE = 16384


class Maintenance(ABC):
    """The tables of one sampler, kept up to date by a strategy.

    A subclass implements :meth:`advance`, and overrides the other methods where it has something to remember.

    Parameters
    ----------
    functions : FunctionSequence
        The hash functions of each build.
    n_vectors : int
        Number of vectors.

    Attributes
    ----------
    tables : HashTables or None
        The tables as they are now; None before the first build.
    n_builds : int
        How many of the builds that were due the tables are up to date with.
    """

    def __init__(self, functions: FunctionSequence, n_vectors: int) -> None:
        self.functions, self.n_vectors = functions, n_vectors
        self.tables: HashTables | None = None
        self.n_builds = 0

    def refresh(self, vectors: Rows, due: int, threads: int | None) -> None:
        """Bring the tables up to date.

        Parameters
        ----------
        vectors : (n_vectors, dim) rows
            The vectors as they are now.
        due : int
            How many builds are due, the first one included.
        threads : int, optional
            Threads of a build.
        """
        if self.n_builds >= due:
            return
        if self.tables is None:
            self.rebuild(vectors, due, threads)
        else:
            self.advance(vectors, due, threads)

    @abstractmethod
    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        """Bring ``tables``, which are there, up to date with the build number ``due``.

        It sets ``n_builds`` when they are.
        """

    def rebuild(self, vectors: Rows, number: int, threads: int | None) -> None:
        """Build anew. The old tables are dropped before, so that memory never holds both."""
        self.tables = None
        self.tables = self.built(vectors, number, threads)
        self.n_builds = number

    def built(self, vectors: Rows, number: int, threads: int | None) -> HashTables:
        """Tables with the functions of a build, over the vectors as they are; the present ones stay."""
        return HashTables(self.family(number), threads=threads).build(vectors)

    def family(self, number: int) -> HashFamily:
        """The functions of a build, counted from 1."""
        return self.functions.family(max(number - 1, 0))

    def touched(self, ids: npt.NDArray[np.integer[Any]] | None) -> None:  # noqa: B027
        """Note that the vectors of these ids (None: of all) may have moved."""

    def settle(self) -> None:  # noqa: B027
        """Wait for builds that have begun."""

    def forget(self) -> None:
        """Go back to the state before the first build."""
        self.tables, self.n_builds = None, 0

    def state(self) -> dict[str, Any]:
        """What the strategy remembers beside the tables, as plain data."""
        return {}

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        """Take up tables that were saved, and what :meth:`state` gave with them."""
        self.tables, self.n_builds = tables, n_builds


@attrs.frozen
class Strategy(ABC):
    """How tables follow their vectors: the base of :class:`Rebuild`, :class:`Drift`, :class:`Background`.

    A strategy of your own is a frozen attrs subclass that implements :meth:`start`; :class:`Rehash` takes an
    instance. With an entry in ``STRATEGIES`` it also has a name, for specs that are stored.
    """

    #: Whether samples depend on timing; otherwise they are the same bits for any number of threads.
    is_asynchronous: ClassVar[bool] = False
    #: Whether every build has the functions of the first.
    keeps_functions: ClassVar[bool] = False

    @abstractmethod
    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """The strategy at work on the tables of one sampler."""

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes beside one set of tables and their build."""
        return 0


@attrs.frozen
class Rebuild(Strategy):
    """Hash all vectors and build the tables anew, each time.

    Examples
    --------
    >>> Rebuild().is_asynchronous
    False
    """

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """The strategy at work."""
        return _RebuildMaintenance(functions, n_vectors)


class _RebuildMaintenance(Maintenance):
    def advance(self, vectors: Rows, due: int, threads: int | None) -> None:
        self.rebuild(vectors, due, threads)


@attrs.frozen
class Drift(Strategy):
    """Move the vectors whose codes have changed, if enough have (MONGOOSE, ICLR 2021).

    A sketch of the touched vectors is hashed; if at least ``threshold`` of its codes have changed, the
    touched vectors whose codes changed move to their new buckets, and nothing else. The hash functions stay.
    A family that fits itself to all rows (a norm bound) is built anew instead.

    Attributes
    ----------
    threshold : float
        Share of the sketch's codes that must have changed; MONGOOSE's is 0.01.
    sketch : int
        Vectors in the sketch.

    Notes
    -----
    Only vectors that :meth:`MaintainedSampler.touched` named are looked at: one that moves unnamed stays in
    its old buckets. It holds each vector's codes, four bytes for each vector and table.

    Examples
    --------
    >>> Drift(0.05)
    Drift(threshold=0.05, sketch=256)
    """

    threshold: float = attrs.field(default=0.01, validator=specs.number(0.0, 1.0))
    sketch: int = attrs.field(default=256, validator=specs.integer(1, 2**20))

    keeps_functions: ClassVar[bool] = True

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """The strategy at work."""
        return _DriftMaintenance(functions, n_vectors, self)

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes of the codes of each vector."""
        return HashTables.memory_needed(family, n_vectors).writer


class _DriftMaintenance(Maintenance):
    def __init__(self, functions: FunctionSequence, n_vectors: int, strategy: Drift) -> None:
        super().__init__(functions, n_vectors)
        self._strategy = strategy
        self._touched = np.zeros(n_vectors, bool)
        self.last_drift = 0.0  #: share of the sketch's codes that had changed at the last look

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
            tables.rebuild(vectors)  # such functions fit all rows: rows that moved may need others
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
        """Share of changed codes in a sketch of the touched vectors."""
        generator = np.random.Generator(np.random.Philox(self.functions.seed(due)))
        size = min(self._strategy.sketch, len(touched))
        sketch = np.sort(generator.choice(touched, size, replace=False))
        return float(tables.changed(sketch, vectors[sketch]).mean())

    def state(self) -> dict[str, Any]:
        return {"touched": base64.b64encode(np.packbits(self._touched).tobytes()).decode()}

    def restore(self, state: dict[str, Any], tables: HashTables, n_builds: int) -> None:
        try:
            bits = np.frombuffer(base64.b64decode(state["touched"], validate=True), np.uint8)
        except (KeyError, TypeError, binascii.Error) as error:
            raise CheckpointError(
                f"the state of the tables does not say which of {self.n_vectors} vectors moved: {error!r}"
            ) from error
        if len(bits) != -(-self.n_vectors // 8):
            raise CheckpointError(f"the state of the tables is not one of {self.n_vectors} vectors")
        self._touched[:] = np.unpackbits(bits, count=self.n_vectors).astype(bool)
        super().restore(state, tables, n_builds)


@attrs.frozen
class Background(Strategy):
    """Build new tables on a thread from a copy of the vectors, and sample from the old ones meanwhile.

    The first build is waited for. Which step first sees new tables depends on timing, so that two runs
    differ: ``is_asynchronous`` says so, and so do checkpoints. An error of a build is raised by the next
    refresh, or by :meth:`MaintainedSampler.settle`.

    Examples
    --------
    >>> Background().is_asynchronous
    True
    """

    is_asynchronous: ClassVar[bool] = True

    def start(self, functions: FunctionSequence, n_vectors: int) -> Maintenance:
        """The strategy at work."""
        return _BackgroundMaintenance(functions, n_vectors)

    def memory_needed(self, n_vectors: int, dim: int, family: HashFamily) -> int:
        """Bytes of the copy of the vectors and of a second set of tables."""
        return 4 * n_vectors * dim + HashTables.memory_needed(family, n_vectors).tables


class _BackgroundMaintenance(Maintenance):
    def __init__(self, functions: FunctionSequence, n_vectors: int) -> None:
        super().__init__(functions, n_vectors)
        self._pending: BackgroundBuild | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pending": None}  # a copy has no thread, and begins its own

    def refresh(self, vectors: Rows, due: int, threads: int | None) -> None:
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
        """Take the new tables if they are done within so many seconds (None: whenever they are)."""
        pending = self._pending
        if pending is None or not pending.is_done(timeout):
            return
        self._pending = None
        tables = pending.result()
        if tables is not None:
            self.tables, self.n_builds = tables, pending.number


class BackgroundBuild:
    """A build over a copy of the vectors, begun at once on one thread.

    Parameters
    ----------
    family : HashFamily
        The functions.
    vectors : (n, dim) rows
        Copied before this returns; the caller may go on to change them.
    number : int
        Which build it is, counted from 1.
    """

    def __init__(self, family: HashFamily, vectors: Rows, number: int) -> None:
        self.number = number
        self._tables: HashTables | None = None
        self._error: BaseException | None = None
        self._thread = Thread(
            target=self._build, args=(family, vectors.copy()), name=f"lshsample-build-{number}", daemon=True
        )
        self._thread.start()

    def _build(self, family: HashFamily, vectors: Rows) -> None:
        try:
            self._tables = HashTables(family, threads=1).build(vectors)
        except BaseException as error:  # raised again on the thread that asks for the tables
            self._error = error

    def is_done(self, timeout: float | None = 0.0) -> bool:
        """Whether the thread has ended; waits so many seconds at most, or (None) until it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self) -> HashTables | None:
        """The tables of a build that is done; None in a forked child, where the thread does not go on.

        Raises
        ------
        Exception
            What the build raised.
        """
        if self._error is not None:
            raise self._error
        return self._tables


#: The strategies that specs name. A subclass of :class:`Strategy` that is added here has a name, too.
STRATEGIES: dict[str, type[Strategy]] = {"rebuild": Rebuild, "drift": Drift, "background": Background}


def strategy_class(name: Any) -> type[Strategy]:
    """The class of a named strategy."""
    if not isinstance(name, str) or name not in STRATEGIES:
        wanted = f"a Strategy, or the name of one: {', '.join(map(repr, STRATEGIES))}"
        raise ArgumentError("strategy", repr(name), wanted)
    return STRATEGIES[name]


def strategy_name(strategy: Strategy) -> str:
    """The name of a strategy, for specs that are stored."""
    for name, cls in STRATEGIES.items():
        if cls is type(strategy):
            return name
    wanted = f"one of {', '.join(STRATEGIES)}, to be stored (an entry in STRATEGIES gives a class a name)"
    raise ArgumentError("strategy", repr(strategy), wanted)
