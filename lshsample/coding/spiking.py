"""Non-negative sparse codes by the spiking locally competitive algorithm, over dictionaries of any size."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native.core import dense_rows, index_dtype
from lshsample._native.spiking import settle
from lshsample.errors import ArgumentError
from lshsample.registry import FamilyLike
from lshsample.sampling import Retrieve, Uniform
from lshsample.specs import checked_integer, checked_number
from lshsample.tables import HashTables

__all__ = ["Encoding", "SpikingLCA", "atom_rows"]

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: Inner products with all atoms that are in memory at a time, at most.
_BLOCK = 1 << 24


@attrs.frozen(eq=False)
class Encoding:
    """Codes of signals, and what is known of their error.

    Gaps and excesses are in units of a signal's scale: its largest ``atom·signal / |atom|²``.

    Attributes
    ----------
    codes : (n, n_atoms) csr_array of float64
        The codes, above 0 where they are stored.
    gaps : (n,) float64 array
        How far the optimality conditions are violated within a signal's last network: the largest
        ``|min(code, gradient / |atom|²)|``.
    excess : (n,) float64 array
        The largest ``(atom·residual - lam) / |atom|²`` above ``tol`` among the checked atoms outside of the
        network; 0 if there is none.
    violators : (n,) float64 array
        The number of atoms outside of the network with such an excess: counted where all atoms are checked,
        else estimated without bias from the checked sample.
    rounds, spikes, products : (n,) int64 arrays
        Networks that a signal needed, their spikes, and its or its residuals' inner products with atoms.
    tol : float
        The tolerance that was asked for.
    """

    codes: sp.csr_array
    gaps: Floats
    excess: Floats
    violators: Floats
    rounds: Int64
    spikes: Int64
    products: Int64
    tol: float

    @property
    def converged(self) -> npt.NDArray[np.bool_]:
        """Whether each signal's gap is at most ``tol`` and no checked atom violates its condition, (n,)."""
        return np.asarray((self.gaps <= self.tol) & (self.violators == 0))


def atom_rows(dictionary: Any, argument: str = "dictionary") -> Float32:
    """Atoms as rows of a contiguous float32 array, none of length 0."""
    atoms = np.ascontiguousarray(dense_rows(dictionary, argument))
    if not atoms.size:
        raise ArgumentError(
            argument, f"shape {atoms.shape}", "an array (n_atoms, n_features) with both above 0"
        )
    zero = np.flatnonzero(np.einsum("ij,ij->i", atoms, atoms) == 0)
    if zero.size:
        raise ArgumentError(argument, f"zeros alone in row {zero[0]}", "an array of rows that are not 0")
    return atoms


