"""What users can name is documented: names, families, stages, hooks, commands; and pages hold together."""

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import attrs
import pytest
import typer
from lshsample_families import lshsample_hash_families as builtin_families

import lshsample
from lshsample import hookspecs
from lshsample.cli.commands import app
from lshsample.config import TrainConfig
from lshsample.sampling import NAMED_PIPELINES, builtin_stages
from lshsample.xc import Recipe

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {page.relative_to(DOCS).as_posix(): page.read_text() for page in sorted(DOCS.rglob("*.md"))}
EVERYTHING = "\n".join(PAGES.values())
MODULES = [
    lshsample,
    *(
        importlib.import_module(f"lshsample.{module.name}")
        for module in pkgutil.iter_modules(lshsample.__path__)
        if not module.name.startswith("_")
    ),
]
#: What others are made of: its names need no page. Every other module is for users.
INTERNAL = {
    "cli",
    "display",
    "family",
    "family_text",
    "files",
    "hashing",
    "hookspecs",
    "memory",
    "registry",
    "scaffold",
}
INTERNAL |= {"plugin_manager", "provenance", "specs"}
#: Names of modules for users that need no page: they are met in results and annotations alone.
UNNAMED = {
    "plugin": {"Floats", "one_of"},
    "sampling": {"Pipeline", "Stage", "builtin_stages"},
    "tables": {"TableState"},
    "testing": {"CHECKS", "STAGE_CHECKS"},
    "training": {"EpochRecord"},
}


def words_of(text):
    return set(re.findall(r"\w+", text))


WORDS = words_of(EVERYTHING)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_on_a_page(module):
    own = module.__name__.removeprefix("lshsample.")
    if own in INTERNAL:
        return
    names = {name for name in module.__all__ if not name.startswith("__")} - UNNAMED.get(own, set())
    assert not names - WORDS, f"no page of docs/ mentions these names of {module.__name__}"


def test_exceptions_name_what_is_there():
    public = {module.__name__.removeprefix("lshsample."): module for module in MODULES}
    assert set(public) >= INTERNAL | set(UNNAMED)
    for own, names in UNNAMED.items():
        assert names <= set(public[own].__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_thing_has_a_docstring(module):
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"
        if inspect.isclass(thing):
            for member, function in vars(thing).items():
                if not member.startswith("_") and inspect.isfunction(function):
                    assert inspect.getdoc(function), f"{module.__name__}.{name}.{member} has no docstring"


@pytest.mark.parametrize("name", sorted(builtin_families()))
def test_every_family_has_a_page_and_an_example(name):
    assert f"`{name}`" in PAGES["families.md"], f"docs/families.md does not list {name}"
    heading = re.compile(rf"^#+ .*`{re.escape(name)}`", re.MULTILINE)
    assert any(heading.search(text) for text in PAGES.values()), f"no page has a section on {name}"
    doc = builtin_families()[name].__doc__ or ""
    assert ">>>" in doc, f"{name}'s class has no example"
    assert "Notes" in doc, f"{name}'s class does not state its law"


def test_every_family_is_measured_or_listed_as_not_measured():
    page = PAGES["benchmarks-recall.md"]
    measured = set(re.findall(r"`([a-z0-9-]+)[`:]", "\n".join(re.findall(r"^\| `.*$", page, re.MULTILINE))))
    section = page.split("\n## Families not measured\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^- `([a-z0-9-]+)`: ", section, re.MULTILINE))
    assert measured | listed == set(builtin_families()), "each with a row of figures, or listed with a reason"
    assert not measured & listed, "measured, and listed as not measured"


@pytest.mark.parametrize("name", sorted(builtin_stages()))
def test_every_stage_is_described(name):
    for page in ("samplers.md", "probabilities.md"):
        assert f"`{name}" in PAGES[page], f"docs/{page} does not describe the stage {name}"


@pytest.mark.parametrize("name", NAMED_PIPELINES)
def test_every_named_pipeline_is_shown(name):
    assert re.search(rf"^{name} ", PAGES["samplers.md"], re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in dir(hookspecs) if name.startswith("lshsample_")])
def test_every_hook_is_documented_and_tested(name):
    assert any(f"## `{name}`" in text for text in PAGES.values()), f"no page has a section on the hook {name}"
    tests = (path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert any(f"def {name}(" in path.read_text() for path in tests), f"no test implements the hook {name}"


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def command_section(name):
    """The part of the page between a command's heading and the next one's."""
    return PAGES["command-line.md"].split(f"\n## `{name}`\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name):
    assert f"[`{name}`](#{name})" in PAGES["command-line.md"]
    section = command_section(name)
    for parameter in COMMANDS[name].params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert re.search(rf"`{option}\b", section), f"docs/command-line.md: {name} {option}"


def test_every_setting_of_a_config_file_is_described():
    example = tomllib.loads(re.search(r"^```toml\n(.*?)^```", command_section("train"), re.M | re.S)[1])
    fields = {field.name for field in attrs.fields(TrainConfig)} - {"seed"}
    left_out = fields - set(example["network"])
    # Of a named pipeline, of another precision, of workers.
    alternatives = {"n_active", "cache_share", "parts"}
    assert left_out <= alternatives, "every setting but those that others exclude"
    assert Recipe.from_dict(example).network.hidden == (512,)


def test_every_c_header_is_described():
    folder = ROOT / "cext" / "include" / "lshsample"
    for header in folder.glob("*.h"):
        assert f"`{header.name}`" in PAGES["c-core.md"], (
            f"docs/c-core.md does not say what {header.name} is for"
        )


def test_every_benchmark_is_described():
    for script in (ROOT / "benchmarks").glob("bench_*.py"):
        assert f"`{script.name}`" in PAGES["benchmarks.md"], (
            f"docs/benchmarks.md does not mention {script.name}"
        )


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_index_leads_to_every_page(page):
    reached, waiting = set(), ["README.md"]
    while waiting:
        at = waiting.pop()
        if at in reached:
            continue
        reached.add(at)
        for target in re.findall(r"\]\(([^)#]+\.md)[^)]*\)", PAGES[at]):
            path = (DOCS / at).parent.joinpath(target).resolve()
            if path.is_relative_to(DOCS):
                waiting.append(path.relative_to(DOCS).as_posix())
    assert page in reached, f"docs/{page} cannot be reached from docs/README.md"


@pytest.mark.parametrize("page", [*sorted(PAGES), "../README.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text()):
        if not re.match(r"https?://|#|mailto:", target):
            path = (DOCS / page).parent / target.split("#")[0]
            assert path.exists(), f"docs/{page}: the link {target} leads nowhere"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_python_examples_run(page):
    """A block of Python is an example that runs, or a file that begins with its name."""
    for block in re.findall(r"^```python\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL):
        assert block.startswith((">>> ", "# ")), (
            f"docs/{page}: a block that is neither an example nor a file:\n{block}"
        )
