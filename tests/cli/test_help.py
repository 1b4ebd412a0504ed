"""The help of every command shows all words of its texts, and what starts the command line is cheap."""

import os
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from lshsample.cli.commands import app

GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]


def squeezed(text):
    """Text without spaces and the lines of boxes, so that it does not depend on where lines end."""
    return re.sub(r"[\s│╭╮╰╯─]+", "", text)


def printed(*words, **environment):
    run = CliRunner(env={"COLUMNS": "200", **environment}).invoke(app, words, prog_name="lshsample")
    return run.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loses_no_word(name):
    shown = squeezed(printed(name, "--help"))
    for parameter in GROUP.commands[name].params:
        if parameter.name == "help":
            continue
        # An option's column may be interrupted by the next one's, so words are compared, not sentences.
        for word in (parameter.help or "").split():
            assert squeezed(word) in shown, f"--help of {name} has lost {word!r} of {parameter.name}"
        assert "[default" not in (parameter.help or ""), "brackets are markup to some versions of typer"
        if isinstance(parameter.show_default, str):
            assert squeezed(f"[default: ({parameter.show_default})]") in shown, parameter.name
        elif parameter.default not in (None, False, ()) and not callable(parameter.default):
            assert "[default:" in shown, parameter.name


def test_defaults_that_are_chosen_later_are_told():
    shown = squeezed(printed("train", "--help"))
    assert shown.count(squeezed("[default: (chosen from the data)]")) == 10
    assert squeezed("[default: (OMP_NUM_THREADS or all)]") in shown


def test_the_command_line_starts_without_what_few_commands_need():
    line = "import sys; from lshsample.cli import commands; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    slow = {"scipy.optimize", "scipy.spatial", "scipy.stats", "matplotlib", "numba", "h5py", "pytest"}
    slow |= {"ray", "torch", "starlette", "prometheus_client", "sklearn"}  # of extras
    assert "numpy" in run.stdout.split()
    assert not slow & set(run.stdout.split())


def test_facts_of_the_installation_are_whole_lines(lshsample):
    run = subprocess.run(
        [*lshsample.line, "info"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "30"},
    )
    facts = dict(line.split("  ", 1) for line in run.stdout.splitlines())
    headers = facts["C headers"].strip()
    assert os.path.isfile(os.path.join(headers, "lshsample", "family.h")), headers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    words = {"COMP_WORDS": "lshsample tra", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "lshsample tra"}
    words["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    assert "lshsample" in printed(_LSHSAMPLE_COMPLETE=f"source_{shell}")
    assert "train" in printed(_LSHSAMPLE_COMPLETE=f"complete_{shell}", **words)


def test_a_stranger_finds_the_way_to_a_model(lshsample, files, tmp_path):
    """The commands that `lshsample` alone prints, with files of their own: a model that predicts."""
    train, test = files
    shown = subprocess.run([*lshsample.line], capture_output=True, text=True, check=False)
    start = shown.stdout.split("Start here:")[1]
    lines = re.findall(r"^ *lshsample ((?:train|evaluate|predict) .*?) *$", start, re.MULTILINE)
    places = {"TRAIN": train, "TEST": test, "ROWS": test, "DIR": tmp_path / "model"}
    done = [lshsample(*(places.get(word, word) for word in line.split())) for line in lines]
    assert [line.split()[0] for line in lines] == ["train", "evaluate", "predict"]
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    measured = [re.search(r"P@1 ([0-9.]+) %", one.stdout)[1] for one in done[:2]]
    assert measured[0] == measured[1]
    assert float(measured[0]) > 50
    assert len(done[2].stdout.splitlines()) == 100
    assert re.fullmatch(r"\d+:\S+( \d+:\S+){4}", done[2].stdout.splitlines()[0])


@pytest.mark.parametrize("width", ["80", "120"])
def test_options_are_in_groups(width):
    shown = printed("train", "-h", COLUMNS=width)
    panels = re.findall(r"^╭─ (.*?) ─+╮$", shown, re.MULTILINE)
    assert panels == [
        "Arguments", "Options", "Data", "Model and results", "Training", "Network", "Sampling of the labels",
        "Reading of files", "Messages",
    ]  # fmt: skip
    commands = re.findall(r"^│ ([a-z][a-z-]*) +[A-Z]", printed(COLUMNS=width), re.MULTILINE)
    assert commands[:3] == ["train", "evaluate", "predict"]
    assert set(commands) == set(COMMANDS)
