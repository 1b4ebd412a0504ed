"""The programs of the page that train with other packages."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "torch.md"


def run(name):
    """Run a program of the page; returns its variables."""
    (program,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        if block.startswith(f"# {name}\n")
    )
    variables = {"__name__": name}
    exec(compile(program, name, "exec"), variables)
    return variables


@pytest.mark.filterwarnings("default")
def test_lightning():
    pytest.importorskip("lightning")
    metrics = run("train_lightning.py")["trainer"].callback_metrics
    assert metrics["active"] < 250
    assert metrics["loss"] < 2, "it began at ln 500 = 6.2"


@pytest.mark.filterwarnings("default")
def test_transformers():
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    found = run("train_transformers.py")
    assert found["model"].head.active_size < 400
    assert found["trainer"].evaluate()["eval_loss"] < 6.5, "it began at ln 1000 = 6.9"
