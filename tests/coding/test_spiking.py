"""Spiking networks settle at the solution that coordinate descent finds, alone and through hash tables."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from lshsample._native.spiking import settle
from lshsample.coding import SpikingLCA
from lshsample.errors import ArgumentError


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def problem(seed, n_atoms, n_features, n=3):
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((n_atoms, n_features))), unit(rng.standard_normal((n, n_features)))


def lasso(atoms, signals, lam):
    model = Lasso(lam / atoms.shape[1], positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    return np.array([model.fit(atoms.T, s).coef_ for s in signals])


def objective(codes, atoms, signals, lam):
    return np.square(signals - codes @ atoms).sum(axis=1) / 2 + lam * codes.sum(axis=1)


def by_small_steps(lateral, drives, lam, steps, dt):
    """Rates of the same network by Euler's method, written from its equations."""
    v, trace, count = np.zeros(len(drives)), np.zeros(len(drives)), np.zeros(len(drives))
    own = lateral.diagonal()
    others = lateral - np.diag(own)
    for _ in range(steps):
        v += dt * (drives - lam - others.T @ trace)
        trace *= 1 - dt
        spiking = v >= own
        v -= own * spiking
        trace += spiking
        count += spiking
    return count / (steps * dt)


@pytest.fixture
def toy():
    columns = np.array([[0.3313, 0.8148, 0.4364], [0.8835, 0.3621, 0.2182], [0.3313, 0.4527, 0.8729]])
    return unit(columns.T), np.array([[0.5, 1.0, 1.5]])


def test_a_small_problem_has_its_known_solution(toy):
    atoms, signal = toy
    done = SpikingLCA(atoms, lam=0.1, tol=1e-5).encode(signal)
    codes = done.codes.toarray()
    np.testing.assert_allclose(codes, [[0.683061, 0, 1.217790]], atol=5e-5)
    assert objective(codes, atoms, signal, 0.1) == pytest.approx(0.254053541, abs=1e-7)
    assert done.converged.all()
    assert done.gaps[0] <= 1e-5


@pytest.mark.parametrize(
    ("seed", "n_atoms", "n_features", "lam"), [(0, 24, 8, 0.05), (1, 48, 16, 0.1), (2, 90, 33, 0.2)]
)
def test_random_problems_agree_with_coordinate_descent(seed, n_atoms, n_features, lam):
    atoms, signals = problem(seed, n_atoms, n_features)
    exact = lasso(atoms, signals, lam)
    done = SpikingLCA(atoms, lam=lam, tol=2e-4).encode(signals)
    np.testing.assert_allclose(done.codes.toarray(), exact, atol=1e-3)
    above = objective(done.codes.toarray(), atoms, signals, lam) - objective(exact, atoms, signals, lam)
    assert np.all(above >= -1e-8)
    assert np.all(above < 1e-6)


def test_atoms_need_not_be_of_length_one():
    atoms, signals = problem(3, 30, 12)
    atoms *= np.random.default_rng(0).uniform(0.5, 2, (30, 1))
    codes = SpikingLCA(atoms, lam=0.1, tol=1e-4).encode(signals).codes.toarray()
    np.testing.assert_allclose(codes, lasso(atoms, signals, 0.1), atol=1e-3)


def test_the_gap_is_that_of_the_optimality_conditions():
    atoms, signals = problem(4, 40, 16)
    done = SpikingLCA(atoms, lam=0.1, tol=1e-2).encode(signals)
    codes = done.codes.toarray()
    scale = (signals @ atoms.T).max(axis=1)
    gradient = (codes @ atoms - signals) @ atoms.T + 0.1
    expected = np.abs(np.minimum(codes, gradient)).max(axis=1) / scale
    np.testing.assert_allclose(done.gaps, expected, atol=1e-6)


def test_scaling_everything_changes_no_spike():
    atoms, signals = problem(5, 40, 16)
    one = SpikingLCA(atoms, lam=0.1).encode(signals)
    large = SpikingLCA(atoms, lam=51.2).encode(signals * 512)
    np.testing.assert_array_equal(one.spikes, large.spikes)
    np.testing.assert_allclose(large.codes.toarray(), one.codes.toarray() * 512, rtol=1e-4)


