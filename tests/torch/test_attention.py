"""Attention from samples: exact where every key is in the sample, near it otherwise; clear errors."""

from __future__ import annotations

import numpy as np
import pytest

from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.estimates import attention
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

torch = pytest.importorskip("torch")
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from lshsample.torch import SampledAttention  # noqa: E402


def clustered(n, heads=(), seed=0):
    """Keys around 20 centres, with values that belong to the centre, and queries near centres."""
    generator = torch.Generator().manual_seed(seed)
    centres, values = torch.randn(2, 20, 16, generator=generator)
    at = torch.randint(20, (*heads, n), generator=generator)
    noise = 0.3 * torch.randn(2, *heads, n, 16, generator=generator)
    queries = 3 * centres[torch.randint(20, (*heads, 5), generator=generator)]
    return queries, centres[at] + noise[0], values[at] + noise[1]


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("heads", [(), (2,), (2, 3)])
@pytest.mark.parametrize("sampler", ["Full()", "Uniform(300)"])
def test_exact_with_every_key(heads, sampler):
    q, k, v = clustered(300, heads)
    found = SampledAttention(k, v, sampler=sampler, scale=0.5)(q)
    torch.testing.assert_close(found, scaled_dot_product_attention(q, k, v, scale=0.5))


def test_first_and_appended_keys_are_exact():
    q, k, v = clustered(300, (2,))
    cache = SampledAttention(k[:, :200], v[:, :200], sampler="Full()", first=5)
    cache.append(k[:, 200:220], v[:, 200:220])
    cache.append(k[:, 220:], v[:, 220:])
    wanted = scaled_dot_product_attention(q, k, v)
    assert cache.n_keys == 300
    torch.testing.assert_close(cache(q), wanted)
    cache.rebuild()
    assert cache.n_keys == 300
    torch.testing.assert_close(cache(q), wanted)


def test_near_exact_from_few_keys():
    q, k, v = clustered(20_000)
    cache = SampledAttention(k, v)
    assert error(cache(q), scaled_dot_product_attention(q, k, v)) < 0.03


def test_half_precision():
    q, k, v = (x.bfloat16() for x in clustered(5_000))
    found = SampledAttention(k, v)(q)
    assert found.dtype == torch.bfloat16
    wanted = scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert error(found.float(), wanted) < 0.05


@pytest.mark.parametrize(
    ("sampler", "law"), [("Uniform(50) | Retrieve()", "conditional"), ("Retrieve() | AtLeast(2)", "marginal")]
)
def test_it_is_the_estimator_of_attention(sampler, law):
    q, k, v = clustered(2_000)
    family = "simhash:n_hashes=4,n_tables=10,projection=gaussian"
    found = SampledAttention(k, v, sampler=sampler, family=family, law=law, seed=4)(q)
    rows = (k - k.mean(0)).numpy()
    bound = parse_pipeline(sampler).bind(tables=HashTables(family).build(rows))
    active = bound.sample(q.numpy(), seed=4, step=0, law=law)
    wanted = attention(active, q.numpy(), k.numpy(), v.numpy()).value
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_samples_differ_from_call_to_call_and_repeat_with_the_seed():
    q, k, v = clustered(2_000)
    one, other = (SampledAttention(k, v, sampler="Uniform(100)", seed=3) for _ in range(2))
    first = one(q)
    assert torch.equal(first, other(q))
    assert not torch.equal(first, one(q))


def test_no_keys_found_and_no_queries():
    q, k, v = clustered(300)
    family = "simhash:n_hashes=30,n_tables=2,projection=gaussian"
    cache = SampledAttention(k, v, sampler="Retrieve() | AtLeast(2)", family=family, law="marginal")
    assert cache(-100 * k.mean(0, keepdim=True)).isnan().all()
    assert cache(q[:0]).shape == (0, 16)


def test_repr():
    _, k, v = clustered(300)
    assert "sampler='Full()'" in repr(SampledAttention(k, v, sampler="Full()"))


K = torch.ones(2, 9, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SampledAttention(np.ones((9, 4)), K), r"keys must be a tensor \(\.\.\., n, d\)"),
        (lambda: SampledAttention(K.long(), K), "keys must be a dense tensor of floats"),
        (lambda: SampledAttention(K[:, :0], K[:, :0]), "keys must be .*with rows"),
        (lambda: SampledAttention(K / 0 - K / 0, K), "keys must be finite"),
        (lambda: SampledAttention(K, K[:1]), "values must be .* rows"),
        (lambda: SampledAttention(K, K, first=9), "first must be an integer from 0 to 8"),
        (lambda: SampledAttention(K, K, scale="1"), "scale must be"),
        (lambda: SampledAttention(K, K, law="both"), 'law must be "conditional" or "marginal"'),
        (lambda: SampledAttention(K, K, seed=-1), "seed must be"),
        (lambda: SampledAttention(K, K, sampler="Some()"), "sampler must be"),
        (lambda: SampledAttention(K, K)(K[0]), r"queries must be shape \(2, 'm', 4\)"),
        (lambda: SampledAttention(K, K).append(K[:, :, :2], K), "keys must be shape"),
        (lambda: SampledAttention(K, K).append(K, K[:, :2]), "values must be 9 rows"),
    ],
)
def test_bad_inputs(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_unknown_probabilities_are_refused():
    q, k, v = clustered(300)
    with pytest.raises(BiasedSampleError):
        SampledAttention(k, v, sampler="Retrieve() | Top(5)")(q)
