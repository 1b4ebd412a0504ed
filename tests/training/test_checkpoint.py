"""Checkpoints: full disks in the middle of a run, two trainers of one folder, forged states."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, CheckpointError, LshsampleError
from lshsample.nn import Dense, Network, Sampled, Sparse, bundle
from lshsample.training import Callback, Trainer
from lshsample.training.run_state import RunState

X = sp.csr_array(np.eye(40, 8, dtype=np.float32) + np.eye(40, 8, -20, dtype=np.float32) + 0.1)
Y = sp.csr_array(np.eye(40, 20, dtype=np.float32) + np.eye(40, 20, -20, dtype=np.float32))


def make(**options):
    options = {"sampler": "Retrieve() | Include() | Uniform(5)", "n_hashes": 3, "n_tables": 2, **options}
    return Network([Sparse(8), Dense(4), Sampled(20, **options)], seed=1)


def trainer(network=None, **options):
    return Trainer(network or make(), **{"batch_size": 10, "epochs": 2, "threads": 1, **options})


def bits(network):
    return [parameter.store.tobytes() for parameter in network.parameters]


class At(Callback):
    """Calls a function at a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step(self, step, report, milliseconds):
        return bool(self.act()) if step == self.step else False


def full_disk(monkeypatch, full):
    """fsync fails as on a full disk while a list is not empty."""
    original = os.fsync

    def fsync(handle):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_in_the_middle_of_a_run_is_a_warning(tmp_path, monkeypatch):
    """The run goes on, and writes the next checkpoint once there is room."""
    full = []
    full_disk(monkeypatch, full)
    options = {"checkpoint": tmp_path / "c", "checkpoint_seconds": 1e-9}
    callbacks = [At(2, lambda: full.append(1)), At(4, full.clear)]
    resumed = []
    callbacks.append(At(4, lambda: resumed.append(Trainer.resume(tmp_path / "c", threads=1).state.step)))
    callbacks.append(At(5, lambda: resumed.append(Trainer.resume(tmp_path / "c", threads=1).state.step)))
    network = make()
    words = r"^step [34]: .*c: cannot be written \(No space left on device\); its old content is kept; the"
    with pytest.warns(RuntimeWarning, match=words) as caught:
        history = trainer(network, **options, callbacks=callbacks).fit(X, Y)
    assert (len(caught), history.stopped, resumed) == (2, "finished", [2, 5])
    whole = make()
    trainer(whole).fit(X, Y)
    assert bits(network) == bits(whole) == bits(Trainer.resume(tmp_path / "c", threads=1).network)


def test_single_steps_go_on_after_a_full_disk_too(tmp_path, monkeypatch):
    full = [1]
    full_disk(monkeypatch, full)
    steps = trainer(checkpoint=tmp_path / "c", checkpoint_seconds=1e-9)
    with pytest.warns(RuntimeWarning, match="step 1: "):
        steps.step(X[:10], Y[:10])
    full.clear()
    steps.step(X[10:20], Y[10:20])
    assert Trainer.resume(tmp_path / "c", threads=1).state.step == 2


def test_a_full_disk_at_the_end_is_an_error(tmp_path, monkeypatch):
    full = []
    full_disk(monkeypatch, full)
    run = trainer(checkpoint=tmp_path / "c", callbacks=[At(8, lambda: full.append(1))])
    with pytest.raises(CheckpointError, match="No space left"):
        run.fit(X, Y)
    full.clear()
    run.save_checkpoint()
    assert Trainer.resume(tmp_path / "c", threads=1).state.step == 8


def test_a_folder_that_another_trainer_uses_is_refused_before_anything_changes(tmp_path):
    """Also for a single save; the trainer itself may save in its callbacks, to its folder and to others."""
    refused = []

    def others():
        other = trainer(checkpoint=tmp_path / "c")
        for use in (lambda: other.fit(X, Y), other.save_checkpoint):
            with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"):
                use()
        refused.append(not other.state.step)
        run.save_checkpoint()
        run.save_checkpoint(tmp_path / "." / "c")
        run.save_checkpoint(tmp_path / "other")

    run = trainer(checkpoint=tmp_path / "c", callbacks=[At(3, others)])
    run.fit(X, Y)
    assert refused == [True]
    assert Trainer.resume(tmp_path / "other", threads=1).state.step == 3
    assert Trainer.resume(tmp_path / "c", threads=1).state.step == 8
    assert sorted(file.split("-")[0] for file in os.listdir(tmp_path / "c")) == [
        "lshsample.json", "state", "tables2"
    ]  # fmt: skip
    trainer(checkpoint=tmp_path / "c").fit(X, Y)  # the folder is free again


