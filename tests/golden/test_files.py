"""Files that an earlier version wrote are opened, and answer as they did then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import write_files

import lshsample as ls
from lshsample.compare import baseline as stored
from lshsample.data import load, read_npz
from lshsample.nn import bundle
from lshsample.nn.network import Network
from lshsample.tables import file as tables_file
from lshsample.xc import Classifier

#: The folder of each version whose files are kept; what they answered is beside them.
FOLDERS = [Path(__file__).parent / "files-0.1"]

pytestmark = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@pytest.fixture
def answers(folder: Path) -> dict[str, dict[str, list[list[float]]]]:
    """What each file answered when it was written."""
    return json.loads((folder / "answers.json").read_text())


def same(found: dict[str, np.ndarray], answer: dict[str, list[list[float]]]) -> None:
    """Ids and labels as they were, scores up to rounding, which instruction sets do differently."""
    assert found.keys() == answer.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, answer[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", write_files.TABLES)
def test_tables(folder: Path, answers, name: str) -> None:
    tables = ls.HashTables.open(folder / f"{name}.tables", verify=True, threads=1)
    same(write_files.answers_of_tables(tables), answers[name])


@pytest.mark.parametrize("name", write_files.PRECISIONS)
def test_networks(folder: Path, answers, name: str) -> None:
    network = Network.load(folder / name)
    assert network.spec.precision == name
    same(write_files.answers_of_predictions(network), answers[name])


def test_a_run_goes_on_from_its_checkpoint(folder: Path, answers, tmp_path: Path) -> None:
    """Weights, optimizer state and tables, of which the next were being built."""
    shutil.copytree(folder / "checkpoint", tmp_path / "run")
    resumed = ls.Trainer.resume(tmp_path / "run", threads=1)
    same(write_files.answers_of_predictions(resumed.network), answers["checkpoint"])
    history = resumed.fit(*write_files.data())
    assert history.steps == 24
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_a_classifier(folder: Path, answers) -> None:
    classifier = Classifier.load(folder / "classifier", verify=True)
    assert set(classifier.parts) == {"linear", "network", "rows", "hidden"}
    same(write_files.answers_of_predictions(classifier), answers["classifier"])


def test_a_classifier_of_texts(folder: Path, answers) -> None:
    classifier = Classifier.load(folder / "texts", verify=True)
    asked = write_files.texts()[0][:8]
    found = [[name for name, _ in labels] for labels in classifier.predict_texts(asked, top=2)]
    assert found == answers["texts"]["names"]


def test_data(folder: Path) -> None:
    x, y = write_files.data()
    for read in (read_npz(folder / "data.npz"), load(folder / "rows.txt")):
        assert (read.x.toarray() == x.toarray()).all()
        assert (read.y.toarray() == y.toarray()).all()


def test_a_comparison(folder: Path) -> None:
    before = stored.read_baseline(folder / "compared.json")
    stored.check_comparable(before, before)
    assert stored.changes(before, before, stored.Tolerance()).regressions == ()


def test_the_newest_folder_has_the_formats_that_are_written_now(folder: Path) -> None:
    """A new number of a format needs files of it beside the old ones."""
    if folder is not FOLDERS[-1]:
        pytest.skip("an older one")
    data = (folder / "narrow.tables").read_bytes()
    assert int.from_bytes(data[8:12], "little") == tables_file._VERSION
    for manifest in folder.rglob("lshsample.json"):
        assert json.loads(manifest.read_text())["format"] == bundle._FORMAT
    assert json.loads((folder / "compared.json").read_text())["format"] == stored.FORMAT
