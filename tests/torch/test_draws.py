"""Sets that are drawn by tensor operations are those of the C core."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lshsample import hashing, parse_pipeline
from lshsample.errors import UnsupportedError
from lshsample.registry import make_family
from lshsample.tables import HashTables
from lshsample.torch import TorchTables
from lshsample.torch.draws import check_stages, draw_sets

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
PIPELINES = [
    "Retrieve() | Top(9) | Include() | Uniform(20)",
    "Retrieve() | Include() | Uniform(7) | Uniform(9)",
    "Retrieve(probes=3) | AtLeast(2) | Cap(11) | Uniform(30) | Include()",
    "Retrieve(budget=25) | Top(12) | Uniform(3)",
    "Retrieve() | AtLeast(3) | Uniform(90)",
    "Include() | Uniform(1)",
    "Full()",
]


def drawn(text, rows, queries, labels, pooled, device="cpu", n_hashes=3, seed=5, step=2**32 + 3):
    """The sets of the core and those of tensors, over the same codes."""
    family = make_family("simhash", dim=rows.shape[1], n_hashes=n_hashes, n_tables=6, seed=seed)
    pipeline = parse_pipeline(text)
    include = np.zeros((len(queries), len(rows)), np.float32)
    for row, ids in enumerate(labels):
        include[row, ids] = 1
    wanted = pipeline.bind(n_items=len(rows), tables=HashTables(family).build(rows)).sample(
        queries, include=include if pipeline.takes_include else None, seed=seed, step=step, pool=pooled
    )
    codes = torch.from_numpy(hashing.hash_rows(family, rows).astype(np.int64)).to(device)
    tables = TorchTables.from_codes(family, codes)
    lengths = torch.tensor([0, *map(len, labels)])
    ids = torch.tensor([i for one in labels for i in sorted(one)], dtype=torch.int64)
    parts = ids.to(device), lengths.cumsum(0).to(device)
    check_stages(pipeline)
    given = torch.from_numpy(queries).to(device)
    found = draw_sets(pipeline, len(rows), tables, given, parts, seed=seed, step=step, pooled=pooled)
    return wanted, found


def assert_same(wanted, found):
    for name in ("indptr", "ids", "counts"):
        assert_array_equal(getattr(found, name).cpu(), getattr(wanted, name), err_msg=name)
    if wanted.biased_by is None:
        # The logarithms are rounded from float64; those of the C library may be off by one unit.
        given, exact = found.log_inclusion.cpu().numpy(), wanted.log_inclusion
        np.testing.assert_array_max_ulp(given, exact, 1)
        assert (given == exact).mean() > 0.9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("text", PIPELINES)
def test_sets_are_those_of_the_core(text, pooled, device):
    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((n, 8), dtype=np.float32) for n in (100, 6))
    labels = [[3, 7], [], [99], [1, 2, 3], [50], [0]]
    wanted, found = drawn(text, rows, queries, labels, pooled, device)
    assert_same(wanted, found)
    assert len(wanted.ids) > 0


@pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sets(data):
    n_items = data.draw(st.integers(1, 60))
    pick = st.integers(1, n_items)
    first = data.draw(st.sampled_from(["", "Retrieve()", "Retrieve(budget={})", "Retrieve() | AtLeast(2)"]))
    filters = ["", "Top({})", "Cap({})"] if first else [""]
    parts = [first, data.draw(st.sampled_from(filters))]
    parts += data.draw(
        st.lists(st.sampled_from(["Include()", "Uniform({})", "Full()"]), min_size=1, max_size=3)
    )
    text = " | ".join(part.format(data.draw(pick)) for part in parts if part)
    seed = data.draw(st.integers(0, 2**63 - 1))
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (n_items, 3)).astype(np.float32)
    queries = rng.integers(-1, 2, (data.draw(st.integers(1, 5)), 3)).astype(np.float32)
    labels = [sorted(rng.choice(n_items, rng.integers(0, min(3, n_items + 1)), False)) for _ in queries]
    step = data.draw(st.integers(0, 2**63 - 1))
    pooled = data.draw(st.booleans())
    assert_same(*drawn(text, rows, queries, labels, pooled, n_hashes=2, seed=seed, step=step))


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("Retrieve() | Fill(9)", r"Fill\(9\) \(stage 2 of"),
        ("Retrieve() | Uniform(3) | Cap(2)", r"Cap\(2\) \(stage 3 of"),
        ("Retrieve() | Retrieve()", r"Retrieve\(\) \(stage 2 of"),
        ("Top(3) | Uniform(2)", r"Top\(3\) \(stage 1 of"),
    ],
)
def test_other_pipelines_are_refused(text, stage):
    with pytest.raises(UnsupportedError, match=stage):
        check_stages(parse_pipeline(text))
