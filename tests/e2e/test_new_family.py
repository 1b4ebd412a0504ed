"""A package written by ``lshsample new-family`` builds and passes its tests by the commands that are printed.

So does one to which a kernel is added, and no test runs on an old copy of a file that was edited.
"""

import importlib.util
import json
import re

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.cli import main
from lshsample.cli import new_family as cli
from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError
from lshsample.scaffold import KINDS, add_kernel, write_package

#: A hash function unlike that of a new package.
OWN_HASH = '''\
    def hash(self, x: Rows) -> Codes:
        """Parities of cells of width 1/3."""
        dense = x if isinstance(x, np.ndarray) else x.toarray()
        if (dense > 1e30).any():
            raise ArgumentError("x", "huge values", "at most 1e30")
        cells = np.floor(self.margins(dense) * np.float32(3)).astype(np.int64) & 1
        bits = cells.reshape(-1, self.n_hashes, self.n_tables)
        codes: Codes = (bits << np.arange(self.n_hashes)[:, None]).sum(axis=1).astype(np.uint32)
        return codes

'''


def new_family(environment, folder, name, *options):
    """The commands that new-family prints."""
    output = environment.shell(f"lshsample new-family {name} {' '.join(map(str, options))}", folder)
    files, commands = output.split("\n\n")
    assert all((folder / line.split(":")[0]).is_file() for line in files.splitlines())
    return commands


def family_file(package):
    (file,) = package.glob("src/*/family.py")
    return file


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def with_own_hash(package):
    """Changes the hash function and the options, as an author would."""
    edit(family_file(package), ' further ones as attrs fields."""', ' more."""\n\n    width: float = 2.0')
    text = family_file(package).read_text()
    start, end = text.index("    def hash(self"), text.index("    def collision_probability")
    family_file(package).write_text(text[:start] + OWN_HASH + text[end:])


@pytest.fixture(scope="module")
def package(environment, tmp_path_factory):
    """A new package in NumPy, installed and tested by the printed commands."""
    folder = tmp_path_factory.mktemp("new")
    output = environment.shell(new_family(environment, folder, "brand-new"), folder)
    assert re.search(r"\d+ passed, 5 skipped", output), "only checks of kernels and probes are skipped"
    assert "brand-new" in output.split("passed")[1], "lshsample families lists it"
    return folder / "brand-new"


def test_a_wrong_law_in_the_source_fails(environment, package):
    before = family_file(package).read_text()
    edit(
        family_file(package),
        "np.asarray(1 - np.arccos(cosine) / np.pi)",
        "(1 - np.arccos(cosine) / np.pi) / 2",
    )
    done = environment.try_shell("pytest -x -k law_one_hash", package)
    family_file(package).write_text(before)
    assert done.returncode == 1, done.stdout
    assert "law_one_hash" in done.stdout


def test_it_can_be_trained_with(environment, package, tmp_path):
    labels = np.random.default_rng(0).integers(0, 40, 300)
    columns = (labels[:, None] * 4 + np.arange(4)).ravel()
    x = sp.csr_array((np.ones(1200), (np.repeat(np.arange(300), 4), columns)), shape=(300, 160))
    y = sp.csr_array((np.ones(300), (np.arange(300), labels)), shape=(300, 40))
    write_xc(tmp_path / "train.txt", Dataset.of(x, y))
    options = "--preset network --family brand-new --epochs 2 --n-active 20 --hidden 16 --json r.json"
    environment.shell(f"lshsample train train.txt {options}", tmp_path)
    assert json.loads((tmp_path / "r.json").read_text())["steps"] > 0


def test_its_benchmarks_are_skipped_without_pytest_benchmark(environment, package):
    (package / "without.py").write_text("""
import sys, pytest
sys.modules["pytest_benchmark"] = None
sys.exit(pytest.main(["-rs", "-p", "lshsample.pytest_plugin", "benchmarks"]))
""")
    done = environment.try_shell("PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python without.py", package)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert "needs pytest-benchmark: pip install pytest-benchmark" in done.stdout


