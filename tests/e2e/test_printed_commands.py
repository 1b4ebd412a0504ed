"""Every command that a page prints does what the page says: it is run as printed, or listed with a reason."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.cli import main
from lshsample.data import Dataset, write_xc
from lshsample.sampling import NAMED_PIPELINES

ROOT = Path(__file__).resolve().parents[2]
#: Pages whose commands other tests of this folder run.
ELSEWHERE = {
    "docs/plugins.md": "test_plugin_page",
    "docs/tutorial-new-family.md": "test_tutorial",
    "docs/comparing.md": "test_examples",
    "docs/texts.md": "test_texts_page",
    "docs/serving.md": "test_texts_page",
    "docs/tutorial-first-model.md": "test_texts_page",
}
_FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES = [
    page
    for page in (str(file.relative_to(ROOT)) for file in _FILES)
    if page not in ELSEWHERE and re.search("^```(bash|console)$", (ROOT / page).read_text(), re.MULTILINE)
]
_LOOP = """\
for sampler in lsh uniform exact-top full; do
  lshsample train train.txt.gz --preset network --test test.txt.gz --sampler "$sampler" --json "$sampler.json"; done"""  # noqa: E501
#: Commands that are not run here, with the reason.
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/lshsample demo": "downloads",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest -n 2": ".ci/run does",
    "python3 -m venv .venv && . .venv/bin/activate": ".ci/run does",
    "pip install -e '.[dev]'": ".ci/run installs the same in two steps",
    "pip install '.[text,serve]'": "downloads",
    "pip install -e '.[bench]'": "downloads",
    "lshsample tune valid.txt.gz --model run/ --p1-share 0.99 --family cross-polytope:dimension=16": (
        "needs a trained model and its rows; tests/cli runs --p1-share"
    ),
    "pytest -n 2": "these tests",
    "bash .ci/run": "minutes; it runs these tests",
    "pytest benchmarks --benchmark-only --benchmark-save=before": "minutes",
    "pytest benchmarks --benchmark-only --benchmark-save=after": "minutes",
    "pytest-benchmark compare '*before' '*after' --group-by=fullname --columns=median,iqr": "as above",
    'LSHSAMPLE_CFLAGS="-Wall -Wextra -Werror" pip install -e . --no-build-isolation': "builds here",
    'LSHSAMPLE_CFLAGS="-O1 -g -fsanitize=address,undefined" pip install -e . --no-build-isolation': "same",
    "lshsample train texts.jsonl --save run/": "as on docs/texts.md",
    """echo '{"text": "..."}' | lshsample predict run/ -""": "as on docs/texts.md",
    "lshsample serve run/": "as on docs/texts.md",
    "lshsample serve run/ --port 8000": "as on docs/texts.md",
    'lshsample why run/ "barking at night"': "as on docs/texts.md",
    'lshsample why run/ "..."': "as on docs/texts.md",
    "pip install 'lshsample[onnx]'": "downloads",
    "pytest benchmarks --benchmark-only --benchmark-json=run.json": "minutes",
    "python benchmarks/report.py run.json --out report.html": "tests/test_benchmarks.py",
    "python benchmarks/report.py after.json --before run.json --out compared.html": "as above",
    "python benchmarks/scale.py --out scale.json": "minutes; tests/test_benchmarks.py",
    "python tools/plot_scale.py scale.json scale.svg": "as above",
    "python benchmarks/scale.py --out wide.json --only labels --at labels=10000000 --precision bfloat16": "7 GB",  # noqa: E501
    "lshsample train 'texts/*.jsonl.gz' --stream --preset network --save run/": "tests/cli/test_stream.py",
    "lshsample predict run/ new.jsonl": "as above",
    """curl localhost:8000 -d '{"rows": [{"ids": [3, 17], "values": [0.5, 1.2]}], "top": 2}'""": "tests/ray",
    "lshsample export run/ model.onnx": "tests/cli/test_export.py",
    "lshsample update run/ new.jsonl --remove obsolete": "tests/cli/test_texts.py",
    "lshsample train train.txt.gz --preset network --workers 4 --save run/": "tests/cli/test_cluster.py",
    "ray start --head --port=6379": "needs several machines",
    "ray start --address=HEAD:6379": "as above",
    "lshsample cluster-check --labels 670091 --workers 4 --address auto": "as above",
    "lshsample train train.txt.gz --preset network --workers 4 --address auto --save /shared/run/": "same",
    "lshsample report runs/first runs/second -o report.html": "tests/cli/test_report.py",
    'lshsample demo --ask "bitten by a dog" --save demo/': "tests/cli/test_demo.py",
    'lshsample demo --ask "broken arm" --save demo/': "as above",
    "lshsample serve demo/": "as on docs/texts.md",
    _LOOP: "the command train as on other pages, with names that are compared below",
}
#: Values of options that would take long here, with those that are run in their place.
SMALLER = {"--bits 4,6,8,10,12,14 --n-tables 50": "--bits 4 --n-tables 5"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small data files under the names of the pages. Each of 40 labels has its own four features."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    for name, n in (("train.txt.gz", 300), ("test.txt.gz", 120)):
        labels = rng.integers(0, 40, n)
        columns = (labels[:, None] * 4 + np.arange(4)).ravel()
        x = sp.csr_array((np.ones(4 * n), (np.repeat(np.arange(n), 4), columns)), shape=(n, 160))
        y = sp.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, 40))
        write_xc(folder / name, Dataset.of(x, y))
    return folder


@pytest.fixture
def lshsample(folder, monkeypatch, capsys):
    """Runs a command in this process."""
    monkeypatch.chdir(folder)

    def run(command):
        words = shlex.split(command)
        if words[1] == "train" and "--save" in words and "--overwrite" not in words:
            # The pages share the folder, and a finished model is not replaced without being told.
            shutil.rmtree(folder / words[words.index("--save") + 1], ignore_errors=True)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code, f"{command}\n{capsys.readouterr()}"

    return run


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(environment, printed, folder, lshsample, page):
    commands = [command for command in printed((ROOT / page).read_text()) if command not in NOT_RUN]
    in_shell = []
    for command in commands:
        if in_shell or "new-family" in command or not command.startswith("lshsample "):
            # A new package is installed in the shell's environment alone.
            in_shell.append(command)
            continue
        for values, smaller in SMALLER.items():
            command = command.replace(values, smaller)
        for part in command.split("; "):
            lshsample(part)
    if in_shell:
        # The tests of new packages are elsewhere.
        environment.shell("\n".join(in_shell).replace("\npytest\n", "\npytest -k native\n"), folder)


def test_the_list_of_commands_that_are_not_run(printed):
    found = {command for page in PAGES for command in printed((ROOT / page).read_text())}
    assert set(NOT_RUN) <= found, "commands that no page prints"
    assert all(any(values in command for command in found) for values in SMALLER)
    assert set(_LOOP.split(";")[0].split()[3:]) <= set(NAMED_PIPELINES)
    assert (ROOT / "benchmarks").is_dir()
    assert (ROOT / ".ci" / "run").is_file()
