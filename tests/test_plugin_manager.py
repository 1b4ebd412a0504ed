"""A broken plugin is left out alone, is reported, and can be switched off."""

import os
import subprocess
import sys

import pytest

from lshsample import families, make_family
from lshsample.errors import ArgumentError, PluginError, PluginWarning
from lshsample.plugin_manager import NO_PLUGINS, Plugins, installed_plugins, switch_off
from lshsample.registry import default_registry
from lshsample.sampling import stages

HOOK = """
from lshsample.plugin import hookimpl, HashFamily
@hookimpl
def lshsample_hash_families():
    """
BROKEN = {
    "import": ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
    "syntax": ("def (", "cannot be imported: SyntaxError"),
    "exit": ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    "hook": (HOOK + "return 1 // 0", "lshsample_hash_families raised ZeroDivisionError"),
    "list": (HOOK + "return []", "returned list, expected a dict"),
    "class": (HOOK + "return {'mine': HashFamily}", "HashFamily lacks collision_probability, hash"),
    "clash": (
        HOOK + "from lshsample_families import SimHash; return {'simhash': SimHash, 'other': SimHash}",
        r"claims the family name 'simhash', which 'families' of lshsample",
    ),
    "signature": (HOOK.replace("()", "(config)") + "return {}", "config"),
    "misspelt": (
        HOOK.replace("hash_families", "families") + "return {}",
        "unknown hook",
    ),
    "unmarked": (
        HOOK.replace("@hookimpl\n", "") + "return {}",
        "the function lshsample_hash_families lacks the decorator @hookimpl",
    ),
    "empty": ("", "it has no hooks, expected one of lshsample_hash_families, lshsample_sampler_stages"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_left_out_alone_and_reported(packages, kind):
    source, problem = BROKEN[kind]
    packages.install("good-families", "1.0", packages.family())
    packages.install("broken-families", "1.0", source)
    with pytest.warns(
        PluginWarning, match=rf"(?s)plugin 'broken-families' of broken-families .*{problem}"
    ) as found:
        known = families()
    assert len(found) == 1
    assert f"{NO_PLUGINS}=broken-families switches it off" in str(found[0].message)
    assert {"simhash", "acme-signs"} <= set(known)
    assert "other" not in known
    assert default_registry().owner("simhash").startswith("'families' of lshsample")
    assert "Retrieve" in stages()
    assert make_family("acme-signs", dim=3).dim == 3
    with pytest.raises(ArgumentError, match=r"(?s)left out: plugin 'broken-families'.* \(got 'mine'\)"):
        make_family("mine", dim=3)


def test_of_two_plugins_with_one_name_the_first_by_name_keeps_it(packages):
    """Whatever the order of the path."""
    for order in (("one-families", "two-families"), ("two-families", "one-families")):
        for name in order:
            packages.install(name, "1.0", packages.family())
        with pytest.warns(
            PluginWarning, match=r"plugin 'two-families'.* claims .*'acme-signs', which 'one-fam"
        ):
            families()
        assert default_registry().distribution("acme-signs") == ("one-families", "1.0")


def test_a_broken_hook_of_stages_leaves_the_families(packages):
    source = packages.family() + "\n@hookimpl\ndef lshsample_sampler_stages():\n    return 3\n"
    packages.install("mixed", "1.0", source)
    assert "acme-signs" in families()
    with pytest.warns(PluginWarning, match="lshsample_sampler_stages returned int"):
        assert "Retrieve" in stages()
    assert "left out" in installed_plugins().states()["'mixed' of mixed (mixed)"]


def test_given_plugins_raise(packages):
    def lshsample_hash_families():
        return {}

    plugin = type("Module", (), {"lshsample_hash_families": staticmethod(lshsample_hash_families)})
    with pytest.raises(
        PluginError, match=r"plugin mine: the function lshsample_hash_families lacks .*@hookimpl"
    ):
        Plugins([("mine", plugin)])
    with pytest.raises(PluginError, match=r"plugin mine: it has no hooks"):
        Plugins([("mine", object())])


@pytest.mark.parametrize("off", ["broken-families", " broken_families , absent"])
def test_plugins_are_switched_off_by_the_environment(packages, monkeypatch, off):
    packages.install("broken-families", "1.0", "import no_such_module")
    monkeypatch.setenv(NO_PLUGINS, off)
    assert "simhash" in families()
    assert "switched off" in installed_plugins().states().values()


def test_an_unknown_plugin_cannot_be_switched_off(packages, monkeypatch):
    packages.install("acme-families", "1.0", packages.family())
    with pytest.raises(
        PluginError, match=r"no plugin 'acme-famlies' is installed; did you mean 'acme-families'\?"
    ):
        switch_off(["acme-famlies"])
    monkeypatch.setenv(NO_PLUGINS, "")
    switch_off(["acme-families"])
    packages.forget()
    assert "acme-signs" not in families()


def run(path, *words):
    environment = {**os.environ, "PYTHONPATH": str(path), "COLUMNS": "200"}
    line = [sys.executable, "-m", "lshsample", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=path)


def test_each_command_reports_a_broken_plugin_and_runs(packages):
    path = packages.install("broken-families", "1.0", "import no_such_module")
    done = run(path, "families", "simhash")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "warning: plugin 'broken-families' of broken-families (broken_families): cannot be"
    )
    for option in (("density", "0.3333", "(0, 1]"), ("n_hashes", "8", "an integer from 1 to 32")):
        assert all(word in done.stdout for word in option)
    assert "The kind of random directions." in done.stdout
    quiet = run(path, "--no-plugin", "broken-families", "stages")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    misspelt = run(path, "--no-plugin", "broken-familys", "stages")
    assert misspelt.returncode == 2
    assert "did you mean 'broken-families'?" in misspelt.stderr


def test_version_and_help_load_no_plugins(packages):
    path = packages.install("broken-families", "1.0", "import no_such_module")
    for word, shown in (("--version", "lshsample 0."), ("-h", "Usage: lshsample [OPTIONS] COMMAND")):
        done = run(path, word)
        assert (done.returncode, done.stderr) == (0, "")
        assert shown in done.stdout