def test_mypy_knows_the_options(environment, package):
    pytest.importorskip("mypy", reason="a type checker: pip install mypy")
    text = family_file(package).read_text()
    edit(family_file(package), ' further ones as attrs fields."""', ' more."""\n\n    width: float = 2.0')
    edit(family_file(package), "        cosine = ", "        reveal_type(self.spec.width)\n        cosine = ")
    out = environment.shell("mypy", package)
    # Another length: mypy does not look again at a file of the same size and second.
    edit(family_file(package), "self.spec.width", "self.spec.widthh")
    wrong = environment.try_shell("mypy", package)
    family_file(package).write_text(text)
    assert 'Revealed type is "float"' in out.replace("builtins.", "")
    assert wrong.returncode == 1
    assert '"BrandNewSpec" has no attribute "widthh"' in wrong.stdout


#: Kinds that can be tested; the kernel of one is compiled by numba.
COMPILED = ["c", "cffi", *(["numba"] if importlib.util.find_spec("numba") else [])]


@pytest.fixture(scope="module")
def compiled(environment, tmp_path_factory):
    """Packages with kernels, installed by one command: new ones, and some with another hash function."""
    folder = tmp_path_factory.mktemp("compiled")
    for kind in COMPILED:
        if kind != "c":  # that one is made below, by adding the kernel
            write_package(f"new-{kind}", kind, folder / f"new-{kind}")
        write_package(f"own-{kind}", "python", folder / f"own-{kind}")
        with_own_hash(folder / f"own-{kind}")
        add_kernel(f"own-{kind}", kind, folder / f"own-{kind}")
        assert OWN_HASH in family_file(folder / f"own-{kind}").read_text()
    packages = " ".join(f"-e ./{path.name}" for path in sorted(folder.iterdir()))
    environment.shell(f"pip install --no-build-isolation {packages}", folder)
    return folder


def test_packages_with_a_kernel(environment, compiled):
    """Codes are those of the reference, whose law is tested above."""
    tests = "new-*/tests own-*/tests/test_kernel.py -k 'kernel or native or edge_rows'"
    out = environment.shell(f"pytest --import-mode=importlib -W error {tests}", compiled)
    assert re.search(r"^\d+ passed", out, re.MULTILINE), "no check is skipped"


def test_a_kernel_for_another_hash_function(environment, compiled):
    """It begins as calls of the author's reference, whose codes and errors it gives."""
    program = f"""
import numpy as np, pytest, lshsample as ls
for kind in {COMPILED}:
    family = ls.make_family(f"own-{{kind}}:width=3", dim=5, n_hashes=3, n_tables=7)
    rows = np.random.default_rng(0).standard_normal((400, 5), dtype=np.float32)
    assert family.native() is not None
    assert (ls.hash_rows(family, rows, threads=2) == family.hash(rows)).all()
    rows[7] = 1e31
    with pytest.raises(ls.errors.ArgumentError, match="x must be at most 1e30"):
        ls.hash_rows(family, rows)
"""
    (compiled / "use.py").write_text(program)
    environment.shell("python use.py", compiled)


def test_mypy_knows_the_family_of_a_kernel(environment, compiled):
    """The function that makes the kernel has the class of the author's family, with its options."""
    pytest.importorskip("mypy", reason="a type checker: pip install mypy")
    files = [family_file(compiled / f"own-{kind}").with_name("kernel.py") for kind in ("c", "cffi")]
    before = [file.read_text() for file in files]
    for file in files:
        edit(file, "    def reference(", "    reveal_type(family.spec.width)\n\n    def reference(")
    out = environment.shell("mypy --strict own-*/src", compiled)
    for file, text in zip(files, before, strict=True):
        file.write_text(text)
    assert out.replace("builtins.", "").count('Revealed type is "float"') == 2


def test_a_kernel_is_added_and_old_copies_are_refused(environment, package):
    before = {path: path.read_text() for path in package.rglob("*") if path.suffix in {".py", ".toml", ".md"}}
    commands = new_family(environment, package, "brand-new", "--from-package", ".", "--kind", "c")
    for path, text in before.items():
        lines = iter(path.read_text().splitlines())
        assert all(line in lines for line in text.splitlines() if "requires =" not in line), (
            f"{path}: in order"
        )
    output = environment.shell(commands.replace("pytest\n", "pytest -vv -k 'kernel or native'\n"), package)
    assert "test_kernel.py" in output
    assert "native_equals_reference" in output

    # After an edit in C, the tests refuse, and print the command that builds it.
    edit(package / "csrc" / "kernel.h", "(line[t] >= 0)", "(line[t] < 0)")
    done = environment.try_shell("pytest", package)
    assert done.returncode != 0
    rebuild = re.search(r"run: (pip install .*)", done.stdout)[1]
    environment.shell(rebuild, package)
    assert environment.try_shell("pytest tests/test_kernel.py", package).returncode == 1, "the edit counts"
    edit(package / "csrc" / "kernel.h", "(line[t] < 0)", "(line[t] >= 0)")


