"""Runs with a limit of time: the learning rate reaches its end when the time does."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, LearningRate, Network, Sampled, Sparse
from lshsample.nn.network import StepReport
from lshsample.training import Callback, Trainer
from lshsample.training.pace import ByTime
from lshsample.training.run_state import RunState

OPTIONS = {"batch_size": 32, "lr": 0.02, "threads": 1}


def make_data():
    rng = np.random.default_rng(0)
    x = sp.random_array((240, 60), density=0.1, rng=rng, format="csr", dtype=np.float32)
    return x, sp.csr_array(((x @ rng.standard_normal((60, 90))) > 1.0).astype(np.float32))


def make_network() -> Network:
    last = Sampled(90, sampler="lsh", n_active=30, n_hashes=4, n_tables=6)
    return Network([Sparse(60), Dense(16), last], seed=3)


def bits(network: Network) -> list[bytes]:
    return [p.store.tobytes() for p in network.parameters]


class StopAt(Callback):
    """Ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, step, report, milliseconds):
        return step == self.at


def simulate(durations, total, seconds, resume_at=None):
    """The state of a run whose steps take the given seconds, and the progress before each of them."""
    state, schedule = RunState(), LearningRate()
    pace, progress = ByTime(total, seconds), []
    for number, duration in enumerate(durations):
        if number == resume_at:
            pace = ByTime(total, seconds, state.step)
        if pace.is_over(state) or state.step == total:
            break
        state.rate_factors.append(pace.factor(state, schedule))
        progress.append(state.progress)
        state.add(StepReport(1.0, 1.0), duration)
    return state, np.array(progress)


SECONDS = {
    "even": lambda rng, n: np.full(n, 0.01),
    "noisy": lambda rng, n: 0.01 * rng.lognormal(0.0, 0.7, n),
    "slow first": lambda rng, n: np.where(np.arange(n) == 0, 2.0, 0.01),
    "slower": lambda rng, n: np.linspace(0.005, 0.02, n),
    "faster": lambda rng, n: np.linspace(0.02, 0.005, n),
    "rebuilds": lambda rng, n: np.where(np.arange(n) % 97 == 50, 0.4, 0.01),
}


@pytest.mark.parametrize("resume_at", [None, 150])
@pytest.mark.parametrize("total", [None, 100_000])
@pytest.mark.parametrize("name", SECONDS)
def test_progress_rises_steadily_to_one_within_the_time(name, total, resume_at):
    durations = SECONDS[name](np.random.default_rng(0), 3000)
    state, progress = simulate(durations, total, 10.0, resume_at)
    assert len(progress) > 200
    assert abs(state.seconds - 10.0) < 0.45
    rises = np.diff(progress)
    assert (rises >= 0).all()
    assert 0.98 < progress[-1] < 1
    assert rises.max() < 6 / len(progress), "no jump"
    factors = np.array(state.rate_factors)
    later = factors[progress >= 0.1]
    assert (np.diff(later) <= 0).all()
    assert later[-1] < 0.06 * later[0]
    expected = 1.0 if total is None else min((total / len(progress)) ** 0.6, 8)
    assert later[0] == pytest.approx(expected, rel=0.4)
    if name == "even":
        straight = np.arange(len(progress)) / len(progress)
        np.testing.assert_allclose(progress, straight, atol=0.004)


def test_epochs_that_end_first_end_the_run():
    state, progress = simulate(np.full(900, 0.01), 500, 10.0)
    assert state.step == 500
    np.testing.assert_allclose(progress, np.arange(500) / 500)
    straight = [LearningRate().factor(step, 500) for step in range(1, 501)]
    np.testing.assert_allclose(state.rate_factors, straight)


@pytest.mark.parametrize("schedule", ["linear", LearningRate("cosine", warmup=0.1), "constant"])
def test_a_run_with_a_limit_of_time_can_be_repeated(schedule, tmp_path):
    """Also when it is interrupted; it validates at its end, in the middle of an epoch."""
    x, y = make_data()
    network = make_network()
    run = Trainer(network, epochs=10_000, max_seconds=0.15, schedule=schedule, **OPTIONS)
    assert run.is_asynchronous
    history = run.fit(x, y, validation=(x, y))
    assert history.stopped == "max_seconds"
    assert history.seconds > 0.1
    assert history.steps == len(history.rate_factors) == history.epochs[-1].step
    assert history.epochs[-1].validation
    again = make_network()
    options = {"epochs": 10_000, "schedule": schedule, "repeat": history.rate_factors, **OPTIONS}
    cut = Trainer(again, checkpoint=tmp_path / "c", callbacks=[StopAt(3)], **options)
    assert not cut.is_asynchronous
    assert cut.fit(x, y).steps == min(3, history.steps)
    with pytest.raises(ArgumentError, match="repeat must be the factors of the run that this one repeats"):
        Trainer.resume(tmp_path / "c", threads=1).fit(x, y)
    with pytest.raises(ArgumentError, match="repeat must be those of the steps that are done"):
        Trainer.resume(tmp_path / "c", threads=1, repeat=[7.0] * 5).fit(x, y)
    resumed = Trainer.resume(tmp_path / "c", threads=2, repeat=history.rate_factors)
    repeated = resumed.fit(x, y)
    assert bits(resumed.network) == bits(network)
    assert (repeated.stopped, repeated.rate_factors) == ("finished", history.rate_factors)


