"""Runs compared with a stored one: regressions with their spread, differences by name."""

import copy
import json

import attrs
import pytest

from lshsample.compare import ComparisonSettings, Contender, Workload, compare
from lshsample.compare.baseline import FORMAT, Tolerance, changes, changes_table, read_baseline
from lshsample.compare.environment import describe_machine, describe_workload
from lshsample.compare.report import plain
from lshsample.errors import ArgumentError, DataFormatError


@pytest.fixture(scope="module")
def stored():
    workload = Workload.synthetic(400, 16, 10)
    settings = ComparisonSettings(budgets=(20, 60), bits=(4, 6), n_tables=6, rounds=3)
    figures, refused = compare([Contender.parse("simhash")], workload, settings)
    return {
        "format": FORMAT,
        "workload": describe_workload(workload),
        "settings": attrs.asdict(settings),
        "machine": describe_machine(2),
        "figures": plain(figures),
        "refused": refused,
    }


@pytest.fixture
def run(stored):
    """The stored run, with the spread of an idle machine."""
    copied = json.loads(json.dumps(stored))
    for one in copied["figures"]:
        for timing in (one["build_seconds"], *(point["query_seconds"] for point in one["points"])):
            if timing:
                spread = {"least": 0.9, "first_quartile": 0.95, "third_quartile": 1.05}
                timing |= {name: factor * timing["median"] for name, factor in spread.items()}
    return copied


def scaled(timing, factor):
    for name in ("median", "least", "first_quartile", "third_quartile"):
        timing[name] *= factor


def test_the_same_run_has_no_regressions(run):
    found = changes(run, copy.deepcopy(run), Tolerance(slowdown=0, recall_loss=0, index_growth=0))
    assert (found.regressions, found.notes) == ((), ())
    assert set(found.compared) == {"exact", "uniform", "simhash"}
    assert set(found.compared["simhash"]["query_ratios"]) == {1.0}
    assert changes_table(found).row_count == 3


def test_what_got_worse(run):
    now = copy.deepcopy(run)
    one = now["figures"][-1]
    one["points"][0]["recall"] -= 0.05
    scaled(one["points"][1]["query_seconds"], 10)
    scaled(one["build_seconds"], 20)
    one["index_bytes"] *= 2
    found = changes(run, now, Tolerance()).regressions
    assert len(found) == 4
    assert all(line.startswith("simhash, K = 6, L = 6, probes = 1: ") for line in found)
    for part in (
        "build time",
        "(20.00 times)",
        "index size",
        "20 candidates: recall",
        "60 candidates: time per",
    ):
        assert any(part in line for line in found)
    assert changes(run, now, Tolerance(slowdown=30, recall_loss=0.06, index_growth=1)).regressions == ()


def test_a_busy_machine_is_a_note(run):
    now = copy.deepcopy(run)
    assert now["figures"][0]["label"] == "exact"
    scaled(now["figures"][0]["points"][0]["query_seconds"], 10)
    found = changes(run, now, Tolerance())
    assert found.regressions == ()
    assert len(found.notes) == 1
    assert "exact: 20 candidates: time per query" in found.notes[0]
    now["figures"] = now["figures"][:2]
    with pytest.raises(ArgumentError, match=r"got runs of simhash\)"):
        changes(run, now, Tolerance())


def test_a_slowdown_within_the_spread_is_none(run):
    now = copy.deepcopy(run)
    timing = now["figures"][-1]["points"][0]["query_seconds"]
    before = run["figures"][-1]["points"][0]["query_seconds"]
    timing["median"] = 3 * before["median"]
    timing["least"] = before["third_quartile"]
    assert changes(run, now, Tolerance()).regressions == ()
    timing["least"] = 1.01 * before["third_quartile"]
    assert len(changes(run, now, Tolerance()).regressions) == 1


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("workload", "metric", "l2"), ("workload", "k", 5), ("workload", "data_digest", "0"),
        ("settings", "seed", 1), ("workload", "n_queries", 11),
    ],
)  # fmt: skip
def test_other_workloads_are_refused_by_name(run, section, name, value):
    now = copy.deepcopy(run)
    now[section][name] = value
    wanted = f"baseline must be a run of the same workload and seed \\(got {name}: .*, now {value!r}"
    with pytest.raises(ArgumentError, match=wanted):
        changes(run, now, Tolerance())


@pytest.mark.parametrize(("name", "value"), [("cpu", "another"), ("threads", 7), ("isa", "none")])
def test_times_of_another_machine_are_not_compared(run, name, value):
    now = copy.deepcopy(run)
    now["machine"][name] = value
    scaled(now["figures"][-1]["build_seconds"], 20)
    now["figures"][-1]["points"][0]["recall"] = 0.0
    found = changes(run, now, Tolerance())
    assert [line.split(": ")[2].split(" ")[0] for line in found.regressions] == ["recall"]
    assert found.notes == (f"times are not compared: {name} was {run['machine'][name]!r}, now {value!r}",)


def test_versions_options_and_missing_runs_are_listed(run):
    now = copy.deepcopy(run)
    now["machine"]["versions"]["numpy"] = "9.9"
    now["figures"][-1]["spec"]["projection"] = "gaussian"
    gone = now["figures"].pop(2)
    notes = changes(run, now, Tolerance()).notes
    assert any(note.startswith("version of numpy: ") and note.endswith("now '9.9'") for note in notes)
    assert any("option projection was 'hadamard', now 'gaussian'" in note for note in notes)
    assert f"simhash, K = {gone['n_hashes']}, L = 6, probes = 1: only in the baseline" in notes
    now["refused"] = {"simhash": "UnsupportedError: no"}
    assert len(changes(run, now, Tolerance()).regressions) == 1, "what was measured before is refused now"
    now["figures"] = []
    with pytest.raises(ArgumentError, match="with some of the same families"):
        changes(run, now, Tolerance())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other"}'])
def test_files_that_are_no_baselines(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataFormatError, match=r"a\.json"):
        read_baseline(tmp_path / "a.json")
