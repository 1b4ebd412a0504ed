"""C extensions, packages, and the form of an editable install; everything else is in pyproject.toml."""

import os
import shlex
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel


def require_system():
    """End with advice on a system that the C core does not know, before a build that cannot succeed."""
    if sys.platform == "win32":
        sys.exit("lshsample needs Linux or macOS: on Windows, install it in the Windows Subsystem for Linux.")


def require_compiler():
    """The same where there is no C compiler."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(shlex.split(command)[0]) is None:
        sys.exit(
            f"lshsample is compiled when it is installed, and the C compiler {command!r} is not there: "
            "install gcc or clang (Debian, Ubuntu: apt install gcc; Fedora: dnf install gcc), or set CC to "
            "one that is."
        )


#: The most compilers that run at a time, each with some 200 MB.
COMPILERS = min(os.cpu_count() or 1, 8)


class BuildExt(build_ext):
    """The extensions, built by a compiler that is there; the sources of each are compiled side by side."""

    def run(self):
        require_compiler()
        super().run()

    def build_extension(self, ext):
        one_by_one = self.compiler.compile

        def side_by_side(sources, *args, **options):
            with ThreadPoolExecutor(COMPILERS) as pool:
                compiled = pool.map(lambda source: one_by_one([source], *args, **options), sources)
                return [name for names in compiled for name in names]

        self.compiler.compile = side_by_side
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = one_by_one


class BdistWheel(bdist_wheel):
    """A wheel, whose compiler is looked for before all other steps."""

    def run(self):
        require_compiler()
        super().run()


class Paths:
    """An editable install by paths alone.

    For packages in several folders setuptools installs an import hook instead, which type checkers and
    editors do not run: they would find neither lshsample nor the types of a plugin's base classes.
    """

    def __init__(self, name, folders):
        self.file, self.folders = f"__editable__.{name}.pth", folders

    def __call__(self, wheel, files, mapping):
        wheel.writestr(self.file, "".join(f"{folder}\n" for folder in self.folders))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class EditableWheel(editable_wheel):
    """Editable installs of this project."""

    def run(self):
        require_compiler()
        super().run()

    def _select_strategy(self, name, tag, build_lib):
        root = Path(__file__).resolve().parent
        return Paths(name, [root, root / "plugins"])


require_system()

# A free-threaded interpreter has no stable ABI: its wheels are for its own version. cffi builds them so too.
stable_abi = {} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"py_limited_api": "cp311"}

setup(
    # The C headers are installed as a package of data alone.
    packages=[*find_packages(include=["lshsample*"]), *find_packages("plugins"), "lshsample.include"],
    cffi_modules=["cext/build_ffi.py:ffi", "plugins/csrc/build_ffi.py:ffi"],
    cmdclass={"bdist_wheel": BdistWheel, "build_ext": BuildExt, "editable_wheel": EditableWheel},
    options={"bdist_wheel": stable_abi},
)
