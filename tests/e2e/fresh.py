"""A new environment in which packages are built, installed and used, by the commands that are printed."""

import os
import re
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

#: The commands of the environment: each with the module and the function that it calls.
COMMANDS = {
    "lshsample": ("lshsample.cli", "main"),
    "mypy": ("mypy.__main__", "console_entry"),
    "pip": ("pip._internal.cli.main", "main"),
    "pytest": ("pytest", "main"),
}
_BLOCK = re.compile(r"^```(?:bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def printed_commands(page: str) -> list[str]:
    """The commands in the blocks of a page, in order; prompts and comments are taken away.

    A block with a here-document is one command, and lines after the prompt ``>`` belong to the
    line before.
    """
    commands: list[str] = []
    for block in _BLOCK.findall(page):
        if "<<'" in block and not block.startswith("$ "):
            commands.append(block)
            continue
        for line in block.splitlines():
            if line.startswith("> "):
                commands[-1] += "\n" + line.removeprefix("> ")
            elif command := re.sub(r"\s+# .*$", "", line.removeprefix("$ ")):
                commands.append(command)
    return commands


class Environment:
    """A virtual environment that sees the packages of this one, and into which others are installed.

    ``pip`` has no index here: what a package needs must be installed.
    """

    def __init__(self, folder: Path, mypy_cache: Path) -> None:
        self.bin, self.mypy_cache = folder / "bin", mypy_cache
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
        lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(paths))
        target = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        Path(target, "beside.pth").write_text(lines)
        # mypy would look at all of PyTorch, which takes it twice as long as all else.
        (folder / "stubs").mkdir()
        anything = "from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n"
        (folder / "stubs" / "torch.pyi").write_text(anything)
        for name, (module, function) in COMMANDS.items():
            lines = [f"#!{self.bin / 'python'}", "import sys", f"from {module} import {function}"]
            (self.bin / name).write_text("\n".join([*lines, f"sys.exit({function}())\n"]))
            (self.bin / name).chmod(0o755)

    def try_shell(self, commands: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run commands in a shell in which the environment is active; both kinds of output in ``stdout``."""
        new = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "250",
            "MYPY_CACHE_DIR": str(self.mypy_cache),
            "MYPYPATH": str(self.bin.parent / "stubs"),
            "PIP_NO_INDEX": "1",
            "PYTEST_ADDOPTS": "-q -p no:cacheprovider -p no:xdist",
        }
        old = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            ["bash", "-e", "-c", commands], cwd=cwd, env={**old, **new}, text=True, timeout=300, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def shell(self, commands: str, cwd: Path) -> str:
        """Run commands that succeed, as above; returns the output."""
        done = self.try_shell(commands, cwd)
        assert done.returncode == 0, f"{commands}\n{done.stdout[-8000:]}"
        return done.stdout
