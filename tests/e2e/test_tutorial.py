"""The commands of the tutorial, pasted into one shell in order, give a family that passes the kit.

Its Python examples are run, in one session and in order, as the doctests of the page.
"""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-new-family.md"

#: A kernel that calls the reference for each row is slow: here the tests that need it alone, and few rows.
QUICKER = {
    "-e .\npytest\n": "-e .\npytest -k 'kernel or native'\n",
    "--items 2000 --queries 50 --bits 6,8": "--items 500 --queries 20 --bits 6",
}


def test_the_tutorial_in_one_shell(environment, printed, tmp_path):
    commands = "\n".join(printed(PAGE.read_text()))
    for slow, quick in QUICKER.items():
        assert commands.count(slow) == 1, slow
        commands = commands.replace(slow, quick)
    # The law is tested in the page's Python examples, other processes with the packages of other tests.
    commands = f"export PYTEST_ADDOPTS=\"$PYTEST_ADDOPTS -k 'not law and not process'\"\n{commands}"
    output = environment.shell(commands, tmp_path)
    assert output.count(" passed") == 4, "a new package, the family, its kernel, its benchmarks"
    assert "'hamming-bits' of lshsample-hamming-bits" in output
    assert (tmp_path / "hamming-bits" / "plots" / "recall-candidates.png").exists()
    assert (
        "native" in (tmp_path / "hamming-bits" / "src" / "lshsample_hamming_bits" / "family.py").read_text()
    )