def test_a_continued_run_has_the_time_that_is_left(tmp_path):
    x, y = make_data()
    run = {"epochs": 10_000, "checkpoint": tmp_path / "c", **OPTIONS}
    first = Trainer(make_network(), max_seconds=0.5, callbacks=[StopAt(5)], **run).fit(x, y)
    assert (first.stopped, first.steps) == ("callback", 5)
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    last = resumed.fit(x, y)
    assert last.stopped == "max_seconds"
    assert last.rate_factors[:5] == first.rate_factors
    assert len(last.rate_factors) == last.steps
    assert last.seconds > 0.4
    assert Trainer.resume(tmp_path / "c", threads=1).fit(x, y).steps == last.steps, "its time is over"


def test_a_limit_can_be_given_to_a_run_that_goes_on(tmp_path):
    """Its rate falls from where it is, without being raised."""
    x, y = make_data()
    run = {"epochs": 10, "checkpoint": tmp_path / "c", **OPTIONS}
    assert Trainer(make_network(), callbacks=[StopAt(30)], **run).fit(x, y).seconds < 100
    cut = Trainer.resume(tmp_path / "c", threads=1, max_seconds=100, callbacks=[StopAt(40)])
    assert cut.fit(x, y).stopped == "callback"
    history = Trainer.resume(tmp_path / "c", threads=1).fit(x, y)
    assert (history.stopped, history.steps) == ("finished", 80)
    planned = [LearningRate().factor(step, 80) for step in range(31, 81)]
    np.testing.assert_allclose(history.rate_factors, planned)
    with pytest.raises(ArgumentError, match="repeat must be those of the steps that are done"):
        Trainer.resume(tmp_path / "c", threads=1, repeat=history.rate_factors).fit(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat": []}, "repeat must be History.rate_factors .*got nothing"),
        ({"repeat": 3}, "repeat must be History.rate_factors"),
        ({"repeat": [2.0, -0.5]}, r"repeat\[1\] must be a finite number of at least 0"),
        ({"repeat": [2.0, "x"]}, r"repeat\[1\] must be"),
        ({"repeat": [2.0], "max_seconds": 1}, "repeat must be used without max_seconds"),
    ],
)
def test_bad_records_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Trainer(make_network(), **options)


def test_other_runs_record_nothing():
    network: Network = make_network()
    run = Trainer(network, epochs=1, **OPTIONS)
    assert not run.is_asynchronous
    assert run.fit(*make_data()).rate_factors == ()


def test_a_short_run_has_a_higher_rate_that_falls_later():
    """From the plain fall, if there is time for all steps, to 8 times the rate, falling in the last fifth."""
    rate = LearningRate("linear")
    whole = [rate.factor_in_time(step, 100, 1.0) for step in range(1, 101)]
    assert whole == [rate.factor(step, 100) for step in range(1, 101)]
    short = [rate.factor_in_time(step, 100, 0.1) for step in range(1, 101)]
    assert short[:81] == [10**0.6] * 81
    np.testing.assert_allclose(short[80:], 10**0.6 * (1 - np.arange(20) / 20))
    assert rate.factor_in_time(1, 100, 1e-6) == 8
    half = LearningRate("cosine", warmup=0.1, final=0.5, hurry=0.0)
    factors = [half.factor_in_time(step, 100, 0.5) for step in range(1, 101)]
    assert factors[4] == 0.5
    assert factors[10:54] == [1.0] * 44
    assert factors[-1] == pytest.approx(0.5, abs=1e-3)
    assert LearningRate("constant", warmup=2).factor_in_time(1, 100, 0.1) == 0.5
    assert LearningRate("constant").factor_in_time(99, 100, 0.1) == 1.0


def test_a_warm_up_is_a_number_of_steps_or_a_share():
    for share, steps in ((0.25, 10), (0.5, 20)):
        one, other = LearningRate("cosine", warmup=share), LearningRate("cosine", warmup=steps)
        for step in range(1, 41):
            assert one.factor(step, 40) == other.factor(step, 40)
    assert LearningRate(warmup=0.3).factor(1, None) == 1.0
    assert LearningRate(warmup=np.int64(2)).factor(1, 40.5) == 0.5
    for bad in (-1, 1.5, True, "2", float("inf"), float("nan")):
        with pytest.raises(ArgumentError, match=r"warmup must be a number of steps, such as 100, or a share"):
            LearningRate(warmup=bad)
