"""The notebooks of the documentation run from their first cell to the last, and hold what they show."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The types of what each cell shows, without texts that processes print beside it."""
    return [
        [kind for output in cell.get("outputs", []) for kind in sorted(output.get("data", {}))]
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    stored = kinds(notebook)
    run = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert kinds(run) == stored
    assert any("image/png" in shown for shown in stored)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 3
