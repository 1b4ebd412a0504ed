"""The programs of the page that train with other packages, and loaders with workers."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lshsample.torch import ParameterSampler, RowAdam, SampledLinearCrossEntropy, SamplingOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "torch.md"


def run(name):
    """Run a program of the page; returns its variables."""
    (program,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        if block.startswith(f"# {name}\n")
    )
    variables = {"__name__": name}
    exec(compile(program, name, "exec"), variables)
    return variables


@pytest.mark.filterwarnings("default")
def test_lightning():
    pytest.importorskip("lightning")
    metrics = run("train_lightning.py")["trainer"].callback_metrics
    assert metrics["active"] < 250
    assert metrics["loss"] < 2, "it began at ln 500 = 6.2"


@pytest.mark.filterwarnings("default")
def test_transformers():
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    found = run("train_transformers.py")
    assert found["model"].head.active_size < 400
    assert found["trainer"].evaluate()["eval_loss"] < 6.5, "it began at ln 1000 = 6.9"


class Negatives(torch.utils.data.Dataset):
    """Pairs of a query and rows that are drawn for it, from a copy of the parameter of each process."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.items, self.queries = (torch.randn(n, 8, generator=generator) for n in (300, 12))
        options = SamplingOptions(sampler="lsh", n_active=20, n_hashes=3, rehash=0)
        self.sampler = ParameterSampler(self.items, options)

    def __len__(self):
        return len(self.queries)

    def __getitem__(self, place):
        drawn = self.sampler.sample(self.queries[place, None], include=torch.tensor([place]), step=place + 1)
        return self.queries[place], drawn.ids[:15]


def test_workers_of_a_loader_draw_what_one_process_draws():
    """Samplers go to other processes with the dataset, also as pickles; draws are a function of the step."""
    data = Negatives()
    data[0]  # tables are built before the workers begin
    alone = list(DataLoader(data, batch_size=4))
    workers = list(DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork"))
    pickled = list(DataLoader(pickle.loads(pickle.dumps(data)), batch_size=4))
    for found in (workers, pickled):
        for (queries, ids), (wanted, drawn) in zip(found, alone, strict=True):
            assert queries.equal(wanted)
            assert ids.equal(drawn)


def test_a_layer_trains_on_batches_of_workers():
    """Its threads and those of the core begin after the fork."""
    data = TensorDataset(torch.randn(48, 8), torch.arange(48))
    losses = []
    for workers in (0, 2):
        torch.manual_seed(0)
        layer = SampledLinearCrossEntropy(8, 100, options=SamplingOptions(n_active=20, sparse=True))
        optimizer = RowAdam(layer.parameters(), lr=0.01)
        for _ in range(2):
            for hidden, target in DataLoader(data, batch_size=16, num_workers=workers):
                optimizer.zero_grad()
                loss = layer(hidden, target)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    assert losses[:6] == losses[6:]
