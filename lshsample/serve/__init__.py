"""A server of predictions over HTTP (``pip install 'lshsample[serve]'``)."""

from __future__ import annotations

from lshsample.serve.app import Application
from lshsample.serve.run import run
from lshsample.serve.settings import ServeSettings

__all__ = ["Application", "ServeSettings", "run"]
