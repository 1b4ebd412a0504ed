"""Progressive-batching L-BFGS: optima, growth of batches, sampled networks, and resumption."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

from lshsample.errors import ArgumentError, CheckpointError, DivergenceError
from lshsample.nn import Dense, Input, Network, NetworkObjective, ProgressiveLBFGS, Rehash, Sampled


def quadratic(n, d, seed=0):
    """Rows whose losses are (w - c)' A (w - c) / 2, with A and the optimum."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n, d)) + rng.standard_normal(d)
    curvatures = np.geomspace(0.1, 10, d)

    def objective(weights, rows, seed):
        off = weights - centres[rows]
        return float((off**2 @ curvatures).mean() / 2), curvatures * off.mean(axis=0)

    return objective, curvatures, centres


def logistic(n, d, penalty, seed=0):
    rng = np.random.default_rng(seed)
    x, true = rng.standard_normal((n, d)) * np.linspace(0.5, 2, d), rng.standard_normal(d)
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-x @ true)), 1.0, -1.0)

    def objective(weights, rows, seed):
        margins = y[rows] * (x[rows] @ weights)
        slopes = -y[rows] * np.exp(-np.logaddexp(0, margins))
        loss = np.logaddexp(0, -margins).mean() + penalty / 2 * weights @ weights
        return float(loss), slopes @ x[rows] / len(rows) + penalty * weights

    return objective


def run(optimizer, objective, steps):
    return [optimizer.step(objective) for _ in range(steps)]


