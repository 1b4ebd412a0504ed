"""The commands of the tutorial, pasted into one shell in order, give a family that passes the kit.

Its Python examples are run, in one session and in order, as the doctests of the page.
"""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-new-family.md"


def test_the_tutorial_in_one_shell(environment, printed, tmp_path):
    # The law is tested in the page's Python examples, other processes with the packages of other tests.
    commands = "export PYTEST_ADDOPTS=\"$PYTEST_ADDOPTS -k 'not law and not process'\"\n" + "\n".join(
        printed(PAGE.read_text())
    )
    output = environment.shell(commands, tmp_path)
    assert output.count(" passed") == 4, "a new package, the family, its kernel, its benchmarks"
    assert "'hamming-bits' of lshsample-hamming-bits" in output
    assert (tmp_path / "hamming-bits" / "plots" / "recall-candidates.png").exists()
    assert (
        "native" in (tmp_path / "hamming-bits" / "src" / "lshsample_hamming_bits" / "family.py").read_text()
    )
