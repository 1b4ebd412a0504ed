"""The commands as a user runs them: whole processes, files in and out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, read_xc, write_xc
from lshsample.nn import Network

RUN = [sys.executable, "-c", "from lshsample.cli import main; main()"]
Files = tuple[Path, Path]


def lshsample(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [*RUN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Learnable data: each label owns features; a row has the features of its two labels."""
    rng = np.random.default_rng(0)
    n, n_labels, owned = 600, 60, 4
    labels = np.array([rng.choice(n_labels, 2, replace=False) for _ in range(n)])
    columns = (labels[:, :, None] * owned + np.arange(owned)).reshape(n, -1)
    rows = np.repeat(np.arange(n), columns.shape[1])
    x = sp.csr_array((np.ones(columns.size), (rows, columns.ravel())), shape=(n, n_labels * owned))
    y = sp.csr_array(
        (np.ones(labels.size), (np.repeat(np.arange(n), 2), labels.ravel())), shape=(n, n_labels)
    )
    folder = tmp_path_factory.mktemp("data")
    train, test = folder / "train.txt", folder / "test.txt.gz"
    write_xc(train, Dataset.of(x[:500], y[:500]))
    write_xc(test, Dataset.of(x[500:], y[500:]))
    return train, test


def small(*more: object) -> list[object]:
    options = {"hidden": 32, "epochs": 12, "lr": 0.01, "batch-size": 32, "n-active": 30, "dropout": 0}
    return [word for name, value in options.items() for word in (f"--{name}", value)] + list(more)