def test_a_quadratic_is_solved_exactly():
    objective, _, centres = quadratic(500, 12)
    optimizer = ProgressiveLBFGS(np.zeros(12), 500, batch_size=32)
    run(optimizer, objective, 150)
    np.testing.assert_allclose(optimizer.weights, centres.mean(axis=0), atol=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_logistic_regression_has_the_optimum_of_scipy(seed):
    objective, rows = logistic(800, 10, 1e-2, seed), np.arange(800)
    best = scipy.optimize.minimize(
        lambda w: objective(w, rows, 0), np.zeros(10), jac=True, method="L-BFGS-B",
        options={"ftol": 1e-16, "gtol": 1e-11, "maxiter": 1000},
    )  # fmt: skip
    optimizer = ProgressiveLBFGS(np.zeros(10), 800, batch_size=32, seed=seed)
    reports = run(optimizer, objective, 250)
    np.testing.assert_allclose(optimizer.weights, best.x, atol=1e-8)
    assert np.all(np.diff([r.batch_size for r in reports]) >= 0)


def test_with_the_first_pair_the_direction_is_that_of_bfgs():
    """Against the matrix formula, for several pairs."""
    rng, d = np.random.default_rng(1), 6
    square = rng.standard_normal((d, d))
    hessian = square @ square.T + np.eye(d)
    optimizer = ProgressiveLBFGS(np.zeros(d), 8, batch_size=8, memory=3)
    for _ in range(5):
        s = rng.standard_normal(d)
        optimizer._keep(s, hessian @ s)
    assert len(optimizer._pairs) == 3
    s, y = optimizer._pairs[-1]
    matrix = np.eye(d) * (s @ y) / (y @ y)
    for s, y in optimizer._pairs:
        left = np.eye(d) - np.outer(s, y) / (s @ y)
        matrix = left @ matrix @ left.T + np.outer(s, s) / (s @ y)
    vector = rng.standard_normal(d)
    np.testing.assert_allclose(optimizer._direction(vector), matrix @ vector, rtol=1e-10)
    optimizer._keep(s, -y)
    assert len(optimizer._pairs) == 3


def test_the_wanted_size_is_that_of_the_test():
    """At a known point of a quadratic, H = 1: n = Var_i(g_i . g) / (theta² |g|^4), on average."""
    objective, curvatures, centres = quadratic(20_000, 4)
    start, mean = centres.mean(axis=0) + 0.3, centres.mean(axis=0)
    gradient = curvatures * (start - mean)
    products = (curvatures * (start - centres)) @ gradient
    theory = products.var() / (0.5**2 * (gradient @ gradient) ** 2)
    wanted = []
    for seed in range(60):
        optimizer = ProgressiveLBFGS(start, 20_000, batch_size=4000, theta=0.5, n_parts=16, seed=seed)
        wanted.append(optimizer.step(objective).wanted_size)
    error = np.std(wanted) / np.sqrt(len(wanted))
    assert abs(np.mean(wanted) - theory) < 4 * error + 0.05 * theory


def test_batches_grow_as_the_gradient_shrinks_and_not_before():
    """Far away a small batch does; near the optimum the size goes as 1 / |gradient|²."""
    objective, _, centres = quadratic(50_000, 5)
    far = ProgressiveLBFGS(centres.mean(axis=0) + 1000, 50_000, batch_size=64, memory=0)
    assert far.step(objective).batch_size == 64
    sizes = []
    for distance in (0.1, 0.05):
        wanted = [
            ProgressiveLBFGS(centres.mean(axis=0) + distance, 50_000, batch_size=5000, seed=seed)
            .step(objective)
            .wanted_size
            for seed in range(40)
        ]
        sizes.append(np.median(wanted))
    assert 3 < sizes[1] / sizes[0] < 5


def test_noise_of_a_sampler_makes_batches_grow_too():
    """Rows are all the same; only what an objective draws by its seed varies."""

    def objective(weights, rows, seed, noise=0.0):
        off = weights - 1
        draw = noise * np.random.default_rng(seed).standard_normal(weights.shape)
        return float(off @ off / 2 + draw @ weights), off + draw

    quiet = ProgressiveLBFGS(np.zeros(3), 10_000, batch_size=16)
    assert run(quiet, objective, 25)[-1].batch_size == 16
    noisy = ProgressiveLBFGS(np.zeros(3), 10_000, batch_size=16)
    assert run(noisy, lambda w, r, s: objective(w, r, s, 5.0), 25)[-1].batch_size > 32


def test_a_step_uses_the_same_rows_and_seeds_at_both_ends():
    objective, _, _ = quadratic(300, 3)
    seen = []

    def watched(weights, rows, seed):
        seen.append((weights.tobytes(), rows.tobytes(), seed))
        return objective(weights, rows, seed)

    ProgressiveLBFGS(np.zeros(3), 300, batch_size=64).step(watched)
    ends = {}
    for weights, rows, seed in seen:
        ends.setdefault(weights, set()).add((rows, seed))
    assert len(ends) >= 2
    first, *others = ends.values()
    assert all(first == other for other in others)
    assert len({seed for _, seed in first}) == len(first)


def test_a_step_that_finds_no_decrease_moves_nothing():
    def upwards(weights, rows, seed):
        return float(np.sum(weights)), -np.ones_like(weights)

    optimizer = ProgressiveLBFGS(np.zeros(3), 100, batch_size=16, halvings=3)
    report = optimizer.step(upwards)
    assert report.step_length == 0
    assert report.evaluations == 16 * 5
    np.testing.assert_array_equal(optimizer.weights, 0)


def test_a_run_that_is_resumed_has_the_same_bits():
    objective = logistic(2000, 8, 1e-3)
    whole = ProgressiveLBFGS(np.zeros(8), 2000, batch_size=32)
    run(whole, objective, 25)
    first = ProgressiveLBFGS(np.zeros(8), 2000, batch_size=32)
    run(first, objective, 13)
    second = ProgressiveLBFGS(np.ones(8), 2000, batch_size=32)
    second.restore(first.state())
    run(second, objective, 12)
    assert whole.weights.tobytes() == second.weights.tobytes()
    assert whole.batch_size == second.batch_size
    with pytest.raises(CheckpointError, match="not one of 7 weights"):
        ProgressiveLBFGS(np.ones(7), 2000).restore(first.state())
    with pytest.raises(CheckpointError, match=r"has .*batch_size"):
        second.restore({})


def data(n=240, d=12, labels=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    best = (x @ rng.standard_normal((d, labels))).argmax(axis=1)
    return x, sp.csr_array((np.ones(n, np.float32), (np.arange(n), best)), shape=(n, labels))


def small_network(**options):
    last = Sampled(30, "softmax", **{"sampler": "full", **options})
    return Network([Input(12), Dense(8, "tanh"), last], seed=3)


def test_the_gradient_of_a_network_is_that_of_differences():
    x, y = data()
    objective = NetworkObjective(small_network(), x, y, threads=1)
    weights, rows = objective.weights, np.arange(0, 240, 3)
    loss, gradient = objective(weights, rows, 0)
    along = np.random.default_rng(1).standard_normal(len(weights))
    along /= np.linalg.norm(along)
    ends = [objective(weights + step * along, rows, 0)[0] for step in (1e-2, -1e-2)]
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(gradient @ along, rel=1e-2, abs=1e-5)
    assert loss == pytest.approx(np.log(30), rel=0.1)


@pytest.mark.parametrize("sampler", ["full", "uniform", "lsh"])
def test_a_network_is_trained(sampler):
    x, y = data()
    options = {} if sampler == "full" else {"n_active": 12}
    if sampler == "lsh":
        options |= {"n_hashes": 3, "n_tables": 4, "rehash": Rehash(first=5)}
    network = small_network(sampler=sampler, **options)
    objective = NetworkObjective(network, x, y, threads=1)
    exact = NetworkObjective(network, x, y, sampled=False, threads=1)
    before = exact(objective.weights, np.arange(240), 0)[0]
    optimizer = ProgressiveLBFGS(objective.weights, objective.n_rows, batch_size=64)
    run(optimizer, objective, 30)
    assert exact(optimizer.weights, np.arange(240), 0)[0] < 0.6 * before


def test_looked_up_units_are_the_same_at_both_ends_of_a_step():
    x, y = data()
    network = small_network(sampler="lsh", n_active=12, n_hashes=3, n_tables=4)
    objective = NetworkObjective(network, x, y, threads=1)
    active, drawn = network.sampled_layers[0].active, []
    original = active.draw
    active.draw = lambda *args: drawn.append(original(*args)) or drawn[-1]
    rows, start = np.arange(64), objective.weights
    objective.begin(0)
    objective(start, rows, 5)
    objective(-3 * start, rows, 5)
    objective.begin(1)
    objective(-3 * start, rows, 5)
    np.testing.assert_array_equal(drawn[0].ids, drawn[1].ids)
    assert not np.array_equal(drawn[0].ids, drawn[2].ids)


@pytest.mark.parametrize("sampler", ["uniform", "lsh"])
def test_a_network_that_is_resumed_has_the_same_bits(sampler):
    """In another network; between two builds, tables are of weights that are gone."""
    x, y = data()
    options = {"sampler": sampler, "n_active": 12}
    if sampler == "lsh":
        options |= {"n_hashes": 3, "n_tables": 4, "rehash": Rehash(first=5)}

    def make():
        objective = NetworkObjective(small_network(**options), x, y, threads=1)
        return objective, ProgressiveLBFGS(objective.weights, objective.n_rows, batch_size=64)

    objective, whole = make()
    run(whole, objective, 8)
    states = objective.state(), whole.state()
    run(whole, objective, 6)
    other, second = make()
    for target, state in zip((other, second), states, strict=True):
        target.restore(state)
    run(second, other, 6)
    assert whole.weights.tobytes() == second.weights.tobytes()
    with pytest.raises(CheckpointError, match="not one of a network"):
        other.restore(second.state())


def test_rows_without_labels_are_left_out():
    x, y = data()
    y = sp.csr_array(y.multiply((np.arange(240) % 2)[:, None]))
    y.eliminate_zeros()
    objective = NetworkObjective(small_network(), x, y, threads=1)
    assert objective.n_rows == 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [np.nan]}, "weights must be a finite"),
        ({"weights": [[1.0]]}, "weights must be"),
        ({"n_rows": 1}, "n_rows must be"),
        ({"batch_size": 4}, "batch_size must be an integer >= 8"),
        ({"theta": 0}, "theta must be"),
        ({"memory": -1}, "memory must be"),
        ({"n_parts": 1}, "n_parts must be"),
        ({"armijo": 0.0}, "armijo must be"),
        ({"halvings": -1}, "halvings must be"),
        ({"curvature": -1.0}, "curvature must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        ProgressiveLBFGS(**{"weights": np.zeros(2), "n_rows": 100, **options})


def test_bad_objectives_are_refused():
    optimizer = ProgressiveLBFGS(np.zeros(2), 100, batch_size=16)
    with pytest.raises(DivergenceError, match="not finite"):
        optimizer.step(lambda w, r, s: (np.inf, w))
    with pytest.raises(ArgumentError, match=r"objective must be .* of 2 numbers"):
        optimizer.step(lambda w, r, s: (0.0, np.zeros(3)))
    assert optimizer.steps == 0
    x, y = data()
    network = Network([Input(12), Dense(8), Sampled(30, "softmax", sampler="full")], precision="bfloat16")
    with pytest.raises(ArgumentError, match="network must be a Network in float32"):
        NetworkObjective(network, x, y)
    with pytest.raises(ArgumentError, match="weights must be an array of"):
        NetworkObjective(small_network(), x, y)(np.zeros(3), np.arange(4), 0)
