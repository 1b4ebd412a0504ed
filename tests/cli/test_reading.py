"""The options of commands that read data files: those of the readers, pipes, standard streams."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import typer.main
from typer.testing import CliRunner

from lshsample import data
from lshsample.cli.commands import app
from lshsample.data import read_libsvm, read_matrix, read_npz, read_xc, stream_xc
from lshsample.data.load import options_of

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
READING = ("train", "evaluate", "predict", "compare", "tune", "explain")


@pytest.mark.parametrize("name", READING)
def test_every_option_of_a_reader_is_an_option(name):
    """All arguments of the readers but the path, and those of ``load``."""
    flags = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    wanted = set().union(*map(options_of, ("npz", "xc", "libsvm", "matrix", "npy", "scipy")))
    for reader in (read_libsvm, read_matrix, read_npz, read_xc, stream_xc):
        wanted |= set(inspect.signature(reader).parameters) - {"path", "batch_size"}
    assert wanted >= {"labels", "trust_rows", "feature_base", "n_labels"}
    assert {f"--{option.replace('_', '-')}" for option in wanted} <= flags


LINE = [sys.executable, "-c", "from lshsample.cli import main; main()"]


def lshsample(*words, text=b""):
    """A command in this process, which takes a tenth of the time of another one."""
    # Before its version 8.2, click puts standard error into standard output unless it is told not to.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(app, [str(word) for word in words], input=text)


@pytest.fixture(scope="module")
def run(files, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    done = lshsample("train", files[0], *small, "--threads", 1, "--save", folder)
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def held_out(files):
    return data.load(files[1])


def write_libsvm(path, held, base, labels=True):
    x, y = held.x, held.y
    lines = []
    for row in range(held.n_rows):
        names = y.indices[y.indptr[row] : y.indptr[row + 1]] if labels else []
        ids = x.indices[x.indptr[row] : x.indptr[row + 1]] + base
        lines.append(",".join(map(str, names)) + "".join(f" {i}:1" for i in ids) + " # row\n")
    path.write_text("# features from " + str(base) + "\n" + "".join(lines))
    return path


def test_predict_does_not_use_labels(run, files, held_out, tmp_path):
    """Labels that the model does not know, none, or another number of them: the same predictions."""
    wanted = lshsample("predict", run, files[1]).stdout
    assert wanted.count("\n") == held_out.n_rows
    np.save(tmp_path / "x.npy", held_out.x.toarray())
    unknown = data.Dataset(held_out.x, sp.csr_array(np.ones((held_out.n_rows, 99))))
    data.write_xc(tmp_path / "unknown.txt", unknown)
    write_libsvm(tmp_path / "none.svm", held_out, 1, labels=False)
    for name in ("x.npy", "unknown.txt", "none.svm"):
        done = lshsample("predict", run, tmp_path / name)
        assert done.stdout == wanted, done.stderr


def test_evaluation_without_labels_is_an_error(run, held_out, tmp_path):
    done = lshsample("evaluate", run, write_libsvm(tmp_path / "none.svm", held_out, 1, labels=False))
    assert "at least one label" in str(done.exception)
    assert "P@1" not in done.stdout


def test_options_reach_the_reader(run, files, held_out, tmp_path):
    wanted = lshsample("evaluate", run, files[1], "--json", "-")
    precision = json.loads(wanted.stdout)["p@1"]
    for base in (0, 1):
        path = write_libsvm(tmp_path / f"{base}.svm", held_out, base)
        for options in (
            (),
            ("--feature-base", base, "--label-base", 0, "--n-features", 240, "--n-labels", 60),
        ):
            done = lshsample("evaluate", run, path, *options, "--json", "-")
            assert json.loads(done.stdout)["p@1"] == precision, done.stderr
    sp.save_npz(tmp_path / "x.npz", held_out.x)
    sp.save_npz(tmp_path / "y.npz", held_out.y)
    done = lshsample("evaluate", run, tmp_path / "x.npz", "--labels", tmp_path / "y.npz", "--json", "-")
    assert json.loads(done.stdout)["p@1"] == precision, done.stderr
    done = lshsample("evaluate", run, files[1], "--feature-base", 0)
    assert "feature_base must be left out" in str(done.exception)


def test_standard_streams_and_pipes(run, files, tmp_path, monkeypatch):
    """Standard input is a file, `-` for JSON is standard output, and a pipe is announced."""
    monkeypatch.chdir(tmp_path)
    wanted = lshsample("evaluate", run, files[1], "--json", tmp_path / "wanted")
    precision = json.loads((tmp_path / "wanted").read_text())["p@1"]
    assert f"P@1 {precision:.2f}" in wanted.stdout
    done = lshsample("evaluate", run, "-", "--json", "-", text=files[1].read_bytes())
    assert json.loads(done.stdout)["p@1"] == precision, done.stderr
    assert "P@1" in done.stderr
    assert "reading standard input" in done.stderr
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(files[1].read_bytes()), daemon=True).start()
    done = lshsample("evaluate", run, pipe)
    assert done.stdout == wanted.stdout
    assert "reading the pipe" in done.stderr
    assert not (tmp_path / "-").exists()


def test_standard_input_of_a_process(run, files):
    """By its name in the file system too."""
    line = [*LINE, "predict", str(run), "/dev/stdin"]
    done = subprocess.run(line, input=files[1].read_bytes(), capture_output=True, check=False)
    assert done.stdout == lshsample("predict", run, files[1]).stdout_bytes, done.stderr


def test_training_on_two_files(files, small, tmp_path):
    """Features and labels apart, for training and for the test."""
    for name, path in (("trn", files[0]), ("tst", files[1])):
        held = data.load(path)
        sp.save_npz(tmp_path / f"{name}_x.npz", held.x)
        sp.save_npz(tmp_path / f"{name}_y.npz", held.y)
    options = [*small, "--threads", 1, "--epochs", 2, "--json", "-"]
    wanted = json.loads(lshsample("train", files[0], "--test", files[1], *options).stdout)
    words = ["--labels", tmp_path / "trn_y.npz", "--test", tmp_path / "tst_x.npz"]
    words += ["--test-labels", tmp_path / "tst_y.npz"]
    done = lshsample("train", tmp_path / "trn_x.npz", *words, *options)
    found = json.loads(done.stdout)
    assert found["p@1"] == wanted["p@1"], done.stderr
    done = lshsample("train", files[0], "--test-labels", tmp_path / "tst_y.npz", *options)
    assert "--test-labels must be used with --test" in str(done.exception)
