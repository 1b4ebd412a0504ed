"""The accuracy against the training time, measured between steps at a few percent of it."""

from __future__ import annotations

import re
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Input, Network, Sampled, Sparse
from lshsample.nn.network import StepReport
from lshsample.training import Callback, Evaluation, ProgressBar, Trainer
from lshsample.training.callbacks import _bars
from lshsample.training.run_state import RunState
from lshsample.training.validation import Curve, Validation

OPTIONS = {"batch_size": 32, "lr": 0.02, "epochs": 30, "threads": 1}
RNG = np.random.default_rng(0)
X = sp.random_array((300, 60), density=0.1, rng=RNG, format="csr", dtype=np.float32)
Y = sp.csr_array(((X @ RNG.standard_normal((60, 90))) > 1.0).astype(np.float32))
PAIR = X[200:], Y[200:]


def make_network() -> Network:
    return Network([Sparse(60), Dense(256), Sampled(90, sampler="lsh", n_active=30, n_hashes=4)], seed=3)


def bits(network: Network) -> list[bytes]:
    return [p.store.tobytes() for p in network.parameters]


class Watch(Callback):
    """What the run tells, and whether it is to end after a number of evaluations."""

    def __init__(self, stop: int = 0) -> None:
        self.seen, self.stop = [], stop

    def on_evaluation(self, evaluation):
        self.seen.append(evaluation)
        return len(self.seen) == self.stop


def test_the_curve_changes_nothing():
    """A sample between steps, all rows after epochs; in the order of time, as the callback saw them."""
    networks, watch = [make_network(), make_network()], Watch()
    run = Trainer(networks[0], curve_rows=10, callbacks=[watch], **OPTIONS)
    history = run.fit(X[:200], Y[:200], validation=PAIR)
    without = Trainer(networks[1], curve_rows=0, **OPTIONS).fit(X[:200], Y[:200], validation=PAIR)
    assert bits(networks[0]) == bits(networks[1])
    assert list(history.curve) == watch.seen
    between = [point for point in history.curve if point.rows == 10]
    whole = [point for point in history.curve if point.rows == 100]
    assert len(between) + len(whole) == len(history.curve)
    assert between
    assert [point.validation for point in whole] == [record.validation for record in history.epochs]
    assert [(p.step, p.validation) for p in without.curve] == [(p.step, p.validation) for p in whole]
    steps = [point.step for point in history.curve]
    assert steps == sorted(set(steps))
    assert run.state.curve_seconds > 0
    assert history.to_dict()["curve"][-1]["p@1"] == history.epochs[-1].validation["p@1"]


@pytest.mark.parametrize(("steps", "factor"), [(20, 1.0), (5000, 1.0), (5000, 3.0), (5000, 100.0)])
def test_the_curve_takes_three_percent_of_the_time(steps, factor, monkeypatch):
    """At most, if a row of a step costs ``factor`` times as much as one that is evaluated, per unit; the
    distance between evaluations grows with the time.
    """
    clock, row_seconds = 0.0, 1e-4

    class Costly:
        n_labels = 1000

        def predict(self, rows, threads):
            nonlocal clock
            clock += row_seconds * len(rows)

        def evaluate(self, rows, labels, threads):
            self.predict(rows, threads)
            return {"p@1": 50.0}

    monkeypatch.setattr("lshsample.training.validation.time", SimpleNamespace(perf_counter=lambda: clock))
    state = RunState()
    curve = Curve(Costly(), Validation.of(make_network(), PAIR), batch_size=100, threads=1)
    for _ in range(steps):
        # A step computes 200 of 1,000 units of each of its 100 rows.
        state.add(StepReport(1.0, 200.0), 100 * row_seconds * 200 / 1000 * factor)
        point = curve.evaluate_if_due(state)
        if point is not None:
            state.curve.append(point)
        assert clock == pytest.approx(state.curve_seconds)
        assert state.curve_seconds <= 0.0301 * state.seconds
    times = np.array([point.seconds for point in state.curve])
    assert (times[1:] >= 1.05 * times[:-1]).all()
    assert len(times) == 0 if steps == 20 else len(times) > 20


