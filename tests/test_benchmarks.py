"""The benchmarks run, at small sizes, and the rows of a group are of the same amount of work."""

import collections
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_every_benchmark_runs_at_a_small_size(tmp_path):
    if importlib.util.find_spec("pytest_benchmark") is None:
        pytest.skip("pytest-benchmark is not installed: pip install 'lshsample[bench]'")
    result = tmp_path / "result.json"
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--smoke"]
    done = subprocess.run(
        [*line, "--benchmark-json", result, BENCHMARKS],
        capture_output=True, text=True, timeout=300, check=False, cwd=BENCHMARKS.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    stored = json.loads(result.read_text())
    assert "node" not in stored["machine_info"], "the name of the host"
    runs = stored["benchmarks"]
    amounts = collections.defaultdict(set)
    for one in runs:
        extra, name = one["extra_info"], one["fullname"]
        assert one["group"], f"{name} has no group, so it is ranked with all others that have none"
        assert {"cpu", "isa", "threads", "versions"} <= set(extra["run"]), name
        for what in ("rows", "sets"):
            if what in extra:
                amounts[one["group"], what].add(extra[what])
    assert amounts
    assert all(len(found) == 1 for found in amounts.values()), dict(amounts)
    covered = {one["fullname"].split("::")[0].split("/")[-1] for one in runs}
    page = tmp_path / "report.html"
    line = [sys.executable, BENCHMARKS / "report.py", result, "--before", result, "--out", page]
    subprocess.run(line, check=True, timeout=60)
    shown = page.read_text()
    assert shown.count("<tr><td") == len(runs)
    assert "beside all scores in float32" in shown
    assert ">1.00</span>" in shown
    missing = {script.name for script in BENCHMARKS.glob("bench_*.py")} - covered
    needy = {"bench_peers.py", "bench_serve.py", "bench_scaffold.py", "bench_torch.py"}
    assert missing <= needy, "these need more than a run"


def benchmark(seconds, unit, *, rate=1e9, **extra):
    """A benchmark as pytest-benchmark stores it: 1 ms of the processor for each unit that it takes."""
    calibration = {"bytes_per_second": rate, "flop_per_second": rate, "unit_seconds": unit}
    stats = dict(zip(("q1", "median", "q3"), seconds, strict=True))
    run = {"cpu": "one", "processors": 2, "isa": "avx2", "versions": {"lshsample": "0.1.0"}}
    extra |= {"calibration": calibration, "run": run}
    name = {"name": "test_some[4]", "fullname": "benchmarks/bench_some.py::test_some[4]", "group": "some"}
    return name | {"stats": stats, "extra_info": extra}


def test_the_report_compares_by_the_calibration_and_names_floors():
    report = module_of(BENCHMARKS / "report.py")
    now = benchmark((0.9, 1.0, 1.1), 0.5, bytes=2e8, flop=1e8, peer="other: fast", peer_ms=3000.0)
    old = benchmark((0.4, 0.5, 0.6), 0.5)
    slower = report.page(*({"datetime": "2026-01-01T00:00:00", "benchmarks": [one]} for one in (now, old)))
    assert '<span class="bad">2.00</span>' in slower
    assert "200<small>200 M bytes</small>" in slower
    assert "beside other: fast" in slower
    assert "<code>pytest benchmarks/bench_some.py --benchmark-only</code>" in slower
    assert ">5.00</td>" in slower, "of the floor"
    machine_half_as_fast = benchmark((0.9, 1.0, 1.1), 1.0)
    same = report.page(
        *({"datetime": "2026-01-01T00:00:00", "benchmarks": [one]} for one in (machine_half_as_fast, old))
    )
    assert '<span class="dim">1.00</span>' in same
    del old["extra_info"]["calibration"]
    with pytest.raises(SystemExit, match="no calibration"):
        report.page({"datetime": "", "benchmarks": [old]})


def test_the_report_does_not_name_the_host():
    one = benchmark((0.9, 1.0, 1.1), 0.5)
    run = {"machine_info": {"node": "a-host"}, "datetime": "", "benchmarks": [one]}
    assert "a-host" not in module_of(BENCHMARKS / "report.py").page(run, run)


def test_no_stored_run_names_a_host():
    def keys(data):
        if isinstance(data, dict):
            return set(data).union(*map(keys, data.values()))
        return set().union(*map(keys, data)) if isinstance(data, list) else set()

    stored = [*BENCHMARKS.rglob("*.json"), *(BENCHMARKS.parent / "docs").rglob("*.json")]
    assert stored
    for path in stored:
        assert not {"node", "hostname", "machine_info"} & keys(json.loads(path.read_text())), path


def test_the_report_joins_the_parts_of_a_run(tmp_path):
    report, parts = module_of(BENCHMARKS / "report.py"), []
    for part, commit in enumerate(("one", "one", "other")):
        one = benchmark((0.9, 1.0, 1.1), 0.5) | {"fullname": f"benchmarks/bench_{part}.py::test_some"}
        run = {"datetime": f"2026-01-01T00:0{part}:00", "commit_info": {"id": commit}, "benchmarks": [one]}
        parts.append(tmp_path / f"{part}.json")
        parts[-1].write_text(json.dumps(run))
    shown = report.page(report.joined(reversed(parts[:2])))
    assert shown.index('id="bench_0.py"') < shown.index('id="bench_1.py"')
    with pytest.raises(SystemExit, match="of one machine and commit"):
        report.joined(parts)
    with pytest.raises(SystemExit, match=r"each benchmark once .*bench_0\.py::test_some 2 times"):
        report.joined([parts[0], parts[0]])
    changed = json.loads(parts[1].read_text())
    changed["commit_info"]["dirty"] = True
    parts[1].write_text(json.dumps(changed))
    with pytest.raises(SystemExit, match="of one machine and commit"):
        report.joined(parts[:2])


def module_of(path):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scale_is_measured_and_drawn_with_its_slopes(tmp_path):
    pytest.importorskip("matplotlib")
    draw = module_of(BENCHMARKS.parent / "tools" / "plot_scale.py")
    assert draw.slope([10, 100, 1000], [3, 3, 3]) == pytest.approx(0)
    assert draw.slope([10, 100, 1000], [2, 20, 200]) == pytest.approx(1)
    out = tmp_path / "scale.json"
    line = [sys.executable, BENCHMARKS / "scale.py", "--out", out, "--only", "hidden", "--just"]
    line += ["--at", "hidden=4", "hidden=16", "--rounds", "1", "--steps", "2"]
    line += ["--usual", "labels=500", "features=100", "active=50", "batch=4"]
    subprocess.run(line, check=True, timeout=120, capture_output=True)
    runs = json.loads(out.read_text())
    assert [one["point"]["hidden"] for one in runs] == [4, 16]
    for one in runs:
        assert 50 <= one["active"] <= 50 + 4 * 5
        assert one["peak_bytes"] >= one["base_bytes"] > 0
    found = draw.points(runs * 2, "hidden")
    assert [size for size, _, _ in found] == [4, 16]
    assert found[0][1] == pytest.approx(1e3 * min(runs[0]["processor_seconds"]))
    draw.plot([one | {"peak_bytes": one["base_bytes"] + 10**6} for one in runs], tmp_path / "scale.svg")
    assert (tmp_path / "scale.svg").exists()


def test_the_comparison_of_samplers_runs_continues_and_reports(tmp_path):
    pytest.importorskip("matplotlib")
    rng, lines = np.random.default_rng(0), ["80 30 60"]
    for _ in range(80):
        features = " ".join(f"{i}:1" for i in rng.permutation(30)[:5])
        lines.append(f"{rng.integers(40)},{rng.integers(40, 60)} {features}")
    folder, runs, moments = tmp_path / "small", tmp_path / "runs.jsonl", tmp_path / "gradients.jsonl"
    folder.mkdir()
    with gzip.open(folder / "train.txt.gz", "wt") as file:
        file.write("\n".join([*lines, ""]))

    def compare(*words):
        line = [sys.executable, BENCHMARKS / "compare_samplers.py", *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = [folder, "--active", 5, 20, "--hidden", 8, "--epochs", 2]
    few = ["--samplers", "learned", "frequency", "midx", "full"]
    compare("train", *small, *few, "--out", runs, "--seeds", 0)
    assert len(runs.read_text().splitlines()) == 3 * 2 + 1
    assert compare("train", *small, *few, "--out", runs, "--seeds", 0) == ""
    by_name = {
        (one["sampler"], one["n_active"]): one for one in map(json.loads, runs.read_text().splitlines())
    }
    assert by_name["full", 60]["active"] == 60
    assert by_name["midx", 5]["active"] < by_name["midx", 20]["active"]
    few = ["--samplers", "lsh", "uniform"]
    compare(
        "gradients", *small, *few, "--out", moments, "--draws", 60, "--batch", 8, "--active-set", "sample"
    )
    for one in map(json.loads, moments.read_text().splitlines()):
        if one["importance"] == "auto" and one["n_active"] == 20:
            assert one["bias_last"] < 0.4 * one["std_last"] < 2, one["key"]
    table = compare("report", "--runs", runs, "--gradients", moments, "--into", tmp_path / "plots")
    assert "small, batch: 80 rows, 2 epochs, 1 seeds" in table
    assert (tmp_path / "plots" / "where-lsh-pays-batch.svg").exists()


def small_folder(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "small"
    folder.mkdir()
    for part in ("train", "test"):
        lines = ["60 30 20", *(f"{rng.integers(20)} {rng.integers(30)}:1" for _ in range(60))]
        with gzip.open(folder / f"{part}.txt.gz", "wt") as file:
            file.write("\n".join([*lines, ""]))
    return folder


def script(name, *arguments):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_comparison_of_precisions_runs_and_continues(tmp_path):
    folder, runs = small_folder(tmp_path), tmp_path / "runs.jsonl"
    for precisions in ("float32", "float32,int4"):
        few = ["--epochs", 1, "--seeds", 1, "--precisions", precisions]
        lines = script("compare_precisions.py", folder, *few, "--out", runs)
    sizes = [json.loads(one)["parameter_bytes"] for one in runs.read_text().splitlines()]
    assert len(sizes) == 2
    assert sizes[1] < sizes[0] / 2
    assert len(lines) == 2


def test_the_comparison_of_ways_to_rehash_runs_and_continues(tmp_path):
    # Tables in slices need that many steps for a second build.
    few = ["--hidden", 8, "--epochs", 120, "--seeds", 1]
    arguments = (small_folder(tmp_path), *few, "--out", tmp_path / "runs.jsonl")
    lines = script("compare_rehash.py", *arguments)
    assert lines == script("compare_rehash.py", *arguments)
    runs = [json.loads(one) for one in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [(one["rehash"], one["builds"]) for one in runs] == [("never", 1), ("rebuild", 3), ("sliced", 2)]


def test_large_tables_are_built_queried_and_changed(tmp_path):
    lines = script("external_tables.py", 30_000, "--folder", tmp_path, "--memory", 2**24, "--seconds", 0.05)
    assert len(lines) == 7
    assert not list(tmp_path.iterdir())