def test_a_run_that_was_refused_can_be_tried_again(tmp_path):
    """A finished run that was resumed is not trained further because of that."""
    trainer(checkpoint=tmp_path / "c").fit(X, Y)
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    with (
        bundle.claim(tmp_path / "c", bundle.Kind("checkpoint", r"state\.safetensors|tables2\.lsh")),
        pytest.raises(CheckpointError, match="in use"),
    ):
        resumed.fit(X, Y)
    assert resumed.fit(X, Y).steps == 8


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The body of the manifest of an interrupted run, and its folder."""
    folder = tmp_path_factory.mktemp("interrupted") / "c"
    rehash = {"first": 2, "growth": 0.0, "strategy": "drift", "threshold": 0.0, "sketch": 9}
    run = trainer(make(rehash=rehash), checkpoint=folder, callbacks=[At(6, lambda: True)])
    assert run.fit(X, Y).steps == 6
    return json.loads((folder / bundle.MANIFEST).read_text())["body"], folder


def forge(interrupted, path, value):
    """Resume and continue with another value in the manifest's payload, with a checksum that fits."""
    body, folder = interrupted
    body = json.loads(json.dumps(body))
    *keys, last = path
    place = body["payload"]
    for key in keys:
        place = place[key]
    place[last] = value
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / bundle.MANIFEST).write_text(json.dumps({"format": 1, "sha256": digest, "body": body}))
    return Trainer.resume(folder, threads=1).fit(X, Y)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["state"], [1]),
        (["state", "step"], "6"),
        (["state", "step"], True),
        (["state", "step"], 5),
        (["state", "step"], 10**18),
        (["state", "step"], -1),
        (["state", "position"], 7),
        (["state", "epoch"], 0),
        (["state", "epoch"], 2**40),
        (["state", "seconds"], float("nan")),
        (["state", "seconds"], None),
        (["state", "max_seconds"], -1.0),
        (["state", "out_of_time"], 1),
        (["state", "curve"], [5]),
        (["state", "curve"], [{"step": 1, "seconds": 0.1, "rows": 9, "validation": {"p@3": 1.0}}]),
        (["state", "records"], "ab"),
        (["state", "records"], {"a": 1}),
        (["state", "records", 0, "validation"], [1]),
        (["state", "records", 0, "loss"], "low"),
        (["state", "records", 0], None),
        (["state", "data"], [1.5]),
        (["state", "data"], {"a": 1}),
        (["state", "source"], "text"),
        (["state", "source"], {"epoch": 1, "position": -(10**9)}),
        (["state", "source"], {"epoch": 1, "position": 10**9}),
        (["state", "source"], {"epoch": 1.5, "position": 1}),
        (["state", "source"], {"epoch": 1}),
        (["state", "other"], 1),
        (["settings"], [5]),
        (["settings"], "text"),
        (["settings", "batch_size"], "10"),
        (["settings", "optimizer"], [1]),
        (["settings", "optimizer"], {"optimizer": ["adam"]}),
        (["tables"], [1]),
        (["tables"], {"2": [1]}),
        (["tables", "2", "builds"], 2**70),
        (["tables", "2", "builds"], "1"),
        (["tables", "2", "touched"], "é"),
        (["tables", "2", "touched"], 5),
        (["network"], 5),
        (["network", "layers"], [{"layer": ["dense"]}]),
        (["network", "layers", 1, "units"], 2**31 - 1),
        (["network", "layers", 2, "rehash"], [1]),
        (["network", "layers", 2, "family_options"], [1]),
        (["network", "seed"], None),
    ],
)
def test_forged_states_are_refused_by_name(interrupted, path, value):
    """No other error, no endless run."""
    with pytest.raises(LshsampleError) as caught:
        forge(interrupted, path, value)
    assert str(caught.value)


def test_an_honest_state_continues(interrupted):
    assert forge(interrupted, ["state", "seconds"], 3).steps == 8


def test_the_state_of_a_run_round_trips():
    state = RunState(step=3, position=1, seconds=0.5, step_ms=[1.0, 2.0, 3.0], source={"at": [1, "a"]})
    again = RunState.from_dict(json.loads(json.dumps(state.to_dict())))
    again.step_ms = state.step_ms
    assert again == state
    with pytest.raises(ArgumentError, match="state must be a mapping"):
        RunState.from_dict({"step": 3})


def test_a_run_without_faults_gives_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(checkpoint=tmp_path / "c", checkpoint_seconds=1e-9).fit(X, Y)
