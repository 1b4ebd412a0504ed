"""Results show themselves on one screen: in text without their arrays, in notebooks as escaped tables."""

import functools
import re
import subprocess
import sys
from html.parser import HTMLParser

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import (
    Dense,
    HashTables,
    Network,
    Retrieve,
    Sparse,
    Top,
    Uniform,
    estimates,
    make_family,
)
from lshsample.compare.workloads import Workload
from lshsample.data import Tfidf
from lshsample.sampling import Full, SamplerStage
from lshsample.tuning import Goal, tune

ROWS = np.random.default_rng(0).standard_normal((2000, 16), dtype=np.float32)
TABLES = HashTables(make_family("simhash", dim=16, n_hashes=6, n_tables=8), threads=1).build(ROWS)
SAMPLER = (Retrieve() | Top(40) | Uniform(20)).bind(tables=TABLES)
ONE = make_family("simhash", dim=17, n_hashes=6, n_tables=8)
SHOWN = {
    "ActiveSet": lambda: SAMPLER.sample(ROWS[:300]),
    "biased ActiveSet": lambda: (Retrieve() | Top(3)).bind(tables=TABLES).sample(ROWS[:3]),
    "pooled ActiveSet": lambda: SAMPLER.sample(ROWS[:300], pool=True),
    "empty ActiveSet": lambda: SAMPLER.sample(ROWS[:0]),
    "Candidates": lambda: TABLES.query(ROWS[:300]),
    "Buckets": lambda: TABLES.buckets(ROWS[:300]),
    "Matches": lambda: TABLES.range_search(ROWS[:300], 0.5),
    "empty Matches": lambda: TABLES.range_search(ROWS[:0], 0.5),
    "SimilarPairs": lambda: TABLES.similar_pairs(0.6),
    "Batch": lambda: Network([Sparse(16), Dense(9, activation="softmax")]).batch(
        sp.csr_array(ROWS[:300]), sp.csr_array(np.eye(300, 9))
    ),
    "Workload": lambda: Workload.of_rows("rows", ROWS),
    "Tfidf": lambda: Tfidf.fit(["a b c", "b c d"]),
    "Explanation": lambda: SAMPLER.explain(ROWS[:1]),
    "Description": lambda: SAMPLER.describe(),
    "HashTables": lambda: TABLES,
    "unbuilt HashTables": lambda: HashTables(TABLES.family),
    "TableState": lambda: TABLES.snapshot(),
    "Sampler": lambda: SAMPLER,
    "Sampler of two tables": lambda: (Retrieve(TABLES) | Retrieve()).bind(tables=TABLES),
    "Pipeline": lambda: SAMPLER.pipeline,
    "Stage": lambda: Retrieve(TABLES),
    "SimHash": lambda: TABLES.family,
    "Estimate": lambda: estimates.partition_function(Uniform(9).bind(n_items=2000), ROWS[:300], ROWS),
    "Estimate of columns": lambda: estimates.attention(SAMPLER, ROWS[:300], ROWS, ROWS),
    "biased Estimate": lambda: estimates.horvitz_thompson(
        (Retrieve() | Top(3)).bind(tables=TABLES).sample(ROWS[:3]), np.ones(2000), allow_biased=True
    ),
    "LossGradient": lambda: estimates.softmax_gradient(
        SAMPLER, ROWS[:300], ROWS, sp.csr_array(np.eye(300, 2000))
    ),
    "Samples": lambda: estimates.draw_samples(SAMPLER, ROWS[:300]),
    "GradientSampler": lambda: estimates.GradientSampler(ROWS, ROWS[:, 0], ONE, threads=1),
    "Network": lambda: Network([Sparse(50), Dense(30), Dense(20, activation="softmax")]),
    "Tuned": lambda: tune(
        ROWS[:1900], ROWS[1900:], Goal(recall=0.3), family="simhash:projection=gaussian", threads=1
    ),
}


class Tables(HTMLParser):
    """Counts the elements of a table."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.cells = [], 0, []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.rows += tag == "tr"
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += text


@functools.cache
def shown(name):
    return SHOWN[name]()


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_is_shown_on_one_screen(name):
    value = shown(name)
    text = repr(value)
    assert len(text) < 500
    assert "array(" not in text
    assert " object at 0x" not in text
    assert text.count("\n") < 10
    assert len(str(value).split("\n")) < 30
    if name.split()[-1] in text or name in text:
        assert re.match(r"\w+\(|\[|Retrieve", text)
    html = getattr(value, "_repr_html_", None)
    if html is not None:
        table = Tables()
        table.feed(html())
        assert not table.open
        assert 1 <= table.rows < 15
        assert max(map(len, table.cells)) < 400


NOT_SHOWN_AS_TABLES = {"Stage", "Samples", "GradientSampler", "TableState", "Buckets"} | {
    "Batch",
    "Tfidf",
    "Workload",
}


def test_results_have_tables_for_notebooks():
    for name in SHOWN:
        assert hasattr(shown(name), "_repr_html_") is (name not in NOT_SHOWN_AS_TABLES), name


@attrs.frozen
class Marked(SamplerStage):
    """Keeps all ids; <b>its</b> text has brackets & markup."""

    text: str = "[bold]<i>&"

    def apply(self, active, batch):
        return active


def test_text_is_escaped_in_html_and_is_no_markup_in_tables():
    sampler = (Full() | Marked()).bind(n_items=9)
    pipeline = (Full() | Marked("[red]")).bind(n_items=9)
    for value in (sampler, sampler.pipeline, sampler.explain()):
        assert "<i>" not in value._repr_html_()
        assert "<b>" not in value._repr_html_()
    html = pipeline.explain()._repr_html_()
    assert "Marked(text=&#x27;[red]&#x27;)" in html
    assert "Marked(text='[red]')" in str(pipeline.explain())


def test_the_text_of_an_explanation_has_no_terminal_codes():
    """Whatever the terminal and the environment are."""
    code = "from lshsample import Uniform, Cap\nprint((Uniform(9) | Cap(5)).bind(n_items=20).explain())\n"
    seen = set()
    for extra in (
        {"COLUMNS": "40"}, {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLORTERM": "truecolor"},
    ):  # fmt: skip
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8", **extra},
        )  # fmt: skip
        seen.add(run.stdout.decode())
    assert len(seen) == 1
    assert "\x1b" not in seen.pop()