class SpikingLCA:
    """Codes that solve ``min over a >= 0 of |s - a D|² / 2 + lam sum(a)`` by networks of spiking neurons.

    Parameters
    ----------
    dictionary : (n_atoms, n_features) array
        An atom in each row, as in scikit-learn; of any length above 0.
    lam : float
        The weight of the codes' sum, above 0. Codes of a signal are 0 if no atom's product with it is larger.
    tol : float
        Networks run until the optimality conditions hold up to ``tol`` times the signal's scale
        (:class:`Encoding`). The number of spikes grows as 1 / ``tol``.
    n_neurons : int
        Size of a signal's network. A dictionary of at most as many atoms is one network. Of a larger one the
        atoms of the largest products with the signal come first; then those that violate their optimality
        condition take the place of silent neurons, until none is found.
    family : str, HashFamily, FamilySpec or mapping, optional
        Hash functions, as for :class:`~lshsample.HashTables`: atoms with large products are looked up in hash
        tables. One for cosines finds by direction alone, one for inner products, such as ``"simple-lsh"``,
        also by the atoms' lengths. Without it all products are computed.
    n_checked : int, optional
        With a family, atoms drawn uniformly for each residual and checked exactly, by default at most 1,000;
        what is found among them also enters the network.
    max_spikes : int
        Spikes after which a network stops, settled or not.
    max_rounds : int
        Networks of one signal, at most.
    seed : int
        Determines the draws.
    threads : int, optional
        Number of threads; codes do not depend on it.

    Notes
    -----
    Tang, Lin & Davies 2017 (arXiv 1705.05475): a neuron integrates ``v' = b - lam - W (alpha * spikes)``; b
    are the products of signal and atoms, W those among atoms without the diagonal, and alpha is the kernel
    exp(-t). It spikes at a threshold, here its atom's squared length, by which its potential falls. Mean
    rates converge to the solution as 1 / t. Between spikes potentials have a closed form, so that the network
    is simulated exactly, from spike to spike. A spike costs as many steps as the network has neurons: time in
    which none spikes costs nothing.

    The sample of checked atoms is independent of the tables, hence its estimate of the number of violators is
    unbiased for each code that is checked. Encoding ends at the first check that finds none, so that the last
    estimate is 0 even where some are left. If ``c`` of ``n`` atoms are checked once and none violates, then
    with 95 % confidence fewer than about ``3 n / c`` of them do.

    Examples
    --------
    >>> from lshsample.coding import SpikingLCA
    >>> atoms = np.array([[0.3313, 0.8835, 0.3313], [0.8148, 0.3621, 0.4527], [0.4364, 0.2182, 0.8729]])
    >>> atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    >>> result = SpikingLCA(atoms, lam=0.1, tol=1e-4).encode([[0.5, 1.0, 1.5]])
    >>> result.codes.toarray().round(2)
    array([[0.68, 0.  , 1.22]])
    """

    def __init__(
        self,
        dictionary: Any,
        *,
        lam: float,
        tol: float = 1e-3,
        n_neurons: int = 512,
        family: FamilyLike | None = None,
        n_checked: int | None = None,
        max_spikes: int = 1_000_000,
        max_rounds: int = 20,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self._atoms = atom_rows(dictionary)
        self.lam = checked_number("lam", lam, 0.0, float("inf"), open_low=True, open_high=True)
        self.tol = checked_number("tol", tol, 0.0, 1.0, open_low=True)
        self._n_neurons = checked_integer("n_neurons", n_neurons, 1)
        self._max_spikes = checked_integer("max_spikes", max_spikes, 1, 2**62)
        self._max_rounds = checked_integer("max_rounds", max_rounds, 1)
        self._seed, self._threads = checked_integer("seed", seed, 0, 2**63 - 1), threads
        self._squares = np.einsum("ij,ij->i", self._atoms, self._atoms, dtype=np.float64)
        n = len(self._atoms)
        if n_checked is not None:
            if family is None:
                raise ArgumentError(
                    "n_checked", n_checked, "left out without a family: all atoms are checked"
                )
            n_checked = checked_integer("n_checked", n_checked, 1, n)
        self._n_checked = n_checked or min(n, 1000)
        self._tables = self._sample = None
        if family is not None:
            tables = HashTables(family, threads=threads).build(self._atoms)
            self._tables = Retrieve().bind(tables=tables)
            self._sample = Uniform(self._n_checked).bind(n_items=n)

    def __repr__(self) -> str:
        n, d = self._atoms.shape
        found = "" if self._tables is None else f", {self._tables!r}"
        return f"SpikingLCA({n:,} atoms of {d} features, lam={self.lam:g}, tol={self.tol:g}{found})"

    def encode(self, signals: Any) -> Encoding:
        """Codes of signals.

        Parameters
        ----------
        signals : (n, n_features) array

        Returns
        -------
        Encoding

        Raises
        ------
        ArgumentError
            Signals that are not finite, or of another number of features.
        MemoryBudgetError
            A network of all atoms that does not fit into memory.
        """
        rows = np.ascontiguousarray(dense_rows(signals, "signals", self._atoms.shape[1]))
        networks = [_Network(np.empty(0, np.int32), np.empty(0)) for _ in rows]
        if len(self._atoms) <= self._n_neurons:
            self._one_network(rows, networks)
        else:
            self._search(rows, networks)
        return self._encoding(networks)

    def _one_network(self, rows: Float32, networks: list[_Network]) -> None:
        memory.require_bytes(4 * len(self._atoms) ** 2, "a network of all atoms, which n_neurons allows,")
        ids = np.arange(len(self._atoms), dtype=np.int32)
        drives = rows @ self._atoms.T
        done = settle(
            self._atoms @ self._atoms.T,
            drives,
            self.lam,
            tol=self.tol,
            max_spikes=self._max_spikes,
            threads=self._threads,
        )
        for i, network in enumerate(networks):
            network.ids, network.rates = ids, done.rates[i]
            network.gap, network.spikes, network.rounds = done.gaps[i], int(done.spikes[i]), 1
            network.products = len(ids)

    def _search(self, rows: Float32, networks: list[_Network]) -> None:
        """Rounds of networks: each of the atoms that are active in the last one, and of the best found."""
        residuals, waiting = rows.copy(), np.arange(len(rows))
        for turn in range(self._max_rounds + 1):
            still = []
            for i, found in zip(waiting, self._found(residuals[waiting], turn), strict=True):
                network = networks[i]
                if network.take(found, self, last=turn == self._max_rounds):
                    residuals[i] = self._run(rows[i], network)
                    still.append(i)
            waiting = np.array(still, np.int64)
            if not waiting.size:
                break

    def _found(self, residuals: Float32, turn: int) -> list[_Found]:
        """The atoms found for each residual, with their products."""
        n, out = len(self._atoms), []
        if self._tables is None or self._sample is None:
            ids, step = np.arange(n, dtype=np.int32), max(1, _BLOCK // n)
            for begin in range(0, len(residuals), step):
                products = residuals[begin : begin + step] @ self._atoms.T
                out += [_Found(ids, row, np.ones(n, bool), 1.0) for row in products]
            return out
        retrieved = self._tables.sample(residuals, threads=self._threads)
        drawn = self._sample.sample(
            n_queries=len(residuals), seed=self._seed, step=turn, threads=self._threads
        )
        for i, residual in enumerate(residuals):
            ids = np.union1d(retrieved.row(i), drawn.row(i))
            checked = np.isin(ids, drawn.row(i), assume_unique=True)
            out.append(_Found(ids, self._atoms[ids] @ residual, checked, n / self._n_checked))
        return out

    def _run(self, signal: Float32, network: _Network) -> Float32:
        """Settle a signal's network; returns the residual."""
        atoms = self._atoms[network.ids]
        done = settle(
            atoms @ atoms.T,
            (atoms @ signal)[None],
            self.lam,
            tol=self.tol,
            max_spikes=self._max_spikes,
            threads=1,
        )
        network.rates, network.gap = done.rates[0], done.gaps[0]
        network.spikes += int(done.spikes[0])
        network.rounds += 1
        network.products += len(atoms)
        return np.asarray(signal - network.rates.astype(np.float32) @ atoms)

    def _encoding(self, networks: list[_Network]) -> Encoding:
        n, active = len(self._atoms), [network.rates > 0 for network in networks]
        indptr = np.concatenate([[0], np.cumsum([on.sum() for on in active], dtype=np.int64)])
        dtype = index_dtype(int(indptr[-1]))
        ids = [net.ids[on] for net, on in zip(networks, active, strict=True)]
        rates = [net.rates[on] for net, on in zip(networks, active, strict=True)]
        codes = sp.csr_array(
            (
                np.concatenate([np.empty(0), *rates]),
                np.concatenate([np.empty(0, dtype), *ids]).astype(dtype),
                indptr.astype(dtype),
            ),
            shape=(len(networks), n),
        )
        return Encoding(
            codes,
            np.array([net.gap for net in networks], np.float64),
            np.array([net.excess for net in networks], np.float64),
            np.array([net.violators for net in networks], np.float64),
            np.array([net.rounds for net in networks], np.int64),
            np.array([net.spikes for net in networks], np.int64),
            np.array([net.products for net in networks], np.int64),
            self.tol,
        )


@attrs.frozen(eq=False)
class _Found:
    """Atoms found for a residual: ids, ascending; products; which were drawn to be checked; their weight."""

    ids: Int32
    products: Float32
    checked: npt.NDArray[np.bool_]
    weight: float


@attrs.define(eq=False)
class _Network:
    """A signal's network between two rounds: its atoms, ascending, and their rates."""

    ids: Int32
    rates: Floats
    scale: float = 0.0
    gap: float = 0.0
    excess: float = 0.0
    violators: float = 0.0
    rounds: int = 0
    spikes: int = 0
    products: int = 0

    def take(self, found: _Found, of: SpikingLCA, *, last: bool) -> bool:
        """Take in the atoms that violate their condition most; whether another round is due."""
        self.products += len(found.ids)
        over = (found.products - of.lam) / of._squares[found.ids]
        if not self.rounds:
            self.scale = max(0.0, float((found.products / of._squares[found.ids]).max(initial=0.0)))
        over[np.isin(found.ids, self.ids)] = 0
        bad = over > (of.tol * self.scale if self.rounds else 0.0)
        self.violators = float(bad[found.checked].sum()) * found.weight
        self.excess = float(over[bad].max(initial=0.0)) / self.scale if bad.any() else 0.0
        if last or not bad.any():
            return False
        active = self.rates > 0
        room = max(of._n_neurons - int(active.sum()), of._n_neurons // 4, 1)
        at = np.flatnonzero(bad)
        if len(at) > room:
            at = at[np.argpartition(-over[at], room - 1)[:room]]
        ids = np.concatenate([self.ids[active], found.ids[at]])
        order = np.argsort(ids)
        self.ids = ids[order].astype(np.int32)
        self.rates = np.concatenate([self.rates[active], np.zeros(len(at))])[order]
        return True
