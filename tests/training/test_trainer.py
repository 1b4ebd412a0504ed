"""Training end to end: it learns, is reproducible, and can be interrupted and resumed with the same bits."""

from __future__ import annotations

import os
import re
import signal
from io import StringIO

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console

from lshsample.errors import ArgumentError, CheckpointError, DivergenceError, MemoryBudgetError
from lshsample.nn import Dense, Input, Network, Rehash, Sampled, Sparse
from lshsample.training import Callback, EarlyStop, ProgressBar, Trainer, TrainingSettings
from lshsample.training.batch_source import held_out_rows

N_FEATURES, N_LABELS = 60, 90
LSH = {"sampler": "Retrieve() | Cap(30) | Include() | Uniform(15)", "n_hashes": 4, "n_tables": 6,
       "rehash": Rehash(3, 0.2)}  # fmt: skip


def make_data(rows: int = 240, seed: int = 0):
    """Rows with two features of each of their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_LABELS, (rows, 2))
    y = np.zeros((rows, N_LABELS), np.float32)
    x = np.zeros((rows, N_FEATURES), np.float32)
    for column in labels.T:
        y[np.arange(rows), column] = 1.0
        x[np.arange(rows), column % N_FEATURES] += 1.0
        x[np.arange(rows), (column * 7 + 3) % N_FEATURES] += 0.5
    return sp.csr_array(x), sp.csr_array(y)


def make_network(active_set: str = "batch", hidden=None, **options) -> Network:
    """A small network with tables."""
    last = Sampled(N_LABELS, active_set=active_set, **{**LSH, **options})
    return Network([Sparse(N_FEATURES), *(hidden or [Dense(16)]), last], seed=3)


def bits(network: Network) -> list[bytes]:
    """Weights and optimizer state."""
    return [p.store.tobytes() for p in network.parameters]


def train(network: Network, **options):
    """Train on the small data."""
    x, y = make_data()
    trainer = Trainer(network, **{"batch_size": 32, "epochs": 2, "lr": 0.02, "threads": 1, **options})
    return trainer, trainer.fit(x, y)


class StopAt(Callback):
    """Ends the run after a step, or calls a function there."""

    def __init__(self, step: int, act=lambda: True) -> None:
        self.step, self.act = step, act

    def on_step(self, step, report, milliseconds):
        return self.act() if step == self.step else False


STACKS = {
    "batch": {"active_set": "batch"},
    "sample": {"active_set": "sample"},
    "deep": {"hidden": [Sampled(40, "relu", active_set="sample", **LSH), Dense(12, dropout=0.3)]},
    "fixed": {"rehash": Rehash(4, 0.0, new_functions=False)},
    "drift": {"rehash": {"first": 2, "growth": 0.0, "strategy": "drift", "threshold": 0.05, "sketch": 9}},
    "sliced": {"rehash": {"first": 9, "growth": 0.0, "strategy": "sliced", "steps": 7}},
}


def test_it_learns_and_reports():
    """Held-out precision far above chance, and all fields of the history."""
    x, y = make_data(1200)
    network = make_network(hidden=[Dense(48)])
    trainer = Trainer(network, batch_size=40, epochs=8, lr=0.02, threads=2)
    history = trainer.fit(x, y, validation=make_data(200, seed=9))
    assert history.epochs[-1].validation["p@1"] > 60
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert [record.epoch for record in history.epochs] == list(range(1, 9))
    assert history.steps == 8 * 30 == len(history.step_ms)
    assert 0 < history.active_mean < N_LABELS
    assert history.stopped == "finished"
    data = history.to_dict()
    assert {"epochs", "steps", "train_seconds", "step_ms_median", "active_mean", "peak_rss_mib"} <= set(data)
    assert {"seconds", "loss", "p@1"} <= set(data["epochs"][0])


@pytest.mark.parametrize("name", STACKS)
def test_the_bits_do_not_depend_on_threads(name):
    """1, 2 and 4 threads: the same weights and optimizer state."""
    runs = []
    for threads in (1, 2, 4):
        network = make_network(**STACKS[name])
        train(network, threads=threads)
        runs.append(bits(network))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
@pytest.mark.parametrize("name", STACKS)
def test_a_resumed_run_equals_an_uninterrupted_one(name, optimizer, tmp_path):
    """From a checkpoint in the middle of an epoch, in a new trainer: the same bits."""
    whole = make_network(**STACKS[name])
    train(whole, optimizer=optimizer)
    x, y = make_data()
    for stop in (5, 8, 11):
        network = make_network(**STACKS[name])
        folder = tmp_path / str(stop)
        _, cut = train(network, optimizer=optimizer, checkpoint=folder, callbacks=[StopAt(stop)])
        assert (cut.steps, cut.stopped) == (stop, "callback")
        resumed = Trainer.resume(folder, threads=2)
        history = resumed.fit(x, y)
        assert bits(resumed.network) == bits(whole)
        assert (history.steps, len(history.step_ms), history.stopped) == (16, 16, "finished")


def test_the_same_trainer_continues_an_interrupted_run():
    """Also without a checkpoint; after a finished run it starts a new one."""
    whole, network = make_network(), make_network()
    train(whole)
    callback = StopAt(5)
    trainer, cut = train(network, callbacks=[callback])
    assert (cut.stopped, cut.steps) == ("callback", 5)
    x, y = make_data()
    assert trainer.fit(x, y).stopped == "finished"
    assert bits(network) == bits(whole)
    assert trainer.fit(x, y).steps == 5


def test_prediction_does_not_change_training():
    """Sampled prediction builds separate tables; training continues with the old ones."""
    whole, network = make_network(), make_network()
    train(whole)
    x, _ = make_data()
    train(network, callbacks=[StopAt(5, lambda: network.predict(x, mode="sampled") is None)])
    assert bits(network) == bits(whole)


def test_a_checkpoint_of_a_finished_run_is_not_trained_further(tmp_path):
    """Resuming it does no steps."""
    network = make_network()
    train(network, checkpoint=tmp_path / "c")
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    assert resumed.fit(*make_data()).steps == 16
    assert bits(resumed.network) == bits(network)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_run_with_a_checkpoint(number, tmp_path):
    """The step is finished, a checkpoint is written, handlers are restored, and the run can be continued."""
    before = signal.getsignal(number)
    _, history = train(
        make_network(), checkpoint=tmp_path / "c", callbacks=[StopAt(3, lambda: os.kill(os.getpid(), number))]
    )
    assert (history.stopped, history.steps) == (number.name, 3)
    assert signal.getsignal(number) is before
    whole = make_network()
    train(whole)
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    resumed.fit(*make_data())
    assert bits(resumed.network) == bits(whole)


def test_max_seconds_ends_the_run():
    """At the end of a step."""
    _, history = train(make_network(), max_seconds=1e-9)
    assert (history.stopped, history.steps) == ("max_seconds", 1)


def test_checkpoints_are_written_regularly(tmp_path):
    """A killed process loses only the steps after the last one."""
    seen = []

    class Look(Callback):
        def on_step(self, step, report, milliseconds):
            seen.append(Trainer.resume(tmp_path / "c", threads=1).state.step)

    train(make_network(), checkpoint=tmp_path / "c", checkpoint_seconds=1e-9, callbacks=[Look()])
    assert seen == list(range(1, 17))


def test_resuming_with_other_data_is_refused(tmp_path):
    """Data are compared by their fingerprint."""
    train(make_network(), checkpoint=tmp_path / "c", callbacks=[StopAt(3)])
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    with pytest.raises(CheckpointError, match="not the data"):
        resumed.fit(*make_data(seed=1))
    with pytest.raises(ArgumentError, match="epochs"):
        Trainer.resume(tmp_path / "c", epochs=9)


def test_rows_without_labels_are_left_out_with_a_softmax():
    """Also within batches."""
    x, y = make_data(64)
    more_x, more_y = sp.vstack([x, x], format="csr"), sp.vstack([y, sp.csr_array(y.shape)], format="csr")
    one, other = make_network(), make_network()
    for network, rows, labels in ((one, x, y), (other, more_x, more_y)):
        Trainer(network, batch_size=16, epochs=1, threads=1).fit(rows, labels)
    assert bits(one) == bits(other)


def test_empty_rows_and_dense_arrays_are_fine():
    """Rows without features; labels as a dense array; rows as float64."""
    x, y = make_data()
    x = x.toarray().astype(np.float64)
    x[:5] = 0.0
    network = Network([Input(N_FEATURES), Dense(8), Sampled(N_LABELS, **LSH)])
    history = Trainer(network, epochs=1, batch_size=64, threads=1).fit(x, y.toarray())
    assert np.isfinite(history.epochs[0].loss)


def _bad_inputs():
    x, y = make_data()
    nan, inf = x.copy(), x.copy()
    nan.data[3], inf.data[3] = np.nan, np.inf
    wrong_id, weighted = y.copy(), y.copy()
    wrong_id.indices[0] = N_LABELS
    weighted.data[0] = 0.5
    return {
        "nan": (nan, y, r"X must be .* \(got nan at \(\d+, \d+\)"),
        "inf": (inf, y, "X"),
        "columns": (x[:, :-1], y, r"X must be .* \(got 59 columns"),
        "text": (np.array([["a"]]), y, "X"),
        "rows": (x, y[:-1], r"Y must be .* \(got shape"),
        "labels": (x, y[:, :-1], r"Y must be .* \(got 89 columns"),
        "label id": (x, wrong_id, "Y"),
        "label value": (x, weighted, r"Y must be .* \(got the value 0.5"),
        "no rows": (x[:0], y[:0], r"X must be .* \(got 0 rows"),
        "no labels": (x, sp.csr_array(y.shape, dtype=np.float32), "with a label"),
        "not 2-D": (np.zeros(5), y, r"X must be .* \(got shape"),
    }


@pytest.mark.parametrize("name", _bad_inputs())
def test_bad_data_is_refused_before_anything_changes(name):
    """The error names the argument, and the network is not allocated."""
    x, y, words = _bad_inputs()[name]
    network = make_network()
    with pytest.raises(ArgumentError, match=words):
        Trainer(network, threads=1).fit(x, y)
    assert not any(p.allocated for p in network.parameters)


def test_bad_validation_data_is_refused():
    """Before the first step."""
    x, y = make_data()
    for validation, words in (
        (x, "pair"),
        ((x, y[:-1]), "validation.1."),
        ((x[:0], y[:0]), "at least one row"),
    ):
        network = make_network()
        with pytest.raises(ArgumentError, match=words):
            Trainer(network, threads=1).fit(x, y, validation=validation)
        assert not any(p.allocated for p in network.parameters)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"epochs": 0}, {"lr": float("nan")}, {"lr": -1.0}, {"optimizer": "adamw"},
     {"seed": -1},
     {"schedule": "step"}, {"threads": 0}, {"threads": 10_000}, {"max_seconds": 0},
     {"checkpoint_seconds": True}, {"threads": "2"}, {"callbacks": 5}, {"callbacks": [print]},
     {"memory_limit": "1 GB"}, {"memory_limit": -1}, {"checkpoint": 5}],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(options):
    """The error names the argument."""
    with pytest.raises(ArgumentError, match=next(iter(options))):
        Trainer(make_network(), **options)


def test_numpy_numbers_are_accepted():
    """And stored as plain numbers."""
    trainer = Trainer(
        make_network(), batch_size=np.int32(16), epochs=np.int64(2), lr=np.float32(0.5), threads=np.int64(1)
    )
    assert trainer.settings == TrainingSettings(batch_size=16, epochs=2, lr=0.5)
    assert {type(v) for v in attrs.astuple(trainer.settings, recurse=False)[:3]} == {int, float}
    assert Sampled(np.int64(5)) == Sampled(5)
    with pytest.raises(ArgumentError, match="units"):
        Sampled(np.bool_(True))


def test_a_trainer_needs_a_network():
    """The error names the argument."""
    with pytest.raises(ArgumentError, match=r"network must be .* \(got str"):
        Trainer("network")


def test_a_run_that_needs_too_much_memory_is_refused():
    """A hundred billion parameters can be described, and are refused before they are allocated."""
    units = 200_000_000
    network = Network([Sparse(1000), Dense(512), Sampled(units, sampler="uniform", n_active=1000)])
    with pytest.raises(MemoryBudgetError, match=r"needs about 1,\d\d\d,\d\d\d MiB .*parameters"):
        Trainer(network, threads=1).fit(
            sp.csr_array((1, 1000)), sp.csr_array(([1.0], ([0], [0])), (1, units))
        )
    with pytest.raises(MemoryBudgetError):
        Trainer(make_network(), memory_limit=1000, threads=1).fit(*make_data())


def test_the_memory_estimate_depends_on_the_threads_that_build_tables():
    """Codes too long for a directory are sorted by radix, with scratch memory for each thread."""
    network = Network([Sparse(10), Dense(4), Sampled(670_091, n_hashes=28, n_tables=16)])
    one, four = (Trainer(network, threads=n).memory_needed()["tables"] for n in (1, 4))
    assert one < four


def test_divergence_of_the_loss_is_an_error():
    """A loss that is not finite ends the run with an error, not with NaN weights."""
    network = make_network(hidden=[Dense(8, "linear")])
    with pytest.raises(DivergenceError, match="lr"):
        train(network, optimizer="sgd", lr=1e18, epochs=20)
    assert all(np.isfinite(p.weights).all() for p in network.parameters)


@pytest.mark.parametrize(
    ("hidden", "sampler", "what"),
    [([Dense(8, "linear")], LSH["sampler"], "queries"), ([], "ExactTop(9) | Include()", "vectors")],
)
def test_divergence_found_by_a_sampler_is_reported_as_such(hidden, sampler, what):
    """A sampler may find the non-finite numbers first; the caller's arguments are not wrong.

    The rate is infinite in float32, so that the first step leaves weights that are not finite on any machine.
    Without a hidden layer the queries are the rows, and only the vectors can be wrong.
    """
    layers = [Sparse(N_FEATURES), *hidden, Sampled(N_LABELS, sampler=sampler, n_hashes=4, n_tables=6)]
    with pytest.raises(DivergenceError, match=rf"step 2: .* layer's {what}: .* diverged"):
        train(Network(layers, seed=3), optimizer="sgd", lr=1e39, epochs=20)


@pytest.mark.parametrize("size", [1.0, 3e38])
def test_only_numbers_beyond_float32_are_divergence(monkeypatch, size):
    """Errors of a sampler over queries and weights whose inner products are in range are not replaced."""
    network = make_network(hidden=[Dense(8, "linear", init_scale=1.0)])

    def fail(*arguments):
        network.output.unit_vectors()[...] = size
        raise ArgumentError("vectors", "inner products that are NaN", "finite rows")

    monkeypatch.setattr(network.output.active, "draw", fail)
    wanted = (ArgumentError, "^vectors") if size == 1.0 else (DivergenceError, "layer's vectors: .* diverged")
    with pytest.raises(wanted[0], match=wanted[1]):
        train(network)


def test_early_stop_and_target():
    """Patience counts epochs without a new best; a target ends the run; validation data are needed."""
    x, y = make_data()
    trainer = Trainer(make_network(), epochs=50, lr=1e-12, batch_size=64, threads=1, callbacks=[EarlyStop(2)])
    history = trainer.fit(x, y, validation=(x, y))
    assert (history.stopped, len(history.epochs)) == ("callback", 3)
    stop = EarlyStop(target=0.0)
    trainer = Trainer(make_network(), epochs=50, batch_size=64, threads=1, callbacks=[stop])
    assert len(trainer.fit(x, y, validation=(x, y)).epochs) == 1
    network = make_network()
    with pytest.raises(ArgumentError, match="validation"):
        Trainer(network, threads=1, callbacks=[EarlyStop()]).fit(x, y)
    assert not any(p.allocated for p in network.parameters)
    for target in ("90", float("nan"), 101):
        with pytest.raises(ArgumentError, match="target"):
            EarlyStop(target=target)


def test_early_stop_counts_the_epochs_before_an_interruption(tmp_path):
    """But not those of another run."""
    x, y = make_data()
    options = {"epochs": 50, "lr": 1e-12, "batch_size": 64, "threads": 1, "checkpoint": tmp_path / "c"}
    stop = EarlyStop(3)
    for _ in range(2):
        whole = Trainer(make_network(), **options, callbacks=[stop]).fit(x, y, validation=(x, y))
        assert len(whole.epochs) == 4
    Trainer(make_network(), **options, callbacks=[StopAt(2 * -(-len(y.indptr) // 64))]).fit(
        x, y, validation=(x, y)
    )
    resumed = Trainer.resume(tmp_path / "c", threads=1, callbacks=[EarlyStop(3)])
    assert len(resumed.fit(x, y, validation=(x, y)).epochs) == 4


def test_the_progress_bar_shows_the_run():
    """Step time, active set, loss, and P@1: of batches first, of the validation afterwards."""
    text = StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=150))
    bar.hits_every = 1
    x, y = make_data()
    trainer = Trainer(make_network(), epochs=2, batch_size=64, threads=1, callbacks=[bar])
    history = trainer.fit(x, y, validation=(x, y))
    shown = text.getvalue()
    last = f"{history.epochs[-1].validation['p@1']:.2f}"
    assert shown.rpartition("P@1 ")[2].startswith(last)
    assert all(word in shown for word in ("ms/step", "active", "loss", "P@1", "8/8"))


def kept(network: Network) -> list[bytes]:
    return [p.weights.tobytes() for p in network.parameters]


class KeepEpochs(Callback):
    """The weights at the end of each epoch."""

    def on_start(self, trainer, steps_done, steps_total):
        self.network, self.seen = trainer.network, []

    def on_epoch(self, record):
        self.seen.append(kept(self.network))


def test_patience_ends_the_run_and_returns_to_the_best_epoch():
    """The rows that are held out by a share are those of the seed, and no others change the run."""
    x, y = make_data()
    epochs, network = KeepEpochs(), make_network()
    run = Trainer(network, batch_size=32, epochs=40, lr=0.05, threads=1, callbacks=[epochs])
    history = run.fit(x, y, validation=0.25, patience=3)
    values = [record.validation["p@1"] for record in history.epochs]
    best = int(np.argmax(values))
    assert history.stopped == "patience"
    assert len(values) == best + 1 + 3 < 40
    assert kept(network) == epochs.seen[best] != epochs.seen[-1]
    assert run.restore_best() == history.epochs[best]
    labels, _ = network.predict(x, mode="sampled")  # from tables of the best weights
    assert labels.shape == (240, 5)
    assert history.steps == len(values) * 6, "180 of 240 rows in batches of 32"
    kept_rows, held_rows = held_out_rows(240, 0.25, 0)
    assert sorted([*kept_rows, *held_rows]) == list(range(240))
    own = make_network()
    pair = x[held_rows], y[held_rows]
    Trainer(own, batch_size=32, epochs=40, lr=0.05, threads=2).fit(
        x[kept_rows], y[kept_rows], pair, patience=3
    )
    assert kept(own) == kept(network)
    again = run.fit(x, y, validation=0.25, patience=1)
    assert again.epochs[0].epoch == 1, "a finished run is followed by a new one"


@pytest.mark.parametrize("stop", [3, 12, 20])
def test_a_resumed_run_keeps_its_patience_and_its_best_epoch(stop, tmp_path):
    x, y = make_data()
    options = {"batch_size": 32, "epochs": 40, "lr": 0.05, "threads": 1}
    whole = make_network()
    expected = Trainer(whole, **options).fit(x, y, validation=0.25, patience=3)
    cut = Trainer(make_network(), **options, checkpoint=tmp_path / "c", callbacks=[StopAt(stop)])
    assert cut.fit(x, y, validation=0.25, patience=3).stopped == "callback"
    for change in ({"validation": 0.3}, {}):
        with pytest.raises((CheckpointError, ArgumentError), match=r"continue|used with validation"):
            Trainer.resume(tmp_path / "c", threads=1).fit(x, y, **change)
    kept_rows, held_rows = held_out_rows(240, 0.25, 0)
    other = x[held_rows], y[held_rows[::-1]]
    with pytest.raises(CheckpointError, match="and the same validation"):
        Trainer.resume(tmp_path / "c", threads=1).fit(x[kept_rows], y[kept_rows], other)
    with pytest.raises(ArgumentError, match="patience must be 3, as in the run that is continued"):
        Trainer.resume(tmp_path / "c", threads=1).fit(x, y, validation=0.25, patience=4)
    resumed = Trainer.resume(tmp_path / "c", threads=2)
    history = resumed.fit(x, y, validation=0.25)
    assert (history.stopped, len(history.epochs)) == ("patience", len(expected.epochs))
    assert kept(resumed.network) == kept(whole)
    done = Trainer.resume(tmp_path / "c", threads=1)
    assert done.fit(x, y, validation=0.25).steps == expected.steps, "it has ended before"
    assert kept(done.network) == kept(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": 1.5}, "validation must be a pair .Xv, Yv., or a number between 0 and 1"),
        ({"validation": True}, "a number between 0 and 1"),
        ({"validation": 0.999}, "validation must be a share that leaves rows to train on"),
        ({"validation": "x"}, "a number between 0 and 1"),
        ({"patience": 2}, "patience must be used with validation"),
        ({"validation": 0.2, "patience": 0}, "patience must be"),
    ],
)
def test_bad_validation_and_patience(change, message):
    x, y = make_data()
    with pytest.raises(ArgumentError, match=message):
        Trainer(make_network(), threads=1).fit(x, y, **change)


def test_the_kept_epoch_is_counted_as_memory():
    run = Trainer(make_network(), batch_size=32, epochs=2, threads=1)
    before = run.memory_needed()
    run.fit(*make_data(), validation=0.2, patience=2)
    assert "best epoch" not in before
    limit = sum(before.values()) + 100
    with pytest.raises(MemoryBudgetError, match="best epoch"):
        Trainer(make_network(), batch_size=32, threads=1, memory_limit=limit).fit(
            *make_data(), validation=0.2, patience=2
        )


def test_an_interrupt_is_told_at_once_and_ends_an_evaluation():
    """It is evaluated when the run is continued."""

    class Watch(Callback):
        def __init__(self):
            self.told, self.seen = [], []

        def on_progress(self, what, done, total):
            self.seen.append((what, done, total))
            if done == 1024 and not self.told:
                os.kill(os.getpid(), signal.SIGHUP)
                assert self.told == ["SIGHUP"]

        def on_interrupt(self, name):
            self.told.append(name)

    before = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        watch = Watch()
        run = Trainer(make_network(), batch_size=32, epochs=1, threads=1, callbacks=[watch])
        history = run.fit(*make_data(), validation=make_data(3000, 5))
        assert (history.stopped, history.epochs, history.steps) == ("SIGHUP", (), 8)
        assert watch.seen == [("evaluating", 0, 3000), ("evaluating", 1024, 3000)]
        assert run.fit(*make_data(), validation=make_data(3000, 5)).epochs[0].step == 8
        assert watch.seen[-1] == ("evaluating", 3000, 3000)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ignored = Trainer(make_network(), threads=1, callbacks=[StopAt(1, lambda: os.kill(os.getpid(), 1))])
        assert ignored.fit(*make_data()).stopped == "finished", "as under nohup"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_epochs_are_logged(caplog):
    with caplog.at_level("INFO", logger="lshsample"):
        train(make_network(), epochs=2)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("lshsample.")]
    assert re.fullmatch(r"epoch 1/2  step 8/16  loss [0-9.]+  [0-9.]+ s  left [0-9]+ s", lines[0])
    assert lines[1].startswith("epoch 2/2  step 16/16")
