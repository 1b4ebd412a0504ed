"""The tune command."""

import json

from lshsample import parse_pipeline
from lshsample.registry import family_from_json


def test_goal_predicted_and_observed_are_printed(lshsample, tmp_path):
    synthetic = ["tune", "--items", 1500, "--queries", 60, "--family", "simhash:projection=sparse"]
    goal = ["--recall", 0.7, "--memory-bytes", 2_000_000, "--threads", 1, "--json", tmp_path / "t.json"]
    done = lshsample(*synthetic, *goal)
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout
    result = json.loads((tmp_path / "t.json").read_text())
    assert result["predicted"]["recall"] >= 0.7
    assert result["observed"]["memory_bytes"] == result["predicted"]["memory_bytes"] <= 2_000_000
    assert type(family_from_json(result["family"])).__name__ == "SimHash"
    assert result["observed"]["relative_error"] is None  # approximate for sparse directions
    assert parse_pipeline(result["sampler"]).stages
    assert "MiB" in done.stdout
    assert "e+0" not in done.stdout
    lines = done.stdout.splitlines()
    assert f"lshsample train DATA {result['command_options']}" in lines
    assert result["python"] in lines
    refused = lshsample(*synthetic, "--recall", 0.9, "--size", 3)
    assert refused.returncode == 2
    assert "with a cap of 3 ids recall is at most" in refused.stderr
