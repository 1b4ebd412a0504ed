"""All commands: errors in one line, lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Files = tuple[Path, Path]


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
        (["train", "TRAIN", "--schedule", "cosin"], "cosine"),
        (["train", "TRAIN", "--warmup", "1.5"], "warmup"),
        (["train", "TRAIN", "--curve-rows", "-1"], "curve_rows"),
        (["train", "TRAIN", "--threads", "0"], "threads"),
        (["train", "TRAIN", "--threads", "5000"], "processors"),
        (["train", "TRAIN", "--resume", "absent"], "absent"),
        (["evaluate", "absent", "TRAIN"], "absent"),
        (["predict", "TRAIN", "TRAIN"], "train.txt"),
        # Refused before training, as the model could not be used or saved.
        (["train", "TRAIN", "--epochs", "1", "--json", "absent/r.json"], "folder (got absent/r.json)"),
        (["train", "TRAIN", "--epochs", "1", "--save", "FOREIGN"], "holds other files"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    lshsample: Any, small: list[object], files: Files, words: list[str], named: str
) -> None:
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


def test_an_installation_that_cannot_start_is_an_error_in_one_line(
    lshsample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSHSAMPLE_ISA", "abacus")
    done = subprocess.run([*lshsample.line, "info"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ArgumentError: LSHSAMPLE_ISA must be one of")
    assert "(got 'abacus')" in done.stderr
    without_core = "import sys; sys.modules['lshsample._core'] = None; " + lshsample.line[2]
    run = subprocess.run([sys.executable, "-c", without_core], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "error: NativeError: the C core is not built" in run.stderr
    assert "pip install ." in run.stderr


def test_lists(lshsample: Any) -> None:
    families = lshsample("families").stdout
    assert all(word in families for word in ("simhash", "cosine", "density=0.3333", "SoCG 2004"))
    assert "…" not in families, "names or options are cut off"
    stages = lshsample("stages").stdout
    assert "Retrieve" in stages
    assert "slide-topk" in stages
    assert "instruction set" in lshsample("info").stdout
