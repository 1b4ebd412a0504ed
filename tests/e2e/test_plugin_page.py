"""The package on the page docs/plugins.md can be installed, found and tested by the commands of that page."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```\w+\n(?:# |/\* )(\S+\.\w+)(?: \*/)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(environment, printed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    files = dict(BLOCK.findall(PAGE.read_text()))
    assert {"pyproject.toml", "setup.py", "csrc/bits.c", "tests/test_families.py", "tests/conftest.py"} < set(
        files
    )
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    sections = PAGE.read_text().split("\n## ")
    (kit,) = (section for section in sections if section.startswith("The conformance kit"))
    assert "passed" in environment.shell("\n".join(printed(kit)), folder)
    return folder


def test_the_families_are_found_and_work_as_any_other(environment, package):
    program = """
import numpy as np, lshsample as ls
from lshsample.registry import default_registry
assert {"simhash", "sampled-bits", "sampled-bits-native"} <= set(ls.families())
assert "bit-families" in default_registry().owner("sampled-bits")
rows = np.random.default_rng(0).standard_normal((500, 24), dtype=np.float32)
tables = [
    ls.HashTables(ls.make_family(name, dim=24, n_hashes=6, n_tables=9)).build(rows)
    for name in ("sampled-bits", "sampled-bits-native")
]
slow, fast = [t.query(rows[:50]) for t in tables]
assert (slow.ids == fast.ids).all() and (slow.counts == fast.counts).all()
layers = [ls.Input(8), ls.Dense(24), ls.Sampled(50, family="sampled-bits-native", n_hashes=3, n_active=20)]
network = ls.Network(layers)
y = np.eye(50, dtype=np.float32)[:30]
print(ls.Trainer(network, epochs=2, batch_size=10, threads=2).fit(rows[:30, :8], y).steps)
"""
    (package / "use.py").write_text(program)
    assert environment.shell("python use.py", package).split() == ["6"]


def test_an_old_build_is_refused(environment, package):
    with (package / "csrc" / "bits.c").open("a") as file:
        file.write("/* edited */")
    done = environment.try_shell("pytest", package)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "bit_families was not compiled from the sources that are now in" in done.stdout


def test_the_commands_that_add_a_kernel(environment, package, printed, tmp_path):
    """On a package with the page's family in NumPy alone."""
    section = next(s for s in PAGE.read_text().split("\n## ") if s.startswith("From NumPy to C"))
    environment.shell("pip uninstall -y bit-families", package)
    for name in (
        "pyproject.toml",
        "src/bit_families/sampled.py",
        "tests/test_families.py",
        "tests/conftest.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (package / name).read_text().replace('"sampled-bits", "sampled-bits-native"', '"sampled-bits"')
        (tmp_path / name).write_text(text)
    (tmp_path / "src" / "bit_families" / "__init__.py").write_text("""
from lshsample.plugin import hookimpl
from bit_families.sampled import SampledBits

@hookimpl
def lshsample_hash_families():
    return {"sampled-bits": SampledBits}
""")
    commands = "\n".join(printed(section)).replace("pytest", "pytest -k 'kernel or native'")
    assert re.search(r"\d+ passed", environment.shell(commands, tmp_path))
