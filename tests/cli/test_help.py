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
    assert shown.count(squeezed("[default: (chosen from the data)]")) == 8
    assert squeezed("[default: (OMP_NUM_THREADS or all)]") in shown


def test_the_command_line_starts_without_what_few_commands_need():
    line = "import sys; from lshsample.cli import commands; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    slow = {"scipy.optimize", "scipy.spatial", "scipy.stats", "matplotlib", "numba", "h5py", "pytest"}
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
