"""The names of the package, which are imported on first use, beside forks."""

from __future__ import annotations

import subprocess
import sys

_FORK = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # a fork beside threads
import lshsample
names = threading.Thread(target=lambda: [getattr(lshsample, name) for name in lshsample.__all__])
names.start()
time.sleep(float(sys.argv[1]))
child = os.fork()
if child == 0:
    lshsample.Network, lshsample.HashTables, lshsample.Trainer
    os._exit(0)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(status)
    time.sleep(0.005)
os.kill(child, 9)
sys.exit("the child waits for ever")
"""


def test_a_fork_while_another_thread_imports_leaves_a_child_that_works():
    """At ten moments of the import: the child has no thread that would release the lock of a module."""
    for number in range(10):
        command = [sys.executable, "-c", _FORK, str(number * 0.02)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_first_fork_of_a_process_is_silent():
    """Modules that act before and after a fork are not imported between the two."""
    code = "import os, lshsample\nif not os.fork(): os._exit(0)\nos.wait()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
