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


def test_tables_of_a_trained_layer_are_chosen_by_its_p_at_1(lshsample, files, small, tmp_path):
    train, test = files
    trained = lshsample("train", train, *small, "--save", tmp_path / "model", "--threads", 1)
    assert trained.returncode == 0, trained.stderr
    command = ["tune", test, "--model", tmp_path / "model", "--p1-share", 0.9, "--threads", 1]
    done = lshsample(*command, "--family", "simhash:projection=gaussian", "--json", tmp_path / "t.json")
    assert done.returncode == 0, done.stderr
    assert "exact" in done.stdout
    result = json.loads((tmp_path / "t.json").read_text())
    assert result["predicted"]["p_at_1"] >= 0.9 * result["predicted"]["exact_p_at_1"] > 0
    assert parse_pipeline(result["sampler"]).stages
    assert result["python"] in done.stdout.splitlines()
    for words in (["--size", 3], ["--items", 100], ["--recall", 0.9], ["--k", 10]):
        refused = lshsample(*command, *words)
        assert refused.returncode == 2
        assert f"{words[0]} must be left out with --p1-share" in refused.stderr
    refused = lshsample("tune", "--p1-share", 0.9)
    assert "--p1-share must be used with --model" in refused.stderr
