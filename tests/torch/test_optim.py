"""The row optimizer beside those of PyTorch, and processes that train together."""

import copy
import gc

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from lshsample.errors import ArgumentError
from lshsample.torch import RowAdam, SampledLinearCrossEntropy, SamplingOptions
from lshsample.torch.optim import adam_in_tensors

D, CLASSES, ROWS = 9, 50, 6


def layer_of(sparse=True, **arguments):
    torch.manual_seed(0)
    options = SamplingOptions(sampler="uniform", n_active=20, sparse=sparse)
    return SampledLinearCrossEntropy(D, CLASSES, options=options, **arguments)


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, D, generator=generator), torch.randint(CLASSES, (ROWS,), generator=generator)


def trained(layer, optimizer, steps=4):
    for step in range(steps):
        optimizer.zero_grad()
        layer(*batch(step)).backward()
        optimizer.step()
    return torch.cat([layer.weight.detach().float().ravel(), layer.bias.detach().float()])


def test_three_ways_to_update_agree():
    dense, sparse, rows = (layer_of(sparse) for sparse in (False, True, True))
    optimizers = (torch.optim.Adam, dense), (torch.optim.SparseAdam, sparse), (RowAdam, rows)
    first = [
        trained(layer, kind(layer.parameters(), lr=0.01, eps=1e-15), steps=1) for kind, layer in optimizers
    ]
    torch.testing.assert_close(first[1], first[0])
    torch.testing.assert_close(first[2], first[0])
    # From the second step on, Adam also moves the rows without a gradient; the lazy ones do not.
    lazy = [trained(layer, kind(layer.parameters(), lr=0.01, eps=1e-15)) for kind, layer in optimizers[1:]]
    torch.testing.assert_close(*lazy, rtol=1e-4, atol=1e-6)


def test_a_dense_gradient_updates_all_rows():
    layer, other = layer_of(sparse=False), layer_of(sparse=False)
    given = trained(layer, RowAdam(layer.parameters(), lr=0.01))
    torch.testing.assert_close(given, trained(other, torch.optim.Adam(other.parameters(), lr=0.01)))


