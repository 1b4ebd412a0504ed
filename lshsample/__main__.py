"""``python -m lshsample`` is the command ``lshsample``."""

from lshsample.cli import main

main()
