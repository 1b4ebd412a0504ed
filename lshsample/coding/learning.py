"""Dictionaries learned by two phases of a spiking network, from what each neuron and synapse can see."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lshsample._native.core import dense_rows
from lshsample._native.spiking import settle
from lshsample.coding.spiking import atom_rows
from lshsample.errors import ArgumentError, DivergenceError
from lshsample.specs import checked_integer, checked_number

__all__ = ["TwoPhaseLearning"]

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

#: Spikes after which a network stops.
_MAX_SPIKES = 1_000_000


class TwoPhaseLearning:
    """Learns a dictionary for non-negative sparse codes by the two-phase (feedback, contrastive) rule.

    Parameters
    ----------
    n_atoms : int
        Atoms, one for each coding neuron.
    lam : float
        The weight of the codes' sum, as in :class:`SpikingLCA`.
    epochs : int
        Passes over the signals.
    batch_size : int
        Signals between two changes of the weights.
    feedback_share : float
        Share of the feedback in what the input neurons see in the second phase, in (0, 1).
    memory : float
        What a neuron keeps, from one batch to the next, of its own past activity, by which it divides its
        changes, in [0, 1).
    tol : float
        As in :class:`SpikingLCA`.
    seed : int
        Determines the first atoms and the order of signals.
    threads : int, optional
        Number of threads; results do not depend on it.

    Attributes
    ----------
    feedforward : (n_atoms, n_features) float32 array
        The dictionary: weights from input neurons to coding neurons, each atom of length 1.
    feedback : (n_features, n_atoms) float32 array
        Weights back to the input neurons.
    lateral : (n_atoms, n_atoms) float32 array
        Inhibition between coding neurons, with the size of a neuron's reset in the diagonal.
    errors : list of float
        Mean of ``|s - a D|² / 2 + lam sum(a)`` over each epoch's signals, as they were seen.

    Notes
    -----
    After Lin & Tang 2018 (arXiv 1805.08952); the equations here are derived. With input rates z, codes are
    the rates at which ``F z - H a = lam`` for those that spike. In the first phase z = s. In the second the
    input neurons see ``z = (1 - k) s + k B a``, and the threshold is ``(1 - k) lam``: where ``H = F B`` the
    same code solves both, hence

    - the change of an input neuron between the phases, ``(z0 - zk) / k = s - B a``, is the reconstruction's
      error: ``error * rate`` of the two neurons that a synapse joins is the gradient, for F and B alike;
    - the change of a coding neuron's feedforward current, ``(F zk - (1 - k) F z0) / k = F B a``, is what its
      lateral current ``H a`` should be: their difference times the rate of the other neuron corrects H;
    - H follows the changes of F and B by the rate of either neuron times the other's change of current.

    A neuron scales its weights to length 1. Input neurons pass on currents, which are not cut into spikes.

    Examples
    --------
    >>> from lshsample.coding import TwoPhaseLearning
    >>> rng = np.random.default_rng(0)
    >>> atoms = np.eye(6)[:4]
    >>> signals = rng.exponential(size=(400, 4)) * (rng.random((400, 4)) < 0.4) @ atoms
    >>> learned = TwoPhaseLearning(4, lam=0.05, epochs=5, seed=1).fit(signals).feedforward
    >>> bool((learned @ atoms.T).max(axis=0).min() > 0.99)
    True
    """

    def __init__(
        self,
        n_atoms: int,
        *,
        lam: float,
        epochs: int = 10,
        batch_size: int = 64,
        feedback_share: float = 0.5,
        memory: float = 0.9,
        tol: float = 1e-2,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self._n_atoms = checked_integer("n_atoms", n_atoms, 1)
        self._lam = checked_number("lam", lam, 0.0, float("inf"), open_low=True, open_high=True)
        self._epochs = checked_integer("epochs", epochs, 1)
        self._batch_size = checked_integer("batch_size", batch_size, 1)
        self._share = checked_number(
            "feedback_share", feedback_share, 0.0, 1.0, open_low=True, open_high=True
        )
        self._memory = checked_number("memory", memory, 0.0, 1.0, open_high=True)
        self._tol = checked_number("tol", tol, 0.0, 1.0, open_low=True)
        self._seed, self._threads = checked_integer("seed", seed, 0, 2**63 - 1), threads

    def fit(self, signals: Any) -> Self:
        """Learn a dictionary from signals.

        Parameters
        ----------
        signals : (n, n_features) array
            At least as many rows that are not 0 as there are atoms, of which the first atoms are drawn.

        Raises
        ------
        DivergenceError
            The lateral weights are so far from the atoms' products that neurons excite each other without
            end.
        """
        rows = np.ascontiguousarray(dense_rows(signals, "signals"))
        usable = np.flatnonzero((rows != 0).any(axis=1))
        if len(usable) < self._n_atoms:
            wanted = f"an array of at least {self._n_atoms} rows that are not 0, one for each atom"
            raise ArgumentError("signals", f"{len(usable)} of them", wanted)
        rng = np.random.default_rng(self._seed)
        first = atom_rows(rows[rng.choice(usable, self._n_atoms, replace=False)], "signals")
        self.feedforward = first / np.linalg.norm(first, axis=1, keepdims=True)
        self.feedback = np.ascontiguousarray(self.feedforward.T)
        self.lateral = self.feedforward @ self.feedback
        self.errors: list[float] = []
        # A neuron that is hardly ever active would else learn its few signals at once.
        share = float(np.square(rows, dtype=np.float64).sum()) / (len(rows) * self._n_atoms)
        self._least = self._batch_size * share
        self._activity = np.full(self._n_atoms, self._least)
        for _ in range(self._epochs):
            order, total = rng.permutation(len(rows)), 0.0
            for begin in range(0, len(rows), self._batch_size):
                total += self._learn(rows[order[begin : begin + self._batch_size]])
            self.errors.append(total / len(rows))
        return self

    def _phases(self, signals: Float32) -> tuple[Floats, Floats, Floats]:
        """The codes of both phases, (n, n_atoms) each, and the input neurons' change, (n, n_features)."""
        k, inputs = self._share, signals @ self.feedforward.T
        # What feedback adds to a coding neuron's current, it takes from the inhibition between them.
        mixed = self.lateral - k * self.feedforward @ self.feedback
        clamped = self._settled(self.lateral, inputs, self._lam)
        fed_back = self._settled(mixed, (1 - k) * inputs, (1 - k) * self._lam)
        seen = (1 - k) * signals + k * fed_back @ self.feedback.T
        return clamped, fed_back, (signals - seen) / k

    def _settled(self, lateral: Float32, drives: Float32, lam: float) -> Floats:
        done = settle(
            np.ascontiguousarray(lateral.T),
            drives,
            lam,
            tol=self._tol,
            max_spikes=_MAX_SPIKES,
            threads=self._threads,
        )
        endless = int((done.gaps > self._tol).sum())
        if endless:
            raise DivergenceError(
                f"{endless} of {len(drives)} networks did not settle in {_MAX_SPIKES:,} spikes"
            )
        return done.rates

    def _learn(self, signals: Float32) -> float:
        """Change the weights after both phases of a batch of signals; returns the sum of their objectives."""
        k = self._share
        clamped, codes, errors = self._phases(signals)
        seen = signals - k * errors
        wanted = (seen - (1 - k) * signals) @ self.feedforward.T / k
        self._correct_lateral(codes, wanted)
        self._activity = self._memory * self._activity + np.square(codes).sum(axis=0)
        rates = codes / np.maximum(self._activity, self._least)
        follow = rates.T @ (errors @ self.feedback)
        self.lateral += (follow + (rates.T @ (errors @ self.feedforward.T)).T).astype(np.float32)
        change = (rates.T @ errors).astype(np.float32)
        self.feedforward += change
        self.feedback += change.T
        lengths = np.linalg.norm(self.feedforward, axis=1), np.linalg.norm(self.feedback, axis=0)
        self.feedforward /= lengths[0][:, None]
        self.feedback /= lengths[1]
        self.lateral /= np.outer(*lengths)
        left = signals - clamped @ self.feedback.T
        return float(np.square(left).sum() / 2 + self._lam * clamped.sum())

    def _correct_lateral(self, codes: Floats, wanted: Floats) -> None:
        for code, current in zip(codes, wanted, strict=True):
            active = np.flatnonzero(code)
            rates = code[active]
            if active.size:
                off = current - self.lateral[:, active] @ rates
                self.lateral[:, active] += np.outer(off, rates / (rates @ rates)).astype(np.float32)