@pytest.mark.parametrize("sparse", [True, False])
def test_tensor_operations_update_as_the_core(sparse):
    layer = layer_of(sparse)
    optimizer = RowAdam(layer.parameters(), lr=0.05, betas=(0.8, 0.95))
    tensors = tuple(torch.zeros_like(layer.weight) for _ in range(3))
    tensors[0].copy_(layer.weight.detach())
    for step in range(1, 5):
        optimizer.zero_grad()
        layer(*batch(step)).backward()
        adam_in_tensors(tensors, layer.weight.grad, 0.05, (0.8, 0.95), 1e-8, step)
        optimizer.step()
        torch.testing.assert_close(tensors[0], layer.weight.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_from_a_state_dict(dtype):
    layer = layer_of(dtype=dtype)
    optimizer = RowAdam(layer.parameters(), lr=0.05)
    trained(layer, optimizer)
    other = copy.deepcopy(layer)
    resumed = RowAdam(other.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.step.copy_(layer.step)
    assert resumed.param_groups[0]["lr"] == 0.05
    assert trained(layer, optimizer).equal(trained(other, resumed))
    assert resumed.state[other.weight]["exp_avg"].dtype == dtype


def test_small_updates_of_bfloat16_are_kept_on_average():
    """Updates of a hundredth of the gap between numbers: to nearest, all would be lost."""
    weights = torch.nn.Parameter(torch.ones(400, 32, dtype=torch.bfloat16))
    optimizer = RowAdam([weights], lr=1e-4, seed=3)
    for _ in range(50):
        weights.grad = torch.ones_like(weights)
        optimizer.step()
    assert weights.detach().float().mean() == pytest.approx(1 - 50e-4, abs=5e-4)
    again = torch.nn.Parameter(torch.ones(400, 32, dtype=torch.bfloat16))
    other = RowAdam([again], lr=1e-4, seed=3)
    for _ in range(50):
        again.grad = torch.ones_like(again)
        other.step()
    assert weights.equal(again)


def test_copies_of_an_optimizer_go_on():
    layer = layer_of()
    optimizer = RowAdam(layer.parameters(), lr=0.05)
    trained(layer, optimizer)
    layer_too, optimizer_too = copy.deepcopy((layer, optimizer))
    layer_too.step.copy_(layer.step)
    assert trained(layer, optimizer).equal(trained(layer_too, optimizer_too))


def test_gradients_of_several_passes_are_added_by_row():
    embedding = torch.nn.Embedding(30, D, sparse=True)
    whole = copy.deepcopy(embedding)
    optimizers = RowAdam(embedding.parameters(), lr=0.1), RowAdam(whole.parameters(), lr=0.1)
    for ids in ([3, 9, 3], [9, 1]):
        embedding(torch.tensor(ids)).sum().backward()
    whole(torch.tensor([3, 9, 3, 9, 1])).sum().backward()
    for optimizer in optimizers:
        assert optimizer.step(lambda: 7) == 7
    torch.testing.assert_close(embedding.weight, whole.weight)


def test_an_update_is_seen_by_graphs_that_need_the_old_weight():
    layer = layer_of()
    optimizer = RowAdam(layer.parameters())
    hidden, target = batch(0)
    kept = layer.logits(hidden.requires_grad_()).sum()
    layer(hidden, target).backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr must be a finite number"),
        ({"betas": (0.9, 1.0)}, "betas must be a finite number"),
        ({"betas": 0.9}, "betas must be a pair"),
        ({"eps": -1.0}, "eps must be"),
        ({"params": [torch.nn.Parameter(torch.zeros(3, 3).double())]}, "params must be of dtype"),
        ({"params": [torch.nn.Parameter(torch.zeros(3, 4).T)]}, "params must be contiguous"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RowAdam(**{"params": layer_of().parameters(), **arguments})


def test_gradients_of_other_layouts_are_refused():
    parameter = torch.nn.Parameter(torch.zeros(3, 4))
    parameter.grad = torch.eye(3, 4).to_sparse()
    with pytest.raises(ArgumentError, match="sparse by rows"):
        RowAdam([parameter]).step()


def halves_of(step):
    """What each of two processes has of a batch."""
    hidden, target = batch(step)
    return [(hidden[rank::2], target[rank::2]) for rank in range(2)]


def process(rank, folder):
    """Train on a half of each batch, together with another process."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for sparse in (True, False):
        layer = layer_of(sparse)
        layer.weight.data += rank  # the weights of the first process are those of all
        if sparse:
            model, optimizer = layer, RowAdam(layer.parameters(), lr=0.01, process_group=dist.group.WORLD)
        else:
            model = DistributedDataParallel(layer)
            optimizer = RowAdam(layer.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            if not (sparse and step == 2 and rank == 1):  # a process without a batch
                model(*halves_of(step)[rank]).backward()
            optimizer.step()
        torch.save(layer.weight.detach(), folder / f"{rank}-{sparse}.pt")
    layer(*halves_of(0)[rank]).backward()
    with pytest.raises(ArgumentError, match="sparse gradients; dense ones are averaged by DDP"):
        RowAdam(layer.parameters(), process_group=dist.group.WORLD).step()
    # The group must not end with the last model, which would hold Python's lock while it waits for gloo.
    del model, layer, optimizer
    gc.collect()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_processes_average_the_gradients_of_their_rows(tmp_path):
    # Forked, so that they need not import PyTorch again.
    mp.start_processes(process, (tmp_path,), nprocs=2, start_method="fork")
    for sparse in (True, False):
        layer = layer_of(sparse)
        optimizer = RowAdam(layer.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            for half in halves_of(step)[: 1 if sparse and step == 2 else 2]:
                (layer(*half, step=step + 1) / 2).backward()
            optimizer.step()
        first, second = (torch.load(tmp_path / f"{rank}-{sparse}.pt") for rank in range(2))
        assert first.equal(second)
        torch.testing.assert_close(first, layer.weight.detach())