def test_rows_of_the_domain_for_the_test_of_a_kernel(tmp_path):
    """The author gives them in one place, a function that the test calls."""
    write_package("some", "c", tmp_path)
    text = (tmp_path / "tests" / "test_kernel.py").read_text()
    assert "    rows = prepare(rows)\n    codes = family.hash(rows)\n" in text
    names = {}
    exec(text, names)
    rows = np.ones((2, 3), np.float32)
    assert names["prepare"](rows) is rows


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "own", ["setup.py", "csrc/kernel.h", "src/lshsample_some/kernel.py", "tests/test_kernel.py"]
)
def test_no_file_of_the_author_is_overwritten(tmp_path, own):
    write_package("some", "python", tmp_path)
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match=rf"package must be a package without .* with {own}\)"):
        add_kernel("some", "c", tmp_path)
    assert contents(tmp_path) == before


def test_packages_without_the_family_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"from-package must be a folder with a pyproject\.toml"):
        add_kernel("some", "c", tmp_path)
    write_package("some", "c", tmp_path)
    before = contents(tmp_path)
    for name, kind, wanted in (
        ("some", "cffi", r"NAME must be a family without a kernel \(got Some, which has a method native\)"),
        ("other", "c", r"NAME must be the name of a family .*: some \(got 'other'\)"),
        ("some", "python", "kind must be one of numba, c, cffi"),
        ("some", "rust", "kind must be one of python, numba, c, cffi"),
    ):
        with pytest.raises(ArgumentError, match=wanted):
            add_kernel(name, kind, tmp_path)
    family_file(tmp_path).write_text("def :")
    with pytest.raises(ArgumentError, match=r"a package of valid Python files \(got .*family"):
        add_kernel("some", "c", tmp_path)
    family_file(tmp_path).write_bytes(before[family_file(tmp_path)])
    assert contents(tmp_path) == before


def test_requirements_are_added_to_any_list(tmp_path):
    write_package("some", "python", tmp_path)
    file = tmp_path / "pyproject.toml"
    edit(file, 'requires = ["setuptools>=77"]', 'requires = [\n  "setuptools>=80",  # [new]\n]')
    edit(file, "dependencies = [", "dependencies = [\n")
    add_kernel("some", "numba", tmp_path)
    assert '"setuptools>=80",  # [new]\n' in file.read_text()
    assert 'dependencies = ["numba>=0.60", \n"attrs>=25.1", ' in file.read_text()


def test_a_project_without_a_list_of_requirements_is_refused(tmp_path):
    write_package("some", "python", tmp_path)
    edit(tmp_path / "pyproject.toml", "[build-system]", "[other]")
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match=r"a file with a list requires in \[build-system\]"):
        add_kernel("some", "c", tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["", "My-Family", "3d", "a--b", "a_b", "-a", "a" * 41, "simhash", "class", "../x"]
)
def test_invalid_names_are_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match="NAME must be "):
        write_package(name, "python", tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_nothing_is_overwritten(tmp_path):
    write_package("some-signs", "cffi", tmp_path / "package")
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match="a folder that does not exist or is empty"):
        write_package("other-signs", "python", tmp_path / "package")
    with pytest.raises(ArgumentError, match=r"kind must be one of python, numba, c, cffi \(got 'rust'\)"):
        write_package("other-signs", "rust", tmp_path / "other")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_of_the_templates_is_filled_in(tmp_path, kind):
    write_package("some-signs", kind, tmp_path)
    left = re.compile(rb"@(?!attrs|hookimpl|pytest|cached_property|functools|cfunc|njit|ctypes)\w")
    assert not any("@" in path.name or left.search(text) for path, text in contents(tmp_path).items())


def test_errors_on_the_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["lshsample", "new-family", "simhash"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "NAME must be a new name, unlike those of the families" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="dest must be left out with --from-package"):
        cli.new_family("some", cli.KindName.c, dest=tmp_path, from_package=tmp_path)