def test_the_error_falls_as_one_over_the_number_of_spikes():
    atoms, signals = problem(6, 60, 24, n=4)
    exact, rows = lasso(atoms, signals, 0.1), []
    for tol in (1e-2, 1e-4):
        done = SpikingLCA(atoms, lam=0.1, tol=tol).encode(signals)
        rows.append((np.abs(done.codes.toarray() - exact).max(axis=1).mean(), done.spikes.mean()))
    slope = np.log(rows[0][0] / rows[1][0]) / np.log(rows[1][1] / rows[0][1])
    assert 0.8 < slope < 1.2


def test_spikes_are_those_of_the_equations():
    """Against small time steps, with rates of the same first window."""
    atoms, signals = problem(7, 6, 4, n=1)
    lateral, drives = (atoms @ atoms.T).astype(np.float32), (signals @ atoms.T).astype(np.float32)
    drives /= drives.max()
    done = settle(lateral, drives, 0.1, tol=0.9, max_spikes=10**6)
    steps = by_small_steps(
        lateral.astype(float), drives[0].astype(float), 0.1, int(done.times[0] * 1e4), 1e-4
    )
    np.testing.assert_allclose(done.rates[0], steps, atol=1.01 / done.times[0])


def test_excitation_alone_can_make_a_neuron_spike():
    """The second neuron has no drive, but the first one excites it."""
    lateral = np.array([[1, -0.8], [-0.8, 1]], np.float32)
    done = settle(lateral, np.array([[1, -0.1]], np.float32), 0.1, tol=1e-4, max_spikes=10**6)
    assert done.gaps[0] <= 1e-4
    np.testing.assert_allclose(done.rates[0], np.linalg.solve(lateral, [0.9, -0.2]), atol=1e-3)


def test_signals_without_a_code():
    atoms, signals = problem(9, 20, 8)
    done = SpikingLCA(atoms, lam=1.5).encode(np.vstack([signals, 0 * signals]))
    assert done.codes.nnz == 0
    assert done.spikes.sum() == 0
    assert done.converged.all()
    assert SpikingLCA(atoms, lam=0.1).encode(np.empty((0, 8))).codes.shape == (0, 20)


def test_a_network_that_is_stopped_says_so():
    atoms, signals = problem(10, 20, 8)
    done = SpikingLCA(atoms, lam=0.01, tol=1e-6, max_spikes=100).encode(signals)
    assert not done.converged.any()
    assert (done.gaps > 1e-6).all()
    np.testing.assert_array_equal(done.spikes, 100)


def test_neurons_that_excite_each_other_without_end_are_stopped():
    lateral = np.array([[1, -2], [-2, 1]], np.float32)
    done = settle(lateral, np.ones((1, 2), np.float32), 0.1, tol=1e-3, max_spikes=5000)
    assert done.spikes[0] == 5000
    assert done.gaps[0] > 1
    assert np.isfinite(done.rates).all()


@pytest.mark.parametrize("options", [{}, {"family": "simhash:n_hashes=5,n_tables=16"}])
def test_codes_do_not_depend_on_threads(options):
    atoms, signals = problem(11, 600, 16, n=5)
    first, second = (
        SpikingLCA(atoms, lam=0.1, n_neurons=100, threads=threads, **options).encode(signals)
        for threads in (1, 3)
    )
    assert (first.codes != second.codes).nnz == 0
    np.testing.assert_array_equal(first.spikes, second.spikes)


def test_a_search_of_all_atoms_is_one_large_network():
    atoms, signals = problem(12, 2000, 24)
    done = SpikingLCA(atoms, lam=0.1, n_neurons=64, tol=2e-4).encode(signals)
    exact = lasso(atoms, signals, 0.1)
    above = objective(done.codes.toarray(), atoms, signals, 0.1) - objective(exact, atoms, signals, 0.1)
    assert np.all(above < 1e-5)
    assert done.converged.all()
    assert done.rounds.max() > 1
    assert done.excess.max() == 0


