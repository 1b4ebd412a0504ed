"""Samples of a parameter's rows, and the losses of retrieval models over them."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional

import lshsample as ls
from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.torch import ParameterSampler, RowAdam, SamplingOptions, contrastive_loss

D, ITEMS = 8, 60


def embeddings(n, seed):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) / 2


def test_pipelines_take_tensors_without_a_copy():
    vectors, queries = embeddings(500, 0), embeddings(3, 1)
    tables = ls.HashTables(ls.make_family("simhash", dim=D, n_hashes=5, n_tables=4), threads=1).build(vectors)
    pipeline = ls.Retrieve() | ls.Cap(20) | ls.Uniform(5)
    active = pipeline.bind(tables=tables, vectors=vectors).sample(queries, seed=1)
    same = pipeline.bind(tables=tables, vectors=vectors.numpy()).sample(queries.numpy(), seed=1)
    assert (active.ids == same.ids).all()
    kept = ls.MaintainedSampler(D, 500, n_hashes=5, pipeline=pipeline, rehash=0)
    kept.refresh(vectors, 0)
    before = kept.search(queries, 3)[1]
    vectors *= 2
    np.testing.assert_allclose(kept.search(queries, 3)[1], 2 * before, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_of_a_parameter_are_those_of_a_maintained_sampler(dtype):
    items = torch.nn.Parameter(embeddings(ITEMS, 0).to(dtype))
    options = {"n_hashes": 3, "n_tables": 4, "rehash": 2, "seed": 5}
    text = "Retrieve() | Cap(9) | Uniform(6) | Include()"
    sampler = ParameterSampler(items, SamplingOptions(sampler=text, **options))
    plain = ls.MaintainedSampler(D, ITEMS, pipeline=text, **options)
    queries, include = embeddings(4, 1), torch.tensor([[3, 4], [7, -100], [7, 7], [-100, -100]])
    dense = torch.zeros(4, ITEMS)
    for row, ids in enumerate(include.tolist()):
        dense[row, [one for one in ids if one >= 0]] = 1
    for step in range(1, 5):
        drawn = sampler.sample(queries, include=include if step % 2 else sp.csr_array(dense.numpy()))
        plain.refresh(items.detach().float(), step - 1)
        assert {3, 4, 7} <= set(drawn.ids.tolist())
        assert drawn.log_inclusion.exp().max() == 1
        assert sampler.step == step
        assert (drawn.indptr == torch.tensor([0, len(drawn.ids)])).all()
        items.data.add_(1)
    assert len(sampler.sample(queries).ids) > 0
    values, indices = sampler.search(queries, 3)
    assert (values[:, :-1] >= values[:, 1:]).all()
    found = (queries @ items.detach().float().T).gather(1, indices.clamp(min=0))
    torch.testing.assert_close(values[indices >= 0], found[indices >= 0], rtol=1e-2, atol=1e-2)
    sampler.rebuild()
    again, same = (sampler.sample(queries, step=9) for _ in range(2))
    assert again.ids.equal(same.ids)


def test_sums_over_samples_of_a_parameter_are_unbiased():
    items, queries = embeddings(ITEMS, 0), embeddings(2, 1)
    sampler = ParameterSampler(
        items, SamplingOptions(sampler="lsh", n_active=12, n_hashes=3, active_set="sample")
    )
    wanted = (queries @ items.T).exp().sum(1)
    sums = []
    for _ in range(600):
        drawn = sampler.sample(queries)
        rows = torch.repeat_interleave(torch.arange(2), drawn.indptr.diff())
        each = ((queries[rows] * items[drawn.ids]).sum(1) - drawn.log_inclusion).exp()
        sums.append(torch.zeros(2).index_add(0, rows, each))
    sums = torch.stack(sums).double()
    assert ((sums.mean(0) - wanted).abs() < 4 * sums.std(0) / 600**0.5).all()


def test_what_a_sampler_refuses():
    items = embeddings(ITEMS, 0)
    with pytest.raises(ArgumentError, match=r"parameter must be a tensor of shape \(rows, columns\)"):
        ParameterSampler(items[0])
    with pytest.raises(ArgumentError, match="parameter must be of dtype"):
        ParameterSampler(items.double())
    with pytest.raises(ArgumentError, match="options must be SamplingOptions"):
        ParameterSampler(items, "lsh")
    sampler = ParameterSampler(items, SamplingOptions(sampler="uniform", n_active=5))
    for queries, message in [
        (items[0], r"queries must be of shape \(n, 8\)"),
        (items[:2].long(), "queries must be a tensor of floating-point numbers"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            sampler.sample(queries)
    with pytest.raises(ArgumentError, match="include must be ids from 0 to 59"):
        sampler.sample(items[:2], include=torch.tensor([1, 60]))
    with pytest.raises(UnsupportedError, match="does not retrieve from tables"):
        sampler.search(items[:2], 3)
    biased = SamplingOptions(sampler="Retrieve() | Top(3)", n_hashes=2)
    with pytest.raises(BiasedSampleError):
        ParameterSampler(items, biased).sample(items[:2])
    biased = SamplingOptions(sampler="Retrieve() | Top(3)", n_hashes=2, importance="off")
    assert ParameterSampler(items, biased).sample(items[:2]).log_inclusion is None


def test_without_corrections_it_is_the_cross_entropy_of_the_batch():
    queries, positives, negatives = embeddings(6, 1).requires_grad_(), embeddings(6, 2), embeddings(4, 3)
    target = torch.arange(6)
    for reduction in ("mean", "none"):
        wanted = functional.cross_entropy(queries @ positives.T / 0.3, target, reduction=reduction)
        given = contrastive_loss(queries, positives, temperature=0.3, reduction=reduction)
        torch.testing.assert_close(given, wanted)
    wanted = functional.cross_entropy(queries @ torch.cat([positives, negatives]).T, target)
    torch.testing.assert_close(contrastive_loss(queries, positives, negatives), wanted)
    ids, negative_ids = torch.tensor([1, 2, 2, 3, 4, 5]), torch.tensor([9, 2, 8, 7])
    logits = queries @ torch.cat([positives, negatives]).T
    hits = ids[:, None] == torch.cat([ids, negative_ids])
    hits[target, target] = False
    wanted = functional.cross_entropy(logits.masked_fill(hits, -torch.inf), target)
    given = contrastive_loss(queries, positives, negatives, ids=ids, negative_ids=negative_ids)
    torch.testing.assert_close(given, wanted)
    gradients = (torch.autograd.grad(loss, queries)[0] for loss in (given, wanted))
    torch.testing.assert_close(*gradients)
    assert contrastive_loss(queries[:1], positives[:1]) == 0, "nothing but the positive"


@pytest.mark.parametrize("mixed", [False, True])
def test_the_corrected_normaliser_is_unbiased(mixed):
    """That of one query, over batches of other rows whose items have known probabilities, and over draws."""
    items, query, draws = embeddings(ITEMS, 0), embeddings(1, 1), 3000
    probability = torch.softmax(torch.arange(ITEMS) / 20, 0)
    wanted = (query @ items.T).exp().sum()
    sampler = ParameterSampler(items, SamplingOptions(sampler="lsh", n_active=12, n_hashes=3, rehash=0))
    generator = torch.Generator().manual_seed(0)
    normalisers = []
    for _ in range(draws):
        others = torch.multinomial(probability, 9, replacement=True, generator=generator)
        ids = torch.cat([torch.tensor([7]), others])
        more = {}
        if mixed:
            drawn = sampler.sample(query)
            more = {
                "negatives": items[drawn.ids],
                "negative_ids": drawn.ids,
                "log_inclusion": drawn.log_inclusion,
            }
        queries = query.expand(len(ids), D)
        log_q = probability[ids].log()
        loss = contrastive_loss(queries, items[ids], ids=ids, log_q=log_q, reduction="none", **more)
        normalisers.append((loss[0] + query[0] @ items[7]).exp().double())
    normalisers = torch.stack(normalisers)
    assert (normalisers.mean() - wanted).abs() < 4 * normalisers.std() / draws**0.5


def test_a_retrieval_model_learns_with_drawn_negatives():
    torch.manual_seed(0)
    users, items = torch.nn.Embedding(40, D), torch.nn.Embedding(ITEMS, D, sparse=True)
    target = torch.arange(40) % ITEMS
    sampler = ParameterSampler(
        items.weight, SamplingOptions(sampler="lsh", n_active=20, n_hashes=3, rehash=10)
    )
    optimizers = torch.optim.Adam(users.parameters(), lr=0.1), RowAdam(items.parameters(), lr=0.1)
    log_q = torch.full((40,), 1 / 40).log()
    for _ in range(40):
        drawn = sampler.sample(users.weight, include=target)
        loss = contrastive_loss(
            users.weight,
            items(target),
            items(drawn.ids),
            ids=target,
            negative_ids=drawn.ids,
            log_q=log_q,
            log_inclusion=drawn.log_inclusion,
        )
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    best = (users.weight @ items.weight.T).argmax(1)
    assert (best == target).float().mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a finite number"),
        ({"reduction": "max"}, "reduction must be one of"),
        ({"queries": torch.zeros(0, D)}, "queries must be of shape"),
        ({"positives": torch.zeros(3, D)}, r"positives must be of shape \(4, 8\)"),
        ({"negatives": torch.zeros(3, 2)}, r"negatives must be of shape \(m, 8\)"),
        ({"ids": torch.arange(3)}, r"ids must be of shape \(4\)"),
        ({"negatives": torch.zeros(3, D), "negative_ids": torch.arange(3)}, "given together with ids"),
        ({"negatives": torch.zeros(3, D), "log_q": torch.zeros(4)}, "given together with log_inclusion"),
        ({"log_inclusion": torch.zeros(4)}, r"log_inclusion must be of shape \(0\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        contrastive_loss(**{"queries": torch.zeros(4, D), "positives": torch.zeros(4, D), **arguments})