def test_train_evaluate_predict(files: Files, tmp_path: Path) -> None:
    train, test = files
    result_file, run = tmp_path / "train.json", tmp_path / "run"
    done = lshsample(
        "train", train, "--test", test, *small("--save", run, "--json", result_file, "--threads", 2)
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(result_file.read_text())
    wanted = {"p@1", "p@3", "p@5", "train_seconds", "step_ms_median", "steps", "peak_rss_mb", "active_mean"}
    wanted |= {"n_parameters", "seed", "threads", "isa", "version", "epochs"}
    assert wanted <= result.keys()
    assert result["p@1"] > 90
    assert len(result["epochs"]) == 12
    assert {"seconds", "loss", "p@1"} <= result["epochs"][0].keys()
    assert result["steps"] == 12 * 16
    assert "P@1" in done.stdout

    evaluated = tmp_path / "evaluate.json"
    assert lshsample("evaluate", run, test, "--json", evaluated).returncode == 0
    measured = json.loads(evaluated.read_text())
    assert measured["p@1"] == pytest.approx(result["p@1"])
    assert wanted <= measured.keys()
    assert measured["epochs"] == result["epochs"]

    written = tmp_path / "predicted.txt"
    assert lshsample("predict", run, test, "--top", 3, "--output", written).returncode == 0
    lines = written.read_text().splitlines()
    truth = read_xc(test).y
    assert len(lines) == 100
    first = [int(line.split(":")[0]) for line in lines]
    hits = [label in truth.indices[truth.indptr[i] : truth.indptr[i + 1]] for i, label in enumerate(first)]
    assert 100 * np.mean(hits) == pytest.approx(result["p@1"])
    assert lshsample("predict", run, test, "--top", 3).stdout.splitlines() == lines
    sampled = lshsample("predict", run, test, "--mode", "sampled")
    assert sampled.returncode == 0, sampled.stderr
    assert len(sampled.stdout.splitlines()) == 100

    found = ["--mode", "sampled", "--family", "cross-polytope:dimension=2"]
    found += ["--sampler", "Retrieve(probes=4)"]
    served = lshsample("evaluate", run, test, *found, "--n-tables", 30, "--json", tmp_path / "served.json")
    assert served.returncode == 0, served.stderr
    assert json.loads((tmp_path / "served.json").read_text())["p@1"] == pytest.approx(result["p@1"], abs=5)
    for change, words in (
        (["--mode", "exact"], "--family"),
        (["--family", "nothing"], "--family"),
        (["--family", "simhash:windows=3"], "windows"),
        (["--sampler", "Retriev()"], "Retriev"),
    ):
        refused = lshsample("predict", run, test, *found, *change)
        assert refused.returncode == 2, refused.stderr
        assert words in refused.stderr
    refused = lshsample("evaluate", run, test, "--mode", "sampled", "--sampler", "Retrieve(probes=2)")
    assert refused.returncode == 2
    assert "--sampler" in refused.stderr

    told = lshsample("explain", run, test, "--row", 3, "--json", tmp_path / "explain.json")
    assert told.returncode == 0, told.stderr
    assert "Retrieve()" in told.stdout
    stages = json.loads((tmp_path / "explain.json").read_text())["stages"]
    assert sum(stage["added"] - stage["removed"] for stage in stages) == stages[-1]["size"] > 0
    beyond = lshsample("explain", run, test, "--row", 100)
    assert beyond.returncode == 2
    assert "--row" in beyond.stderr


SAMPLERS = ["lsh", "uniform", "exact-top", "full", "slide-vanilla", "slide-topk", "slide-threshold"]


@pytest.mark.parametrize("sampler", [*SAMPLERS, "Retrieve() | Include()"])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_every_sampler_trains(files: Files, tmp_path: Path, sampler: str, active_set: str) -> None:
    options = small(
        "--sampler", sampler, "--active-set", active_set, "--epochs", 1, "--json", tmp_path / "r.json"
    )
    done = lshsample("train", files[0], "--test", files[1], *options, "--loss", "sigmoid", "--family", "dwta")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads((tmp_path / "r.json").read_text())["active_mean"] <= 60


def test_libsvm_files_take_their_shape_from_the_training_data(files: Files, tmp_path: Path) -> None:
    """Such a file does not say how many features there are; a test file seldom has the last one."""
    paths = []
    for source in files:
        data = read_xc(source)
        rows = data if source == files[0] else data.take(slice(0, 3))
        lines = [
            ",".join(map(str, y.indices))
            + "".join(f" {i + 1}:{v}" for i, v in zip(x.indices, x.data, strict=True))
            for x, y in ((rows.x[[r]], rows.y[[r]]) for r in range(rows.n_rows))
        ]
        paths.append(tmp_path / f"{source.name.split('.')[0]}.svm")
        paths[-1].write_text("\n".join(lines) + "\n")
    run = tmp_path / "run"
    done = lshsample("train", paths[0], "--test", paths[1], *small("--epochs", 1, "--save", run))
    assert done.returncode == 0, done.stderr
    done = lshsample("evaluate", run, paths[1])
    assert done.returncode == 0, done.stderr


def test_config_file_and_options(files: Files, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('hidden = [16, 8]\nepochs = 3\nsampler = "uniform"\nn_active = 20\nseed = 5\n')
    done = lshsample("train", files[0], "--config", config, "--epochs", 2, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert len(result["epochs"]) == 2
    assert result["seed"] == 5
    config.write_text("hiden = 16\n")
    refused = lshsample("train", files[0], "--config", config)
    assert refused.returncode == 2
    assert "hiden" in refused.stderr


def test_a_run_that_is_cut_off_is_measured_as_it_is(files: Files, tmp_path: Path) -> None:
    """Not as it was at the end of its last epoch: there may be none."""
    run, told, again = tmp_path / "run", tmp_path / "told.json", tmp_path / "again.json"
    done = lshsample(
        "train", files[0], "--test", files[1], *small("--save", run, "--max-seconds", 1e-6, "--json", told)
    )
    assert done.returncode == 0, done.stderr
    assert lshsample("evaluate", run, files[1], "--json", again).returncode == 0
    first, second = json.loads(told.read_text()), json.loads(again.read_text())
    assert (first["stopped"], first["epochs"]) == ("max_seconds", [])
    assert all(first[f"p@{k}"] == second[f"p@{k}"] is not None for k in (1, 3, 5))


def test_a_terminated_run_resumes_to_the_same_bits(files: Files, tmp_path: Path) -> None:
    options = small("--epochs", 400, "--threads", 1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert lshsample("train", files[0], *options, "--save", whole).returncode == 0
    process = subprocess.Popen(
        [*RUN, *map(str, ["train", files[0], *options, "--save", cut])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "parameters" not in process.stderr.readline():
        pass
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert (cut / "checkpoint").is_dir()
    resumed = lshsample("train", files[0], "--resume", cut)
    assert resumed.returncode == 0, resumed.stderr
    expected, found = Network.load(whole / "model"), Network.load(cut / "model")
    for one, other in zip(expected.parameters, found.parameters, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "absent.txt"], "absent.txt"),
        (["train", "TRAIN", "--sampler", "Retrieve() | Capp(3)"], "column"),
        (["train", "TRAIN", "--sampler", "slide"], "slide-vanilla"),
        (["train", "TRAIN", "--family", "simhsh"], "simhash"),
        (["train", "TRAIN", "--n-hashes", "99"], "n_hashes"),
        (["train", "TRAIN", "--loss", "hinge"], "softmax"),
        (["train", "TRAIN", "--hidden", "0"], "hidden"),
        (["train", "TRAIN", "--lr", "nan"], "lr"),
        (["train", "TRAIN", "--threads", "0"], "threads"),
        (["train", "TRAIN", "--threads", "5000"], "processors"),
        (["train", "TRAIN", "--resume", "absent"], "absent"),
        (["evaluate", "absent", "TRAIN"], "absent"),
        (["predict", "TRAIN", "TRAIN"], "train.txt"),
        # Refused before a model is trained that could not be told of, or not be kept.
        (["train", "TRAIN", "--epochs", "1", "--json", "absent/r.json"], "--json: given absent/r.json"),
        (["train", "TRAIN", "--epochs", "1", "--save", "FOREIGN"], "holds other files"),
    ],
)
def test_mistakes_end_in_one_clear_line(files: Files, words: list[str], named: str) -> None:
    foreign = files[0].parent / "foreign"
    (foreign / "model").mkdir(parents=True, exist_ok=True)
    (foreign / "model" / "mine.txt").touch()
    places = {"TRAIN": str(files[0]), "FOREIGN": str(foreign)}
    done = lshsample(*[places.get(word, word) for word in words])
    assert done.returncode == 2
    assert " steps in " not in done.stdout
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("absent").exists()


def test_an_installation_that_cannot_start_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHSAMPLE_ISA", "abacus")
    done = lshsample("info")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ArgumentError: LSHSAMPLE_ISA: given 'abacus'; wanted one of")
    without_core = "import sys; sys.modules['lshsample._core'] = None; " + RUN[2]
    told = subprocess.run([sys.executable, "-c", without_core], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "error: NativeError: the C core is not built" in told.stderr
    assert "pip install ." in told.stderr


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="a system without /dev/stdout")
def test_a_result_can_go_to_standard_output(files: Files) -> None:
    done = lshsample("train", files[0], *small("--epochs", 1, "--json", "/dev/stdout"))
    assert done.returncode == 0, done.stderr
    assert '"step_ms_median"' in done.stdout


def test_lists() -> None:
    families = lshsample("families").stdout
    assert all(word in families for word in ("simhash", "cosine", "density=0.3333", "SoCG 2004"))
    assert "…" not in families, "names or options are cut off"
    stages = lshsample("stages").stdout
    assert "Retrieve" in stages
    assert "slide-topk" in stages
    assert "instruction set" in lshsample("info").stdout
