"""All commands of the command line."""

from __future__ import annotations

from lshsample.cli import compare, demo, explain, model, new_family, show, train, tune
from lshsample.cli.app import app

__all__ = ["app"]

app.command()(demo.demo)
app.command()(train.train)
app.command()(model.evaluate)
app.command()(model.predict)
app.command()(compare.compare)
app.command()(tune.tune)
app.command()(explain.explain)
app.command()(show.families)
app.command()(show.stages)
app.command()(show.info)
app.command()(new_family.new_family)
