"""Attention from hash tables beside exact attention: relative error against time, by the number of keys.

``python benchmarks/torch_attention.py`` prints a table. A query is one token of one head, as in decoding; the
exact times are those of ``scaled_dot_product_attention`` and of two matrix products, and ratios refer to the
faster of them. All are timed in turns, query by query. Two kinds of data are made:

- "clustered": keys lie around 2,000 centres, values around a value for each centre, and a query is twice a
  centre, with noise: it attends mostly to the keys of one centre, as a sharp attention head does;
- "gaussian": keys, values and queries are independent normal numbers, so that a query attends a little to
  every key and the result is near zero: the worst case for any sample.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from lshsample.torch import SampledAttention

WIDTH, CENTRES = 64, 2000


def made(kind, n_keys, n_queries, seed=0):
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    if kind == "gaussian":
        return normal(n_queries, WIDTH), normal(n_keys, WIDTH), normal(n_keys, WIDTH)
    centres, values = normal(CENTRES, WIDTH), normal(CENTRES, WIDTH)
    at = torch.randint(CENTRES, (n_keys,), generator=generator)
    queries = 2 * centres[torch.randint(CENTRES, (n_queries,), generator=generator)]
    return (
        queries + 0.5 * normal(n_queries, WIDTH),
        centres[at] + 0.5 * normal(n_keys, WIDTH),
        values[at] + 0.5 * normal(n_keys, WIDTH),
    )


def by_products(q, k, v):
    return torch.softmax(q @ k.T * WIDTH**-0.5, 1) @ v


def by_torch(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None])[0, 0]


def measure(kind, n_keys, n_queries, settings, threads):
    """Lines of the table."""
    queries, keys, values = made(kind, n_keys, n_queries)
    calls = {"scaled_dot_product_attention": by_torch, "two products": by_products}
    calls = {name: lambda q, call=call: call(q, keys, values) for name, call in calls.items()}
    for uniform, hashes, tables in settings:
        family = f"simhash:n_hashes={hashes},n_tables={tables}"
        sampler = f"Uniform({uniform}) | Retrieve()"
        calls[f"K {hashes}, L {tables}, {uniform:,} uniform"] = SampledAttention(
            keys, values, sampler=sampler, family=family, threads=threads
        )
    times, errors = {name: [] for name in calls}, {name: [] for name in calls}
    for at in range(-2, n_queries):  # two to warm up
        query = queries[at % n_queries][None]
        wanted = by_products(query, keys, values)
        for name, call in calls.items():
            begin = time.perf_counter()
            found = call(query)
            if at >= 0:
                times[name].append(1e3 * (time.perf_counter() - begin))
                errors[name].append(float((found - wanted).norm() / wanted.norm()))
    exact = np.minimum(times["scaled_dot_product_attention"], times["two products"])
    for name in calls:
        low, middle, high = np.percentile(exact / np.array(times[name]), [25, 50, 75])
        error = np.array(errors[name])
        yield (
            f"| {kind} | {n_keys:,} | {name} | {np.median(times[name]):.2f} | "
            f"{middle:.1f} ({low:.1f} to {high:.1f}) | "
            f"{100 * error.mean():.1f} % | {100 * np.median(error):.1f} % | {100 * error.max():.1f} % |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["clustered", "gaussian"])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| data | keys | way | ms | times faster (quartiles) | mean error | median | largest |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in args.kinds:
        for n_keys in args.keys:
            hashes = max(round(np.log2(n_keys / 256)), 2)
            settings = [(1000, hashes + 2, 20), (1000, hashes, 20), (1000, hashes, 40), (4000, hashes, 40)]
            for line in measure(kind, n_keys, args.queries, settings, args.threads):
                print(line, flush=True)


if __name__ == "__main__":
    main()
