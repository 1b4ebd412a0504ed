"""A package that differs from its sources is told from one that does not."""

import pytest

from lshsample.errors import ArgumentError
from lshsample.plugin import source_digest
from lshsample.testing import stale_package


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Sources, and an installed copy of them."""
    for folder in ("project/src/some_package", "installed/some_package"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    return tmp_path / "project"


def test_an_equal_copy_is_not_stale(project):
    assert stale_package("some_package", project) is None


@pytest.mark.parametrize("name", ["__init__.py", "added.py"])
def test_a_source_that_differs_is_named(project, name):
    (project / "src" / "some_package" / name).write_text("x = 2")
    message = stale_package("some_package", project)
    assert f" in {name}; run: pip install --no-build-isolation -e {project}" in message


def test_sources_that_are_installed_themselves_are_not_stale(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project / "src"))
    (project / "src" / "some_package" / "added.py").write_text("")
    assert stale_package("some_package", project) is None


def test_a_library_is_known_by_the_digest_of_its_sources(project):
    (project / "csrc").mkdir()
    (project / "csrc" / "one.c").write_text("int x;")
    assert "was not compiled from the sources" in stale_package("some_package", project)
    library = project.parent / "installed" / "some_package" / "_kernel.so"
    library.write_bytes(b"..." + source_digest(project / "csrc").encode() + b"...")
    assert stale_package("some_package", project) is None
    (project / "csrc" / "one.h").write_text("")
    assert "was not compiled from the sources" in stale_package("some_package", project)


def test_what_is_not_there(project):
    with pytest.raises(
        ArgumentError, match=r"project must be a folder with the package other in it or in src/"
    ):
        stale_package("other", project)
    (project / "src" / "never_installed").mkdir()
    assert "never_installed is not installed; run: pip" in stale_package("never_installed", project)
    with pytest.raises(ArgumentError, match=r"folder must be a folder with \.c or \.h files"):
        source_digest(project)
