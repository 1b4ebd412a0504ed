"""C extensions, packages, and the form of an editable install; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel


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

    def _select_strategy(self, name, tag, build_lib):
        root = Path(__file__).resolve().parent
        return Paths(name, [root, root / "plugins"])


setup(
    # The C headers are installed as a package of data alone.
    packages=[*find_packages(include=["lshsample*"]), *find_packages("plugins"), "lshsample.include"],
    cffi_modules=["cext/build_ffi.py:ffi", "plugins/csrc/build_ffi.py:ffi"],
    cmdclass={"editable_wheel": EditableWheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