def test_tables_find_the_atoms_with_few_products():
    rng = np.random.default_rng(13)
    atoms = unit(rng.standard_normal((20_000, 16)))
    signals = unit(rng.standard_normal((5, 16)))
    exact = SpikingLCA(atoms, lam=0.4, n_neurons=64).encode(signals)
    found = SpikingLCA(
        atoms, lam=0.4, n_neurons=64, family="simhash:n_hashes=10,n_tables=40", n_checked=500
    ).encode(signals)
    best, other = (objective(one.codes.toarray(), atoms, signals, 0.4) for one in (exact, found))
    assert np.all(other < 1.02 * best)
    assert found.products.mean() < exact.products.mean() / 3


def test_tables_for_inner_products_leave_atoms_that_are_too_short():
    """Nine of ten atoms are shorter than lam, and so in no code of a signal of length 1."""
    rng = np.random.default_rng(15)
    atoms = unit(rng.standard_normal((5000, 12)))
    atoms[500:] *= 0.2
    signals = unit(rng.standard_normal((4, 12)))
    best = objective(lasso(atoms[:500], signals, 0.3), atoms[:500], signals, 0.3)
    products = {}
    for name in ("simhash", "simple-lsh"):
        coder = SpikingLCA(
            atoms, lam=0.3, n_neurons=64, family=f"{name}:n_hashes=7,n_tables=40", n_checked=50
        )
        done = coder.encode(signals)
        assert np.all(objective(done.codes.toarray(), atoms, signals, 0.3) < 1.02 * best)
        products[name] = done.products.mean()
    assert products["simple-lsh"] < 0.6 * products["simhash"]


def test_the_estimate_of_violators_is_unbiased():
    """With tables that find next to nothing, what the checked sample says agrees with a look at all atoms."""
    atoms, signals = problem(14, 3000, 8, n=1)
    estimates = []
    for seed in range(40):
        coder = SpikingLCA(
            atoms, lam=0.3, n_neurons=16, family="simhash:n_hashes=30,n_tables=1", n_checked=100,
            max_rounds=1, seed=seed,
        )  # fmt: skip
        done = coder.encode(signals)
        over = (signals - done.codes @ atoms) @ atoms.T - 0.3
        truth = (over > 1e-3 * (signals @ atoms.T).max()).sum()
        estimates.append((done.violators[0] - truth) / truth)
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / len(estimates) ** 0.5
    assert np.std(estimates) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 0}, "lam must be"),
        ({"tol": 0}, "tol must be"),
        ({"n_neurons": 0}, "n_neurons must be an integer"),
        ({"n_checked": 5}, "n_checked must be left out without a family"),
        ({"family": "simhash", "n_checked": 7}, "n_checked must be an integer from 1 to 6"),
        ({"max_spikes": 0}, "max_spikes must be"),
        ({"max_rounds": 0}, "max_rounds must be"),
        ({"seed": -1}, "seed must be"),
        ({"family": "simhsh"}, "did you mean 'simhash'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        SpikingLCA(np.eye(6), **{"lam": 0.1, **options})


def test_bad_arrays_are_refused():
    with pytest.raises(
        ArgumentError, match=r"dictionary must be .* rows that are not 0 \(got zeros alone in row 1"
    ):
        SpikingLCA([[1.0, 0.0], [0.0, 0.0]], lam=0.1)
    with pytest.raises(ArgumentError, match="dictionary must be"):
        SpikingLCA(np.empty((0, 4)), lam=0.1)
    with pytest.raises(ArgumentError, match="signals must be an array with 6 columns"):
        SpikingLCA(np.eye(6), lam=0.1).encode(np.ones((2, 5)))
    with pytest.raises(ArgumentError, match="signals must be finite"):
        SpikingLCA(np.eye(2), lam=0.1).encode([[1, np.nan]])
    with pytest.raises(ArgumentError, match="lateral must be"):
        settle(np.zeros((2, 2), np.float32), np.ones((1, 2), np.float32), 0.1, tol=0.1, max_spikes=9)