def test_the_sample_is_evaluated_as_at_that_step():
    """Rows that a seed chooses, and the same ones each time."""
    network, sample, same = make_network(), None, []

    class Compare(Callback):
        def on_evaluation(self, evaluation):
            if evaluation.rows == 10:
                same.append(network.evaluate(sample.rows, sample.labels, threads=1) == evaluation.validation)

    run = Trainer(network, curve_rows=10, callbacks=[Compare()], seed=5, **OPTIONS)
    whole = Validation.of(network, PAIR)
    sample = whole.sample(10, 5)
    dense = Validation.of(
        Network([Input(60), Sampled(90, sampler="full")]), (PAIR[0].toarray(), PAIR[1])
    ).sample(10, 5)
    assert (dense.rows.data == sample.rows.data.toarray()).all()
    assert whole.sample(100, 5) is whole
    run.fit(X[:200], Y[:200], validation=PAIR)
    assert same
    assert all(same)


def test_a_callback_can_end_the_run_and_a_continued_one_keeps_the_curve(tmp_path):
    options = {"checkpoint": tmp_path / "c", **OPTIONS}
    first = Trainer(make_network(), callbacks=[Watch(stop=3)], **options).fit(X, Y, validation=PAIR)
    assert (first.stopped, len(first.curve)) == ("callback", 3)
    resumed = Trainer.resume(tmp_path / "c", threads=1, callbacks=[Watch(stop=2)])
    history = resumed.fit(X, Y, validation=PAIR)
    assert history.curve[:3] == first.curve
    assert len(history.curve) == 5


def test_a_sample_without_labels_is_not_evaluated():
    y = sp.csr_array((np.ones(1), ([0], [0])), shape=(100, 90))
    chosen = next(
        seed
        for seed in range(99)
        if not Validation.of(make_network(), (PAIR[0], y)).sample(2, seed).labels.nnz
    )
    run = Trainer(make_network(), curve_rows=2, **{**OPTIONS, "epochs": 2, "seed": chosen})
    assert [point.rows for point in run.fit(X, Y, validation=(PAIR[0], y)).curve] == [100, 100]


@pytest.mark.parametrize("rows", [-1, 1.5, True, "10"])
def test_bad_numbers_of_rows_are_refused(rows):
    with pytest.raises(ArgumentError, match="curve_rows must be an integer"):
        Trainer(make_network(), curve_rows=rows)


def test_progress_shows_the_accuracy_against_time():
    text = StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=160))
    run = Trainer(make_network(), callbacks=[bar], max_seconds=0.3, **{**OPTIONS, "epochs": 10_000})
    history = run.fit(X[:200], Y[:200], validation=PAIR)
    last = history.curve[-1]
    shown = f"P@1 {last.validation['p@1']:.2f} at {last.seconds:.1f} s {_bars(history.curve)}"
    assert shown in text.getvalue()
    totals = [int(total) for total in re.findall(rf"\b{history.steps}/([0-9]+)", text.getvalue())]
    assert history.steps <= totals[-1] < 10 * history.steps, "as expected by then, not 10,000 epochs"


def test_the_curve_as_bars():
    points = [Evaluation(i, seconds, 9, {"p@1": value}) for i, (seconds, value) in
              enumerate([(2.5, 10.0), (5.0, 35.0), (10.0, 70.0)])]  # fmt: skip
    assert _bars(points) == "  ▂▂▅▅▅▅▅█"
    assert _bars([Evaluation(1, 1.0, 9, {"p@1": 0.0})]) == " " * 9 + "▁"


def test_long_runs_log_the_curve(caplog, monkeypatch):
    monkeypatch.setattr("lshsample.training.loop._LOG_EVERY", 0.0)
    with caplog.at_level("INFO", logger="lshsample"):
        history = Trainer(make_network(), curve_rows=10, **OPTIONS).fit(X[:200], Y[:200], validation=PAIR)
    lines = [record.getMessage() for record in caplog.records]
    form = re.compile(r"step \d+/210  validation P@1 [0-9.]+ of 10 rows  [0-9.]+ s")
    assert sum(map(bool, map(form.fullmatch, lines))) == sum(point.rows == 10 for point in history.curve) > 0
