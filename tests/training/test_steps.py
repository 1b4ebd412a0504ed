"""Single steps, custom batch sources, and their positions."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console

from lshsample.errors import ArgumentError, CheckpointError, DivergenceError, MemoryBudgetError
from lshsample.nn import Dense, LearningRate, Network, Rehash, Sampled, Sparse
from lshsample.training import ArrayBatches, BatchSource, Callback, ProgressBar, Trainer

LSH = {"sampler": "Retrieve() | Cap(30) | Include() | Uniform(15)", "n_hashes": 4, "n_tables": 6,
       "rehash": Rehash(3, 0.2)}  # fmt: skip
OPTIONS = {"batch_size": 30, "lr": 0.02, "threads": 1, "schedule": "constant"}


def make_data(rows: int = 100, seed: int = 0):
    """Rows with two labels each, except the first ten, which have none."""
    rng = np.random.default_rng(seed)
    x = sp.random_array((rows, 40), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = np.zeros((rows, 60), np.float32)
    for column in rng.integers(0, 60, (rows, 2)).T:
        y[np.arange(10, rows), column[10:]] = 1
    return x, sp.csr_array(y)


def make_network(weighting: str = "none", loss: str = "softmax", **options) -> Network:
    last = Sampled(60, loss, **{**LSH, **options})
    return Network([Sparse(40, weighting=weighting), Dense(16, dropout=0.2), last], seed=3)


def bits(network: Network) -> list[bytes]:
    return [p.store.tobytes() for p in network.parameters]


def batches(network: Network, epochs: int = 2):
    """The batches of a run, as plain rows and labels."""
    x, y = make_data()
    source = ArrayBatches(network, x, y, 30)
    for epoch in range(epochs):
        source.begin(epoch)
        while (batch := source.next_batch()) is not None:
            yield batch.x, batch.y


class Stream(BatchSource):
    """Generated batches, whose number is not known."""

    def __init__(self, n: int = 4) -> None:
        self.n, self.epoch, self.at, self.made = n, 0, 0, []

    def begin(self, epoch):
        self.epoch, self.at = epoch, 0

    def next_batch(self):
        if self.at == self.n:
            return None
        self.made.append((self.epoch, self.at))
        x, y = make_data(40, seed=100 * self.epoch + self.at)
        self.at += 1
        return x, y

    def state(self):
        return {"epoch": self.epoch, "at": self.at}

    def restore(self, state):
        self.epoch, self.at = state["epoch"], state["at"]


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, step, report, milliseconds):
        return step == self.step


@pytest.mark.parametrize(
    ("weighting", "loss"), [("none", "softmax"), ("idf-l2", "softmax"), ("l2", "sigmoid")]
)
def test_single_steps_are_those_of_a_run(weighting, loss):
    """Same batches, same bits: weights, optimizer state, tables, statistics."""
    x, y = make_data()
    whole, network = make_network(weighting, loss), make_network(weighting, loss)
    history = Trainer(whole, epochs=2, **OPTIONS).fit(x, y)
    trainer = Trainer(network, **OPTIONS)
    network.observe(x, y)
    reports = [trainer.step(*batch) for batch in batches(network)]
    assert bits(network) == bits(whole)
    assert len(reports) == trainer.state.step == history.steps
    assert np.mean([report.loss for report in reports]) == pytest.approx(
        np.mean([record.loss for record in history.epochs])
    )
    assert len(trainer.state.step_ms) == len(reports)


def test_rows_without_labels_are_left_out_of_a_step():
    """As in a run; a batch without other rows is refused before anything changes."""
    x, y = make_data(40)
    one, other, empty = make_network(), make_network(), make_network()
    Trainer(one, **OPTIONS).step(x, y)
    Trainer(other, **OPTIONS).step(x[10:], y[10:])
    assert bits(one) == bits(other)
    for rows, labels in ((x[:10], y[:10]), (x[:0], y[:0])):
        with pytest.raises(ArgumentError, match="none to train on"):
            Trainer(empty, **OPTIONS).step(rows, labels)
    for rows, labels, words in (
        (x[:, :-1], y, r"X must be .* \(got 39 columns"), (x, y[:-1], r"Y must be .* \(got shape")
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            Trainer(empty, **OPTIONS).step(rows, labels)
    for lr in (-1.0, float("nan"), "0.1", True):
        with pytest.raises(ArgumentError, match="lr"):
            Trainer(empty, **OPTIONS).step(x, y, lr=lr)
    assert not any(p.allocated for p in empty.parameters)


def test_steps_are_continued_from_a_checkpoint(tmp_path):
    """In another trainer, with the same bits as without interruption."""
    whole, network = make_network(), make_network()
    for net in (whole, network):
        net.observe(*make_data())
    trainer = Trainer(whole, **OPTIONS)
    for batch in batches(whole):
        trainer.step(*batch)
    trainer, every = Trainer(network, **OPTIONS), list(batches(network))
    for batch in every[:4]:
        trainer.step(*batch)
    with pytest.raises(ArgumentError, match=r"path must be .* \(got nothing"):
        trainer.save_checkpoint()
    trainer.save_checkpoint(tmp_path / "c")
    resumed = Trainer.resume(tmp_path / "c", threads=2)
    assert resumed.state.step == 4
    for batch in every[4:]:
        resumed.step(*batch)
    assert bits(resumed.network) == bits(whole)
    resumed.save_checkpoint()
    assert Trainer.resume(tmp_path / "c").state.step == len(every)


def test_steps_write_checkpoints_regularly(tmp_path):
    x, y = make_data()
    trainer = Trainer(make_network(), checkpoint=tmp_path / "c", checkpoint_seconds=1e-9, **OPTIONS)
    for number in (1, 2):
        trainer.step(x, y)
        assert Trainer.resume(tmp_path / "c").state.step == number


def test_the_rate_of_a_step():
    """That of the schedule without a known end, or as given."""
    x, y = make_data()
    nets = [make_network() for _ in range(4)]
    Trainer(nets[0], **{**OPTIONS, "lr": 0.01}).step(x, y)
    Trainer(nets[1], **OPTIONS).step(x, y, lr=0.01)
    Trainer(nets[2], **{**OPTIONS, "schedule": LearningRate("cosine", warmup=2)}).step(x, y)
    Trainer(nets[3], **{**OPTIONS, "lr": 0.01, "schedule": "linear"}).step(x, y)
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2]) == bits(nets[3])


def test_steps_are_refused_like_runs():
    x, y = make_data()
    with pytest.raises(MemoryBudgetError):
        Trainer(make_network(), memory_limit=1000, **OPTIONS).step(x, y)
    trainer = Trainer(make_network(), optimizer="sgd", **{**OPTIONS, "lr": 1e39})
    trainer.step(x, y)
    with pytest.raises(DivergenceError, match=r"step 2: .*diverged; use a smaller lr"):
        trainer.step(x, y)


def test_statistics_of_training_data_belong_to_the_network():
    """Observed once, not changed by steps, and saved with it."""
    x, y = make_data()
    network, other = make_network("idf-l2"), make_network("idf-l2")
    network.observe(x)
    wanted = np.log((1 + 100) / (1 + np.bincount(x.indices, minlength=40)))
    np.testing.assert_allclose(network.parameters[0].weights[:, 0], wanted, rtol=1e-6)
    Trainer(network, **OPTIONS).step(x, y)
    np.testing.assert_allclose(network.parameters[0].weights[:, 0], wanted, rtol=1e-6)
    for rows, labels, words in ((x[:, 1:], None, "X"), (x, y[:, 1:], "Y")):
        with pytest.raises(ArgumentError, match=words):
            other.observe(rows, labels)
    assert not any(p.allocated for p in other.parameters)


def test_labels_are_drawn_by_observed_frequencies():
    x, y = make_data()
    network = make_network(sampler="Include() | Frequency(10)")
    network.observe(x, y)
    assert Trainer(network, **OPTIONS).step(x, y).active > 0


def test_a_source_of_arrays_gives_the_same_run_as_arrays():
    """A source can be given, without labels."""
    x, y = make_data()
    one, other = make_network(), make_network()
    Trainer(one, epochs=2, **OPTIONS).fit(x, y)
    Trainer(other, epochs=2, **OPTIONS).fit(ArrayBatches(other, x, y, 30))
    assert bits(one) == bits(other)
    with pytest.raises(ArgumentError, match=r"Y must be .* \(got csr_array"):
        Trainer(other, **OPTIONS).fit(ArrayBatches(other, x, y), y)
    for options, words in (({"batch_size": 0}, "batch_size"), ({"seed": -1}, "seed")):
        with pytest.raises(ArgumentError, match=words):
            ArrayBatches(one, x, y, **options)


def test_a_source_knows_its_position():
    """The same batches from each position, in another instance."""
    x, y = make_data()
    network = make_network()
    source, again = (ArrayBatches(network, x, y, 30, seed=5) for _ in range(2))
    assert source.steps_per_epoch == 3
    for epoch in range(2):
        source.begin(epoch)
        for _ in range(3):
            again.restore(source.state())
            one, other = source.next_batch(), again.next_batch()
            assert (one.x != other.x).nnz == (one.y != other.y).nnz == 0
        assert source.next_batch() is None
    assert source.fingerprint() == again.fingerprint() != ArrayBatches(network, x[1:], y[1:]).fingerprint()


def test_a_stream_is_trained_on_and_resumed(tmp_path):
    """Without a known number of steps; epochs end where the source ends them."""
    whole, network, first, second = make_network(), make_network(), Stream(), Stream()
    shown = StringIO()
    bar = ProgressBar(Console(file=shown, force_terminal=True, width=150))
    history = Trainer(whole, epochs=2, callbacks=[bar], **OPTIONS).fit(first)
    assert (history.steps, len(history.epochs), history.stopped) == (8, 2, "finished")
    assert [record.step for record in history.epochs] == [4, 8]
    assert first.made == [(epoch, at) for epoch in range(2) for at in range(4)]
    assert "loss" in shown.getvalue()
    for stop in (3, 4, 6):
        network, second = make_network(), Stream()
        folder = tmp_path / str(stop)
        cut = Trainer(network, epochs=2, checkpoint=folder, callbacks=[StopAt(stop)], **OPTIONS).fit(Stream())
        assert (cut.steps, cut.stopped) == (stop, "callback")
        resumed = Trainer.resume(folder, threads=1)
        assert resumed.fit(second).steps == 8
        assert len(second.made) == 8 - stop
        assert bits(resumed.network) == bits(whole)
        assert len(resumed.state.records) == 2


def test_bad_batches_of_a_stream_are_refused_by_name():
    """When they are used, before their step changes anything."""

    class Bad(Stream):
        def next_batch(self):
            x, y = super().next_batch()
            if self.at == 2:
                x.data[3] = np.nan
            return x, y

    network = make_network()
    trainer = Trainer(network, **OPTIONS)
    with pytest.raises(ArgumentError, match=r"X must be .* \(got nan"):
        trainer.fit(Bad())
    assert trainer.state.step == 1


def test_a_run_may_follow_steps():
    """Epochs are counted from its first batch."""
    x, y = make_data()
    network = make_network()
    trainer = Trainer(network, epochs=2, **OPTIONS)
    trainer.step(x, y)
    history = trainer.fit(x, y)
    assert (history.steps, len(history.epochs)) == (7, 2)


def test_a_stream_with_a_fingerprint_is_compared(tmp_path):
    class Named(Stream):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def fingerprint(self):
            return [self.name]

    Trainer(make_network(), epochs=2, checkpoint=tmp_path / "c", callbacks=[StopAt(3)], **OPTIONS).fit(
        Named(1)
    )
    with pytest.raises(CheckpointError, match="not the data"):
        Trainer.resume(tmp_path / "c", threads=1).fit(Named(2))
    assert Trainer.resume(tmp_path / "c", threads=1).fit(Named(1)).steps == 8
