"""Runs of the tests: on extensions built from the sources of this checkout alone, and without the fuzzers.

Also the fixture of packages with plugins.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lshsample._native.sources import stale_extensions
from lshsample.plugin_manager import installed_plugins
from lshsample.registry import default_registry
from lshsample.sampling.text import stage_registry

#: `tools/fuzz.sh` runs the fuzzers, which need what it installs.
collect_ignore = ["fuzz"]


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once where the compiled code is not that of the sources: its tests would mean nothing.

    Signals that are ignored, as below ``nohup`` or in the background of a shell, have their usual effect in
    the tests and in the processes that they start.

    Tests that run beside each other (``-n 2``) have one thread of BLAS each: more threads than processors
    wait for each other, and learning the directions of a family takes four times as long.
    """
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # which the workers get, before they import numpy
    messages = stale_extensions()
    if messages:
        raise pytest.UsageError("\n".join(messages))
    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    for number, handler in ((signal.Signals[name], handler) for name, handler in usual.items()):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


FAMILY = """
import attrs
import numpy as np
from lshsample.plugin import FamilySpec, HashFamily, hookimpl, number

@attrs.frozen(kw_only=True)
class Spec(FamilySpec):
    {option}: float = attrs.field(default=0.0, validator=number(-9, 9))

class Signs(HashFamily):
    Spec = Spec
    similarity = "cosine"

    def hash(self, x):
        rng = np.random.default_rng([self.seed, {salt}])
        planes = rng.standard_normal((self.dim, self.n_tables * self.n_hashes))
        bits = (np.asarray(x @ planes) > 0).reshape(x.shape[0], self.n_tables, self.n_hashes)
        return (bits << np.arange(self.n_hashes)).sum(axis=2).astype(np.uint32)

    def collision_probability(self, similarity):
        return 1 - np.arccos(np.clip(similarity, -1, 1)) / np.pi

@hookimpl
def lshsample_hash_families():
    return {{"acme-signs": Signs}}
"""


class Packages:
    """Packages with plugins for one test: folders on the path with a module and its metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._installed = folder, dict[str, Path]()

    @staticmethod
    def family(salt: int = 0, option: str = "level") -> str:
        """The module of a plugin with a family, whose functions are drawn with a salt."""
        return FAMILY.format(salt=salt, option=option)

    def install(self, name: str, version: str, source: str) -> Path:
        """Install a package with one plugin, in place of another version of it; returns its folder."""
        self.remove(name)
        module = name.replace("-", "_")
        path = self.folder / f"{name}-{version}-{len(list(self.folder.iterdir()))}"
        info = path / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (path / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[lshsample]\n{name} = {module}\n")
        self._installed[name] = path
        sys.path.insert(0, str(path))
        self.forget()
        return path

    def remove(self, name: str) -> None:
        """Remove a package, if it is installed."""
        path = self._installed.pop(name, None)
        if path is not None:
            sys.path.remove(str(path))
        sys.modules.pop(name.replace("-", "_"), None)
        self.forget()

    def forget(self) -> None:
        """As in a new process: plugins are loaded again."""
        importlib.invalidate_caches()
        for cache in (installed_plugins, default_registry, stage_registry):
            cache.cache_clear()


@pytest.fixture
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packages]:
    """Packages that are installed until the end of the test."""
    made = Packages(tmp_path_factory.mktemp("packages"))
    yield made
    for name in list(made._installed):
        made.remove(name)
