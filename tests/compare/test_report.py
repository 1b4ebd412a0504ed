"""Tables and plots of comparisons."""

import sys

import pytest

from lshsample.compare import Figures, Point, Timing
from lshsample.compare.plots import coinciding, look, require_matplotlib, write_plots
from lshsample.compare.report import fronts
from lshsample.errors import UnsupportedError

WORKLOAD = {"name": "rows", "n_items": 90, "n_queries": 5, "dim": 4, "metric": "l2", "k": 10}


def figures_of(label, n_tables, *points, build=1.0, size=100):
    """Figures with points (recall, seconds)."""
    times = {"hash_seconds": Timing.of([0.5]), "build_seconds": Timing.of([build])}
    made = tuple(
        Point(budget=10 * (1 + at), candidates=10, recall=recall, query_seconds=Timing.of([s]))
        for at, (recall, s) in enumerate(points)
    )
    return Figures(
        label=label, n_items=90, spec={"family": label}, n_hashes=2, n_tables=n_tables, n_probes=1,
        index_bytes=size, code_bits=2, retrieved=20, retrieved_recall=0.9, points=made, **times,
    )  # fmt: skip


def test_no_two_families_look_alike_even_without_colours():
    looks = [(look(number)["marker"], look(number)["linestyle"]) for number in range(60)]
    assert len(set(looks)) == 60
    assert len({look(number)["color"] for number in range(60)}) == 7


def test_the_fronts_of_recall_against_each_cost():
    cheap = figures_of("cheap", 1, (0.2, 1e-6), (0.5, 2e-6), build=0.1, size=10)
    good = figures_of("good", 9, (0.4, 3e-6), (0.9, 4e-6), build=2, size=90)
    waste = figures_of("waste", 9, (0.4, 5e-6), (0.8, 6e-6), build=3, size=95)
    found = [(one.label, point.recall, on) for one, point, on in fronts([cheap, good, waste])]
    assert found == [("good", 0.9, "qbs"), ("cheap", 0.5, "qbs"), ("cheap", 0.2, "q")]


def test_families_that_coincide_are_named():
    series = {
        "a": [(1, 0.5), (2, 0.6)],
        "b": [(1.01, 0.5), (2, 0.6)],
        "c": [(1, 0.5)],
        "d": [(1, 0.5), (2, 0.6)],
    }
    assert coinciding(series) == {"b": "a", "d": "a"}


def test_plots_say_what_they_show(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'lshsample[plots]'")
    from matplotlib.figure import Figure

    shown = {}

    def keep(self, path, **_):
        texts = [self.get_suptitle(), *(text.get_text() for text in self.legends[0].get_texts())]
        shown[path.name] = [*texts, self.axes[0].get_xlabel(), self.axes[0].get_ylabel()]

    monkeypatch.setattr(Figure, "savefig", keep)
    one, two = (figures_of(label, 9, (0.4, 3e-6), (0.9, 4e-6)) for label in ("one", "two"))
    assert [path.name for path in write_plots([one, two], WORKLOAD, 2, tmp_path)] == list(shown)
    for texts in shown.values():
        assert texts[0].startswith("rows: 90 items of 4 columns, 5 queries, Euclidean distance\nK = 2, L = 9")
        assert {"one", "two (as one)"} <= set(texts)
        assert any(text.startswith("recall@10") for text in texts)
    assert any(text.startswith("queries per second") for text in shown["recall-queries-per-second.png"])
    assert "index size (MiB of tables)" in shown["recall-index-size.png"]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UnsupportedError, match=r"lshsample\[plots\]"):
        require_matplotlib()
