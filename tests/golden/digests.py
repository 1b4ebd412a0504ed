"""SHA-256 digests of what the package computes, to detect changes of the code that change any bit.

``python digests.py`` prints the digests as JSON, ``--check`` compares them with ``digests.json``, and
``--write`` stores them there. They are computed once for each instruction set, since sums of floats may
differ between them; they do not depend on the number of threads. Each section is a function that returns a
dict from names to digests. The digests are those of the installed package, so that ``--write`` with one
version and ``--check`` with another compare the two.

Results depend on NumPy and SciPy, which round differently in other versions and on other processors. The
section ``libraries`` has digests of results of NumPy and SciPy alone. If these differ from the stored ones,
only results that do not depend on them are compared. So it is on other processors: the baseline's kernels
have the same bits on x86-64 and on ARM. Sections that are not stored for an instruction set are compared with
those of the baseline, as far as they are the same on every set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import scipy.sparse as sp
from scipy import special

# Names of the package: the one place to change when something is renamed.
import lshsample as ls
from lshsample import data as files
from lshsample import laws, metrics
from lshsample._native import convert, core, optim
from lshsample._native import layers as products
from lshsample._native import loss as losses
from lshsample._native.byterows import ByteRows
from lshsample._native.dtypes import KERNEL_DTYPES
from lshsample._native.slots import Slots
from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Dataset, load, load_demo
from lshsample.errors import UnsupportedError
from lshsample.sampling import NAMED_PIPELINES, SamplerStage, make_pipeline
from lshsample.sampling.active_set import LAWS

try:
    from lshsample import estimates
except ImportError:
    from lshsample import estimators as estimates

#: The law over the draw of the hash functions. The one given the tables is the default, and is never named.
MARGINAL: Any = "marginal" if "marginal" in LAWS else "functions"


def trained_arrays(network: ls.Network) -> list[Any]:
    """Names and values of the parameters and statistics of a network."""
    return [(parameter.name, parameter.weights) for parameter in network.parameters]


# End of the names of the package.

STORED = Path(__file__).with_name("digests.json")
ISAS = ("baseline", "avx2", "avx512", "neon")
Digests = dict[str, str]


def digest(*parts: Any) -> str:
    """The first 16 hex digits of the SHA-256 of arrays (dtype, shape and bytes), numbers and texts."""
    sha = hashlib.sha256()
    _feed(sha, parts)
    return sha.hexdigest()[:16]


def _feed(sha: Any, part: Any) -> None:
    if sp.issparse(part):
        matrix: Any = part
        csr = matrix.tocsr()
        part = (csr.shape, csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data)
    if isinstance(part, np.ndarray):
        sha.update(f"array {part.dtype.str} {part.shape}".encode())
        sha.update(np.ascontiguousarray(part).tobytes())
    elif isinstance(part, Sequence) and not isinstance(part, str):
        sha.update(f"sequence {len(part)}".encode())
        for item in part:
            _feed(sha, item)
    else:
        sha.update(repr(part.item() if isinstance(part, np.generic) else part).encode())


def normal(seed: int, *shape: int) -> Any:
    """Nearly normal float32 numbers, computed from integers so that they are the same on all machines."""
    rng = np.random.Generator(np.random.Philox(seed))
    return (rng.integers(-887, 888, (4, *shape)).sum(axis=0) / 1024).astype(np.float32)


def sparse(seed: int, rows: int, columns: int, percent: int) -> Any:
    """CSR rows with ``percent`` percent of their entries."""
    kept = np.random.Generator(np.random.Philox(seed + 1)).integers(0, 100, (rows, columns)) < percent
    return sp.csr_array(np.where(kept, normal(seed, rows, columns), np.float32(0)))


def clustered(seed: int, rows: int, columns: int, clusters: int) -> Any:
    """Rows around a few centres, so that buckets are not empty."""
    centres = normal(seed, clusters, columns)
    return (centres[np.arange(rows) % clusters] + normal(seed + 1, rows, columns) / 4).astype(np.float32)


def pattern(seed: int, rows: int, columns: int, most: int) -> Any:
    """A sparse 0-1 matrix with up to ``most`` entries per row; some rows are empty."""
    rng = np.random.Generator(np.random.Philox(seed))
    entries = [np.unique(rng.integers(0, columns, rng.integers(0, most + 1))) for _ in range(rows)]
    indptr = np.cumsum([0, *map(len, entries)])
    return sp.csr_array((np.ones(indptr[-1], np.float32), np.concatenate(entries), indptr), (rows, columns))


# NumPy and SciPy.


def libraries() -> Digests:
    """Results of the functions of NumPy and SciPy that the package uses."""
    a, x = normal(1, 64, 48), np.linspace(-6, 6, 1001)
    positive, wide = np.abs(x) + 1e-3, a.astype(np.float64)
    rng = np.random.Generator(np.random.Philox(7))
    elementwise: list[Any] = [[math.exp(-value), math.log(value), math.log2(value)] for value in positive]
    for values in (x, x.astype(np.float32)):
        kept = np.abs(values) + values.dtype.type(1e-3)
        elementwise += [np.exp(values), np.expm1(-kept), np.log(kept), np.log1p(kept), np.tanh(values)]
        elementwise += [np.sqrt(kept), np.arccos(values / 6), np.logaddexp(0, values), kept**2.5]
    functions: list[Any] = [special.ndtr(x), special.log_ndtr(x), special.betainc(2, 7, positive / 9)]
    functions += [special.gammaln(positive), special.owens_t(x, 0.7), special.stdtrit(5, positive / 9)]
    sums: list[Any] = [a.sum(axis=0), a.std(axis=1), np.einsum("ij,ij->i", a, a, dtype=np.float64)]
    sums += [wide.sum(), np.add.reduceat(wide, [0, 5, 40]), np.linalg.norm(wide, axis=0)]
    draws = [rng.random(99, np.float32), rng.permutation(99), rng.choice(99, 9, replace=False)]
    return {
        "products": digest(a @ a.T, wide @ wide.T, a @ a[0], a.T @ a, sparse(1, 9, 48, 20) @ a.T),
        "elementwise": digest(elementwise),
        "special": digest(functions),
        "sums": digest(sums),
        "decompositions": digest(*np.linalg.eigh(wide.T @ wide), *np.linalg.svd(wide), *np.linalg.qr(wide)),
        "draws": digest(draws),
    }


# The kernels of the C core alone: from the same bits in, without NumPy or SciPy between.


def rough(seed: int, *shape: int) -> Any:
    """Numbers whose products are not exact, so that the order of a sum shows."""
    return normal(seed, *shape) / np.float32(3)


def _trained(dtype: Any, rounding: convert.Rounding | None) -> Iterator[tuple[str, str]]:
    """Rows of weights and state after steps of each optimizer."""
    steps: dict[str, Any] = {"sgd": optim.sgd_rows, "adagrad": optim.adagrad_rows, "adam": optim.adam_rows}
    for place, (name, step) in enumerate(steps.items()):
        slots = Slots.zeros(60, DIM, [dtype] * (place + 1))
        slots.weights[...] = convert.from_float32(rough(11, 60, DIM), dtype)
        for seed in range(3):
            rows = np.arange(seed, 60, 7, dtype=np.int32)
            step(slots, rows, rough(12 + seed, len(rows), DIM), 0.05, rounding=rounding)
        yield f"{name}, {dtype.name}{', stochastic' if rounding else ''}", digest(slots.data)


def kernels() -> Digests:
    """Products, losses, optimizers, roundings, draws and searches of the C core."""
    found: Digests = {"dropout": digest(products.dropout_mask(3, 5, 1, (9, DIM), 0.3))}
    a, b, bias = rough(1, 33, DIM), rough(2, 60, DIM), rough(3, 60)
    rows, x = np.arange(0, 60, 3, dtype=np.int32), core.csr_rows(sparse(4, 33, 60, 20), "x")
    indptr, ids = np.arange(34) * 5, np.arange(165, dtype=np.int32) % 60
    for dtype in KERNEL_DTYPES:
        weights = convert.from_float32(b, dtype)
        found[f"products, {dtype.name}"] = digest(
            products.matmul_nt(a, weights, bias=bias, rows=rows),
            products.matmul_nn(rough(5, 33, 20), weights, rows=rows),
            products.csr_matmul(x, weights, rough(6, DIM)),
            products.csr_sampled_matmul(a, weights, bias, indptr, ids),
        )
        found[f"top 5, {dtype.name}"] = digest(*products.top_k(a, weights, bias, 5))
        found |= dict(_trained(dtype, None))
    found |= dict(_trained(KERNEL_DTYPES[-1], convert.Rounding(1, 2)))
    found["products of gradients"] = digest(
        products.matmul_tn(a, rough(7, 33, 20)), products.column_sums(a), *products.csr_transpose_matmul(x, a)
    )
    found["top 5 by 8 bits"] = digest(*ByteRows(b, bias).top_k(a, 5)[:2])
    targets = indptr, np.tile(np.arange(0, 45, 9, dtype=np.int32), 33), np.full(165, 0.2, np.float32)
    for name in losses.LOSSES:
        values, inclusion = rough(8, 33, DIM), -np.abs(rough(9, DIM))
        found[name] = digest(losses.apply(name, values, targets, inclusion), values)
    return found


# Codes and the laws of the families.

DIM, WIDE = 48, 1500


def axis_codes(x: Any, spec: Any) -> Any:
    """A custom hash function: the index of the largest of some columns."""
    rows = x if isinstance(x, np.ndarray) else x.toarray()
    order = np.random.Generator(np.random.Philox(spec.seed)).permuted(
        np.tile(np.arange(spec.dim), (spec.n_tables, 1)), axis=1
    )
    return np.stack([rows[:, some[:16]].argmax(axis=1) for some in order], axis=1).astype(np.uint32)


def other_codes(x: Any, spec: Any) -> Any:
    """Another hash function, for queries."""
    return axis_codes(-x, spec)


def linear_law(similarity: Any) -> Any:
    """A custom collision probability."""
    return (1 + np.clip(similarity, -1, 1)) / 2


def _over(family: str, **options: Any) -> dict[str, Any]:
    return {"inner": {"family": family, **options}}


#: Label to a family's name and options; K and L are 4 and 9 where nothing else is said.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "simhash hadamard": ("simhash", {"n_hashes": 7}),
    "simhash gaussian": ("simhash", {"n_hashes": 11, "projection": "gaussian"}),
    "simhash sparse": ("simhash", {"projection": "sparse", "density": 0.2}),
    "dwta": ("dwta", {}),
    "dwta 16": ("dwta", {"window": 16, "n_hashes": 3}),
    "wta": ("wta", {}),
    "wta 4": ("wta", {"window": 4, "n_hashes": 5}),
    "minhash": ("minhash", {}),
    "minhash doph": ("minhash", {"method": "doph", "bits": 5}),
    "minhash top": ("minhash", {"sets": "top", "set_size": 6, "bits": 4}),
    "minhash doph threshold": ("minhash", {"method": "doph", "sets": "threshold", "threshold": 0.5}),
    "icws": ("icws", {}),
    "icws 3": ("icws", {"bits": 3, "n_hashes": 6}),
    "e2lsh hadamard": ("e2lsh", {}),
    "e2lsh gaussian": ("e2lsh", {"projection": "gaussian", "width": 2.5, "bits": 3}),
    "e2lsh sparse": ("e2lsh", {"projection": "sparse", "width": 6.0, "n_hashes": 3}),
    "cross-polytope hadamard": ("cross-polytope", {"n_hashes": 2}),
    "cross-polytope gaussian": (
        "cross-polytope",
        {"n_hashes": 3, "dimension": 8, "projection": "gaussian"},
    ),
    "cross-polytope sparse": ("cross-polytope", {"n_hashes": 1, "dimension": 64, "projection": "sparse"}),
    "simple-lsh": ("simple-lsh", {"headroom": 1.5}),
    "simple-lsh e2lsh": ("simple-lsh", _over("e2lsh", width=1.5)),
    "centered cross-polytope": ("centered", {"n_hashes": 2, **_over("cross-polytope", dimension=8)}),
    "simple-lsh cross-polytope": ("simple-lsh", {"n_hashes": 2, **_over("cross-polytope", dimension=8)}),
    "sign-alsh": ("sign-alsh", {}),
    "sign-alsh gaussian": (
        "sign-alsh",
        {"bound": 99.0, "n_powers": 3, **_over("simhash", projection="gaussian")},
    ),
    "sign-alsh cross-polytope": (
        "sign-alsh",
        {"n_hashes": 2, "shrink": 0.6, **_over("cross-polytope", dimension=4)},
    ),
    "l2-alsh": ("l2-alsh", {}),
    "l2-alsh gaussian": ("l2-alsh", {"n_powers": 2, **_over("e2lsh", width=1.0, projection="gaussian")}),
    "norm-ranging": ("norm-ranging", {}),
    "norm-ranging e2lsh": ("norm-ranging", {"n_ranges": 4, **_over("e2lsh", width=1.5)}),
    "norm-ranging cross-polytope": (
        "norm-ranging",
        {"n_ranges": 7, "n_hashes": 2, **_over("cross-polytope", dimension=8)},
    ),
    "multiprobe": ("multiprobe", {}),
    "multiprobe e2lsh": ("multiprobe", {"probes": 6, **_over("e2lsh", projection="gaussian")}),
    "multiprobe dwta": ("multiprobe", {"probes": 3, **_over("dwta")}),
    "multiprobe cross-polytope": (
        "multiprobe",
        {"probes": 5, "n_hashes": 2, **_over("cross-polytope", dimension=8)},
    ),
    "multiprobe simple-lsh": ("multiprobe", _over("simple-lsh", **_over("e2lsh", width=1.5))),
    "learned-simhash": ("learned-simhash", {}),
    "learned-simhash fitted": ("learned-simhash", {"seed": 9}),
    "itq": ("itq", {}),
    "itq components": ("itq", {"components": 4, "iterations": 20, "sample": 300}),
    "product-quantization": ("product-quantization", {"bits": 3}),
    "function": ("function", {"function": axis_codes, "bits": 4, "n_hashes": 1}),
    "function law": (
        "function",
        {
            "function": axis_codes, "query": other_codes, "law": linear_law, "independent": True,
            "bits": 4, "n_hashes": 1,
        },
    ),
}  # fmt: skip
#: Families that are fitted to their data, too slowly for many columns.
_NARROW = ("itq", "learned-simhash fitted", "product-quantization")


def _family(label: str, dim: int) -> Any:
    name, options = FAMILIES[label]
    family: Any = ls.make_family(name, **{"dim": dim, "n_hashes": 4, "n_tables": 9, "seed": 5, **options})
    if label == "learned-simhash fitted":
        items = normal(21, 40, dim)
        family = family.fit(items + normal(22, 40, dim) / 2, sp.eye_array(40, format="csr"), items, epochs=2)
    return family


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The values of a law, or a text if there is none."""
    try:
        return function(*arguments)
    except UnsupportedError:
        return "unsupported"


def _law(family: Any, q: Any, x: Any) -> Iterator[Any]:
    """All probabilities of a family."""
    grid = np.linspace(0, 1, 21)
    norms = (grid,) if family.law_of_norms else ()
    yield _attempt(family.collision_probability, grid, *norms)
    yield _attempt(family.code_probability, grid, *norms)
    yield _attempt(family.similarity_of, q, x)
    yield _attempt(family.pair_probability, q, x)
    yield _attempt(family.pair_code_probability, q, x)
    yield _attempt(family.probe_probability, q[:1], x, 3)


def codes() -> Digests:
    """Codes of rows and queries, dense and sparse, probed codes and laws, of every built-in family."""
    found: Digests = {}
    x, q, many = normal(11, 700, DIM), normal(12, 150, DIM), sparse(13, 500, DIM, 20)
    wide, wide_sparse = normal(14, 60, WIDE), sparse(15, 200, WIDE, 3)
    x[5] = q[5] = 0
    many.data[many.indptr[5] : many.indptr[6]] = 0
    many.eliminate_zeros()
    # Bounds of norms are norms of rows, the largest of those that the reference hashes.
    checked = np.concatenate([x[:120], x[[np.linalg.norm(x, axis=1).argmax()]]])
    for label in FAMILIES:
        tables = ls.HashTables(_family(label, DIM)).build(x)
        family = tables.family
        found[f"{label}: rows"] = digest(ls.hash_rows(family, x), ls.hash_rows(family, many))
        queries = [ls.hash_rows(family, rows, query=True) for rows in (q, many)]
        found[f"{label}: queries"] = digest(queries)
        found[f"{label}: reference"] = digest(family.hash(checked), family.hash_query(many[:20]))
        found[f"{label}: law"] = digest(
            list(_law(family, q[:30], x[:30])), list(_law(family, many[:30], many[30:60]))
        )
        if family.can_probe:
            probed = tables.query(q, n_probes=5)
            found[f"{label}: probes"] = digest(
                family.probe(q[:7], 5), family.probe(many[:7], 5), probed.indptr, probed.ids, probed.counts
            )
        if not label.startswith(_NARROW):
            family = ls.HashTables(_family(label, WIDE)).build(wide).family
            rows = [
                ls.hash_rows(family, x, query=query) for x in (wide, wide_sparse) for query in (False, True)
            ]
            found[f"{label}: wide"] = digest(rows)
    return found


# Active sets.

ITEMS, WIDTH = 2400, 20


@attrs.frozen
class Even(SamplerStage):
    """A custom stage that filters."""

    def apply(self, active: Any, batch: Any) -> Any:
        """Keeps even ids."""
        return active.keep(active.ids % 2 == 0)


@attrs.frozen
class Scatter(SamplerStage):
    """A custom stage that draws."""

    n: int = 9

    def apply(self, active: Any, batch: Any) -> Any:
        """Adds ids from the batch's generator."""
        return active.join(batch.generator().integers(0, batch.n_items, (active.n_rows, self.n)))


OWN = {"Even": Even, "Scatter": Scatter}
#: Pipelines as text. Ids that collide equally often, and all ids of Full(), are ties to Top().
#: Named pipelines for tables of any family; `midx` needs codebooks.
NAMED = tuple(name for name in NAMED_PIPELINES if name != "midx")
PIPELINES = (
    *NAMED,
    "Retrieve()",
    "Retrieve(probes=3)",
    "Retrieve(budget=40)",
    "Retrieve(probes=2, budget=150) | Include()",
    "Retrieve() | Retrieve(probes=2) | AtLeast(3)",
    "Retrieve() | Top(15)",
    "Retrieve(probes=4) | Top(25) | Uniform(10)",
    "Retrieve() | Cap(20) | Uniform(10)",
    "Retrieve() | Cap(30) | Include()",
    "Retrieve() | AtLeast(2)",
    "Retrieve(probes=2) | AtLeast(3)",
    "Retrieve() | AtLeast(2) | Include() | Uniform(30)",
    "Include() | Retrieve() | Cap(12)",
    "Retrieve() | Uniform(60) | Cap(50)",
    "Retrieve() | Fill(90)",
    "Retrieve() | Top(200) | Include() | Fill(2350)",
    "Fill(100) | Fill(300)",
    "Uniform(50)",
    "Uniform(2000) | Top(70)",
    "Frequency(40)",
    "Retrieve() | Frequency(40) | Include()",
    "Frequency(30) | Frequency(20) | Cap(25)",
    "ExactTop(10)",
    "ExactTop(10) | Uniform(20)",
    "Retrieve() | ExactTop(5) | Top(30) | Uniform(20)",
    "Full()",
    "Full() | Cap(100) | Include()",
    "Full() | Top(70)",
    "Retrieve() | Full() | Top(300)",
    "Retrieve() | Even() | Uniform(20)",
    "Uniform(60) | Scatter(5) | Include() | Fill(90)",
    "Retrieve() | Scatter() | Even()",
)


def _changed(tables: ls.HashTables, rows: Any) -> ls.HashTables:
    """Tables with deltas: ids that were moved, added and removed; bounded tables can only grow."""
    grown = np.concatenate([rows, clustered(35, 60, WIDTH, 40)])
    if tables.bucket_size is None:
        grown[100:220] = clustered(36, 120, WIDTH, 40)
        tables.update(np.arange(100, 220), grown[100:220], rows=grown)
        tables.delete(np.arange(5, 400, 9))
        tables.update([3, 700, 1001], grown[[3, 700, 1001]], rows=grown)
    names = np.arange(len(rows), len(grown))
    return tables.insert(names[::-1], grown[names[::-1]], rows=grown)


def sample_tables(rows: Any) -> dict[str, ls.HashTables]:
    """Tables of two families: unbounded, bounded, and both with changes."""
    shape = {"dim": WIDTH, "seed": 3}
    families = {
        "simhash": ls.make_family("simhash", n_hashes=7, n_tables=12, projection="gaussian", **shape),
        "e2lsh": ls.make_family("e2lsh", n_hashes=3, n_tables=8, bits=3, width=5.0, **shape),
    }
    found = {}
    for name, family in families.items():
        for size in (None, 6):
            label = name if size is None else f"{name} bounded"
            found[label] = ls.HashTables(family, bucket_size=size).build(rows)
            found[f"{label} changed"] = _changed(ls.HashTables(family, bucket_size=size).build(rows), rows)
    return found


def drawn_set(active: Any) -> str:
    """The digest of an active set; without inclusion probabilities that of its ids."""
    law = "biased" if active.is_biased else active.log_inclusion
    return digest(active.indptr, active.ids, active.counts, law)


def samples() -> Digests:
    """Active sets of every stage and named pipeline, over tables of all kinds, for each query and pooled."""
    rows, queries, found = clustered(31, ITEMS, WIDTH, 40), clustered(32, 9, WIDTH, 40), {}
    for label, tables in sample_tables(rows).items():
        n_items = tables.n_ids
        include, frequencies = pattern(33, len(queries), n_items, 4), 1.0 / np.arange(1, n_items + 1)
        vectors = np.concatenate([rows, normal(34, n_items - len(rows), WIDTH)])
        for text in PIPELINES:
            pipeline = make_pipeline(text, n_active=48, n_items=n_items, stages=OWN)
            sampler = pipeline.bind(tables=tables, vectors=vectors, frequencies=frequencies)
            named = {"include": include} if pipeline.takes_include else {}
            conditional = [
                drawn_set(sampler.sample(queries, seed=seed, step=step, pool=pool, **named))
                for seed, step in ((0, 0), (1, 5))
                for pool in (False, True)
            ]
            marginal = [
                drawn_set(sampler.sample(queries, seed=2, pool=pool, law=MARGINAL, **named))
                for pool in (False, True)
            ]
            found[f"{label}: {text}"] = digest(conditional)
            found[f"{label}: {text}, marginal"] = digest(marginal)
            if text in ("Retrieve(probes=3)", "ExactTop(10)"):
                found[f"{label}: {text}, search"] = digest(sampler.search(queries, top=7))
    return found | _samples_of_codebooks(rows, queries) | _samples_otherwise(rows, queries) | _many_samples()


def _samples_of_codebooks(rows: Any, queries: Any) -> Digests:
    """MIDX, for each query and pooled."""
    tables, found = ls.HashTables(ls.make_family("product-quantization", dim=WIDTH, bits=3)).build(rows), {}
    for text in ("midx", "Retrieve(probes=3) | MIDX(20) | Uniform(10) | MIDX(9)"):
        pipeline = make_pipeline(text, n_active=48, n_items=ITEMS)
        named = {"include": pattern(33, len(queries), ITEMS, 4)} if pipeline.takes_include else {}
        sampler = pipeline.bind(tables=tables)
        sets = [drawn_set(sampler.sample(queries, seed=3, pool=pool, **named)) for pool in (False, True)]
        found[f"codebooks: {text}"] = digest(sets)
    return found


def _samples_otherwise(rows: Any, queries: Any) -> Digests:
    """Samples without tables, from the tables of the stages themselves, and of sparse queries."""
    whole = sample_tables(rows)
    both = ls.Retrieve(whole["simhash"]) | ls.Retrieve(whole["e2lsh"], probes=2) | ls.Top(40) | ls.Uniform(9)
    few = ls.Include() | ls.Uniform(7)
    thin = sparse(37, 400, WIDTH, 30)
    tables = ls.HashTables(ls.make_family("simhash", dim=WIDTH, n_hashes=5, seed=2)).build(thin)
    sampler = (ls.Retrieve() | ls.Cap(25) | ls.Uniform(5)).bind(tables=tables)
    empty = (ls.Retrieve() | ls.Uniform(5)).bind(tables=tables).sample(queries[:0])
    return {
        "two tables": digest([drawn_set(both.sample(queries, seed=4, pool=p)) for p in (False, True)]),
        "no tables": drawn_set(few.bind(n_items=300).sample(include=pattern(38, 8, 300, 3), seed=1)),
        "no queries": drawn_set(empty),
        "sparse": drawn_set(sampler.sample(thin[:20], seed=3)),
        "sparse, marginal": drawn_set(sampler.sample(thin[:20], seed=3, law=MARGINAL)),
    }


def _many_samples() -> Digests:
    """Many items and queries: the work of several threads, and merges of deltas."""
    found, rows, queries = {}, clustered(81, 20_000, WIDTH, 900), clustered(82, 260, WIDTH, 900)
    family = ls.make_family("simhash", dim=WIDTH, n_hashes=12, n_tables=40, seed=6)
    tables = ls.HashTables(family).build(rows)
    moved, include = np.arange(0, 20_000, 3), pattern(83, len(queries), len(rows), 5)
    for state in ("built", "moved"):
        if state == "moved":
            tables.update(moved, rows[moved[::-1]])
        for text in ("lsh", "slide-vanilla", "Retrieve(probes=3) | Cap(90) | Include() | Fill(300)"):
            sampler = make_pipeline(text, n_active=1000, n_items=len(rows)).bind(tables=tables)
            sets = [sampler.sample(queries, include=include, seed=1, pool=pool) for pool in (False, True)]
            found[f"many, {state}: {text}"] = digest([drawn_set(active) for active in sets])
    return found


# Estimates.


def _estimate(estimate: Any) -> str:
    return digest(estimate.value, estimate.standard_error, estimate.degrees)


def _gradient(gradient: Any) -> str:
    return digest(_estimate(gradient.loss), _estimate(gradient.gradient), gradient.logits)


def _drawn(pipeline: Any, rows: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Kinds of samples: the first argument of estimators, and their options."""
    shape = {"dim": WIDTH, "n_hashes": 6, "n_tables": 8, "projection": "gaussian"}
    bound = [
        pipeline.bind(tables=ls.HashTables(ls.make_family("simhash", seed=seed, **shape)).build(rows))
        for seed in range(4)
    ]
    retrieved = (ls.Retrieve() | ls.Cap(60)).bind(tables=bound[0].tables)
    return {
        "one": (bound[0], {}),
        "replicates": (bound[0], {"replicates": 4, "seed": 3, "step": 2}),
        "several": (bound, {"seed": 1}),
        "marginal": (bound[1], {"law": MARGINAL}),
        "biased": (retrieved, {"allow_biased": True}),
    }


def _sums(rows: Any, queries: Any) -> Digests:
    """Sums and means over all items."""
    found: Digests = {}
    values = {"numbers": rows[:, 0] ** 2, "rows": rows[:, :3], "function": lambda active: active.ids % 7}
    tables = sample_tables(rows)
    sampler = (ls.Retrieve() | ls.Uniform(60)).bind(tables=tables["simhash"])
    several = [sampler.sample(queries, seed=2, step=step) for step in range(3)]
    for name, value in values.items():
        for label, drawn in {"one": several[0], "several": several}.items():
            found[f"horvitz_thompson {name}, {label}"] = _estimate(estimates.horvitz_thompson(drawn, value))
            found[f"self_normalised {name}, {label}"] = _estimate(estimates.self_normalised(drawn, value))
        for label in (
            "simhash",
            "e2lsh",
            "simhash bounded",
            *(["simhash changed"] if callable(value) else []),
        ):
            for options in ({}, {"groups": 3, "probes": 2}):
                key = f"sum_by_tables {name}, {label}{', in groups' if options else ''}"
                found[key] = _estimate(estimates.sum_by_tables(tables[label], queries, value, **options))
    return found


def _descents(x: Any) -> Digests:
    """Gradients of linear models from sampled examples."""
    found, y = {}, x.astype(np.float64) @ np.linspace(-1, 1, WIDTH)
    for loss, targets, dim in (("squared", y, WIDTH + 1), ("logistic", np.where(y < 0, -1.0, 1.0), WIDTH)):
        family = ls.make_family("simhash", dim=dim, n_hashes=6, n_tables=8, projection="gaussian")
        for law in ({}, {"law": MARGINAL}):
            sampler = estimates.GradientSampler(x, targets, family, loss=loss, **law)
            at = sampler.descend(np.zeros(WIDTH), steps=20, rate=0.05, seed=1)
            key = f"GradientSampler {loss}{', marginal' if law else ''}"
            found[key] = digest(at, _estimate(sampler.gradient(at, seed=2)), sampler.full_gradient(at))
    return found


def all_estimates() -> Digests:
    """Values and standard errors of every estimator, over one sample and several."""
    rows, queries = clustered(41, ITEMS, WIDTH, 40), clustered(42, 7, WIDTH, 40) / 2
    bias, targets, values = normal(43, ITEMS) / 3, pattern(44, 7, ITEMS, 3), normal(45, ITEMS, 5)
    found = _sums(rows, queries) | _descents(rows)
    pipelines = {"uniform": ls.Retrieve() | ls.Uniform(60), "fill": ls.Retrieve() | ls.Fill(1200)}
    for kind, pipeline in pipelines.items():
        for label, (drawn, options) in _drawn(pipeline, rows).items():
            key = f"{kind}, {label}"
            z = estimates.partition_function(drawn, queries, rows, bias=bias, scale=0.7, **options)
            found[f"partition_function {key}"] = digest(_estimate(z), _estimate(z.log()))
            for loss in ("softmax", "sigmoid"):
                of_loss = getattr(estimates, f"{loss}_gradient")
                gradient = of_loss(drawn, queries, rows, targets, bias=bias, **options)
                found[f"{loss}_gradient {key}"] = _gradient(gradient)
            read = estimates.attention(drawn, queries, rows, values, **options)
            found[f"attention {key}"] = _estimate(read)
            for kernel in ("gaussian", "exponential", "cauchy"):
                density = estimates.kernel_density(
                    drawn, queries, rows, kernel=kernel, bandwidth=3.0, **options
                )
                found[f"kernel_density {kernel} {key}"] = _estimate(density)
    one, _ = _drawn(pipelines["uniform"], rows)["one"]
    peaked = estimates.attention(one, queries, rows, values, scale=20.0)
    interval = estimates.partition_function(one, queries, rows).interval(0.9)
    return found | {"attention, peaked": _estimate(peaked), "interval": digest(interval)}


# Tables.


def contents(tables: ls.HashTables, queries: Any) -> str:
    """The results of queries, and the contents of buckets."""
    probes = (1, 4) if tables.family.can_probe else (1,)
    found = [tables.query(queries, n_probes=count) for count in probes]
    held = tables.buckets(queries)
    parts = [part for each in found for part in (each.indptr, each.ids, each.counts)]
    return digest(parts, held.indptr, held.ids, held.sizes, held.weights, tables.n_items, tables.n_ids)


def _life(family: Any, rows: Any, queries: Any) -> Iterator[tuple[str, str]]:
    """The states of unbounded tables."""
    more, ids = rows[::-1], np.array([i for i in range(40, 900, 7) if i % 11 != 3])
    tables = ls.HashTables(family).build(rows[:1500])
    yield "build", contents(tables, queries)
    yield "changed", digest(tables.changed(ids, more[ids]))
    yield "update", contents(tables.update(ids[::-1], more[ids[::-1]]), queries)
    yield "delete", contents(tables.delete(np.arange(3, 1500, 11)), queries)
    yield "insert", contents(tables.insert(np.arange(1490, 1700)[15:], rows[1505:1700]), queries)
    yield "insert in holes", contents(tables.insert([14, 3, 25], more[[14, 3, 25]]), queries)
    yield "split", digest([contents(part, queries) for part in tables.split([500, 1100])])
    yield "compact", contents(tables.compact(), queries)
    with tempfile.TemporaryDirectory() as folder:
        tables.save(Path(folder) / "tables")
        opened = ls.HashTables.open(Path(folder) / "tables")
        yield "open", contents(opened, queries)
        yield "open and update", contents(opened.verify().update(ids[:9], more[ids[:9]]), queries)
    yield "rebuild", contents(tables.rebuild(more), queries)
    yield "rehash", contents(tables.rehash(rows, 77), queries)


def _shards(family: Any, rows: Any, queries: Any, size: int | None) -> Iterator[tuple[str, str]]:
    """Tables of some ids only, and their merge."""
    first = ls.HashTables(family, bucket_size=size).build(rows[:900])
    second = ls.HashTables(family, bucket_size=size).build(
        rows[900:], ids=np.arange(1000, 100 + rows.shape[0])
    )
    yield "shard", contents(second, queries)
    merged = ls.HashTables.merge(first, second)
    yield "merge", contents(merged, queries)
    if size is not None:
        yield "build", contents(first, queries)
        yield "insert", contents(first.insert(np.arange(1800, 2000), rows[1800:]), queries)
    with tempfile.TemporaryDirectory() as folder:
        merged.save(Path(folder) / "tables")
        yield "merge and open", contents(ls.HashTables.open(Path(folder) / "tables"), queries)


def all_tables() -> Digests:
    """The contents of tables after builds, changes, merges, splits and files."""
    found: Digests = {}
    shape = {"dim": WIDTH, "n_tables": 7, "seed": 3}
    families = {
        "simhash": ls.make_family("simhash", n_hashes=6, **shape),
        "simhash 20": ls.make_family("simhash", n_hashes=20, projection="gaussian", **shape),
        "dwta": ls.make_family("dwta", n_hashes=3, window=4, **shape),
        "minhash": ls.make_family("minhash", n_hashes=2, bits=4, sets="top", set_size=3, **shape),
        "simple-lsh": ls.make_family("simple-lsh", n_hashes=6, bound=20.0, **shape),
        "multiprobe": ls.make_family("multiprobe", n_hashes=3, inner={"family": "e2lsh"}, **shape),
    }
    for kind, rows in {
        "dense": clustered(51, 2000, WIDTH, 50),
        "sparse": sparse(53, 2000, WIDTH, 30),
    }.items():
        queries = rows[np.arange(0, 2000, 97)]
        for name, family in families.items():
            label = f"{name}, {kind}"
            found |= {f"{label}: {state}": value for state, value in _life(family, rows, queries)}
            for size in (None, 5) if family.code_bits < 20 else (None,):
                room = "" if size is None else " bounded"
                for state, value in _shards(family, rows, queries, size):
                    found[f"{label}{room}: {state}"] = value
    return found


# Models.

FEATURES, LABELS, DENSE = 250, 160, 30
#: A layer's options, and those of the run where they differ from the others'.
Scenario = tuple[Sequence[Any], dict[str, Any]]


def _output(loss: str = "softmax", **options: Any) -> Any:
    return ls.Sampled(LABELS, loss, **{"n_active": 40, "n_tables": 6, "n_hashes": 4, **options})


def _plain(loss: str = "softmax", **options: Any) -> list[Any]:
    return [ls.Sparse(FEATURES), ls.Dense(24), _output(loss, **options)]


def _losses() -> Iterator[tuple[str, Scenario]]:
    """Losses by active sets and corrections."""
    weighted = "Retrieve() | Top(20) | Include() | Uniform(30)"
    for loss in ("softmax", "sigmoid"):
        for active_set in ("batch", "sample"):
            for importance in ("off", "on", "auto"):
                layers = _plain(loss, active_set=active_set, importance=importance, sampler=weighted)
                yield f"{loss}, {active_set}, importance {importance}", (layers, {})


def _samplers() -> Iterator[tuple[str, Scenario]]:
    """Named pipelines, and others."""
    for sampler in (*NAMED_PIPELINES, "Retrieve(probes=3) | Cap(30)", "Frequency(30) | Uniform(20)"):
        for loss, active_set in (("softmax", "sample"), ("sigmoid", "batch")):
            layers = _plain(loss, active_set=active_set, importance="auto", sampler=sampler)
            if sampler == "midx":
                layers[-1] = attrs.evolve(layers[-1], family="product-quantization", n_hashes=2, n_tables=1)
            yield f"{sampler}, {loss}, {active_set}", (layers, {})


def _families() -> Iterator[tuple[str, Scenario]]:
    """Families of the output layer's tables."""
    for family, options in {
        "dwta": {"window": 4},
        "wta": {"window": 8},
        "e2lsh": {"width": 1.0},
        "cross-polytope": {"dimension": 8},
        "simple-lsh": {},
        "norm-ranging": {"n_ranges": 4},
        "multiprobe": {"probes": 3},
        "minhash": {"bits": 3, "sets": "top", "set_size": 4},
        "icws": {"bits": 3},
        "itq": {"iterations": 5},
    }.items():
        layers = _plain(family={"family": family, **options}, n_hashes=2, rehash=6)
        yield f"family {family}", (layers, {})
    yield "default hashes", ([ls.Sparse(FEATURES), ls.Dense(8), ls.Sampled(LABELS)], {})


def _drift(first: int, **options: Any) -> Any:
    """A schedule with a fixed period and the strategy Drift."""
    return ls.Rehash.of({"first": first, "growth": 0.0, "strategy": "drift", **options})


def _schedules() -> Iterator[tuple[str, Scenario]]:
    """Optimizers, learning rates, and schedules of tables."""
    optimizers = {"sgd": ls.SGD(), "adagrad": ls.Adagrad(eps=1e-6), "adam": ls.Adam(beta2=0.99)}
    for name, optimizer in optimizers.items():
        yield f"optimizer {name}", (_plain(), {"optimizer": name, "lr": 0.05})
        yield f"optimizer {name}, options, sample", (_plain(active_set="sample"), {"optimizer": optimizer})
    for name, schedule in {
        "constant": "constant",
        "linear": "linear",
        "cosine": "cosine",
        "linear with options": ls.LearningRate("linear", warmup=5, final=0.1),
        "cosine with options": ls.LearningRate("cosine", final=0.2),
    }.items():
        yield f"schedule {name}", (_plain(), {"schedule": schedule})
    for name, rehash in {
        "never": 0,
        "period": 5,
        "growing": ls.Rehash(3, 0.5),
        "same functions": ls.Rehash(3, 0.1, new_functions=False),
        "drift": ls.Rehash.of(
            {"first": 3, "growth": 0.0, "strategy": "drift", "threshold": 0.0, "sketch": 9}
        ),
        "drift, threshold": ls.Rehash.of(
            {"first": 2, "growth": 0.0, "strategy": "drift", "threshold": 0.2, "sketch": 50}
        ),
    }.items():
        yield f"rehash {name}", (_plain(rehash=rehash), {})
    drift = ls.Rehash(4, 0.0, strategy="drift")
    yield "rehash drift of a bound", (_plain(family="simple-lsh", rehash=drift), {})


def _structures() -> Iterator[tuple[str, Scenario]]:
    """Inputs, hidden layers, and dense outputs."""
    for weighting in ("none", "l2", "idf-l2"):
        first = ls.Sparse(FEATURES, weighting=weighting, dropout=0.1)
        yield f"weighting {weighting}", ([first, ls.Dense(24, dropout=0.3), _output()], {})
    for loss in ("softmax", "sigmoid"):
        layers = [ls.Sparse(FEATURES), ls.Dense(24, "tanh"), ls.Dense(LABELS, loss)]
        yield f"dense {loss}", (layers, {})
        hidden = ls.Sampled(64, "relu", sampler="Retrieve() | Fill(20)", n_tables=4, n_hashes=3, rehash=4)
        yield f"sampled hidden, {loss}", ([ls.Input(DENSE), hidden, ls.Dense(LABELS, loss)], {})
    first = ls.Sparse(FEATURES)
    ragged = ls.Sampled(64, "tanh", sampler="uniform", n_active=20, active_set="sample", dropout=0.2)
    yield "sampled hidden, sample", ([first, ls.Dense(16, "linear"), ragged, _output("sigmoid")], {})
    few = ls.Dense(16, "tanh", bias=False, init_scale=0.2)
    yield "no bias", ([ls.Input(DENSE, dropout=0.2), few, _output(bias=False, init_scale=0.1)], {})
    yield "three layers", ([first, ls.Dense(24), ls.Dense(12, "linear"), _output(active_set="sample")], {})
    yield "no hidden layer", ([ls.Input(DENSE), _output("sigmoid", importance="on")], {})


def scenarios() -> dict[str, Scenario]:
    """Small networks with the options of their training runs."""
    return {
        name: scenario
        for some in (_losses, _samplers, _families, _schedules, _structures)
        for name, scenario in some()
    }


def _synthetic() -> tuple[Any, Any, Any]:
    """Sparse rows, dense rows, and labels for both."""
    x, y = sparse(61, 420, FEATURES, 6), pattern(63, 420, LABELS, 4)
    return x, (x @ normal(64, FEATURES, DENSE)).astype(np.float32) / 4, y


def _values(history: Any) -> list[Any]:
    """The values of a history that do not depend on time."""
    epochs = [
        (epoch.step, epoch.loss, epoch.active, sorted(epoch.validation.items())) for epoch in history.epochs
    ]
    return [epochs, history.steps, history.active_mean, history.stopped]


def model(network: ls.Network, x: Any) -> Digests:
    """The arrays and predictions of a trained network."""
    found = {"weights": digest(trained_arrays(network)), "exact": digest(network.predict(x, top=5))}
    try:
        found["sampled"] = digest(network.predict(x, top=5, mode="sampled"))
    except UnsupportedError:  # the last layer has no tables
        found["sampled"] = "none"
    return found


def models() -> Digests:
    """Weights and predictions after short training runs."""
    found, (x, dense, y) = {}, _synthetic()
    for name, (layers, run) in scenarios().items():
        rows = dense if isinstance(layers[0], ls.Input) else x
        network = ls.Network(layers, seed=3)
        trainer = ls.Trainer(network, **{"batch_size": 35, "epochs": 2, "lr": 0.02, "seed": 7, **run})
        history = trainer.fit(rows, y)
        found[name] = digest(_values(history), sorted(model(network, rows[:90]).items()))
    return found | _longer(x, y) | _wide() | _demo()


class _StopAt(ls.Callback):
    """Ends a run after ``step`` steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int, report: Any, milliseconds: float) -> bool:
        """Whether the run ends."""
        return step >= self.step


def _longer(x: Any, y: Any) -> Digests:
    """A run that is interrupted, saved, continued and saved again; and other results of its network."""
    found: Digests = {}
    drift = _drift(3, threshold=0.0)
    for name, rehash in {"rebuild": 5, "drift": drift}.items():
        layers = [ls.Sparse(FEATURES, weighting="idf-l2"), ls.Dense(24, dropout=0.2), _output(rehash=rehash)]
        network = ls.Network(layers, seed=1)
        with tempfile.TemporaryDirectory() as folder:
            run: dict[str, Any] = {"batch_size": 40, "epochs": 3, "checkpoint": Path(folder) / "run"}
            ls.Trainer(network, callbacks=[_StopAt(13)], **run).fit(x, y)
            resumed = ls.Trainer.resume(Path(folder) / "run")
            history = resumed.fit(x, y, validation=(x[:50], y[:50]))
            resumed.network.save(Path(folder) / "model")
            loaded = ls.Network.load(Path(folder) / "model")
        found[f"interrupted, {name}"] = digest(_values(history), trained_arrays(resumed.network))
        found |= {f"loaded, {name}, {key}": value for key, value in model(loaded, x[:90]).items()}
        found[f"hidden, {name}"] = digest(loaded.hidden(x[:40]), loaded.layer_input(x[:40], 1))
        measures = [loaded.evaluate(x, y, top=(1, 2), mode=mode) for mode in ("exact", "sampled")]
        found[f"evaluate, {name}"] = digest([sorted(measure.items()) for measure in measures])
        vectors = np.ascontiguousarray(dict(trained_arrays(loaded))["2.weights"])
        tables = ls.HashTables(ls.make_family("simhash", dim=24, n_hashes=5, seed=8)).build(vectors)
        sampler = ls.Retrieve(probes=2).bind(tables=tables)
        found[f"own sampler, {name}"] = digest(loaded.predict(x[:90], mode="sampled", sampler=sampler))
    return found


def _wide() -> Digests:
    """Layers large enough for several threads."""
    found, x, y = {}, sparse(71, 600, 3000, 1), pattern(72, 600, 5000, 4)
    for loss, active_set, family in (("softmax", "batch", "simhash"), ("sigmoid", "sample", "dwta")):
        last = ls.Sampled(5000, loss, family=family, n_active=900, active_set=active_set, importance="auto")
        network = ls.Network([ls.Sparse(3000, weighting="l2"), ls.Dense(128, dropout=0.3), last], seed=2)
        history = ls.Trainer(network, batch_size=200, epochs=2, lr=0.01).fit(x, y)
        found[f"wide, {loss}"] = digest(_values(history), sorted(model(network, x[:100]).items()))
    return found


def chosen(config: TrainConfig) -> str:
    """The settings of a config that were chosen from data."""
    names = ("hidden", "weighting", "dropout", "batch_size", "epochs", "lr", "n_active", "importance")
    return digest([getattr(config, name) for name in names])


def trained(data: Dataset, config: TrainConfig, rows: int) -> Digests:
    """A network as the command line makes it, trained on data; predictions for the first rows."""
    resolved = config.resolve(data)
    network = build_network(resolved, data.n_features, data.n_labels)
    history = build_trainer(resolved, network).fit(data.x, data.y)
    return {
        "data": digest(data.x, data.y),
        "config": chosen(resolved),
        "history": digest(_values(history)),
        **model(network, data.x[:rows]),
    }


def _demo() -> Digests:
    """A part of the demo's texts."""
    demo = load_demo()
    part = demo.train.take(np.arange(0, demo.train.n_rows, 20))
    config = TrainConfig(hidden="64", epochs=2, weighting="idf-l2", n_active=1000)
    return {
        "demo, data": digest(demo.train.x, demo.train.y, demo.test.x, demo.test.y),
        "demo, defaults": chosen(TrainConfig().resolve(demo.train)),
        **{f"demo, {name}": value for name, value in trained(part, config, 300).items()},
    }


def of_files(paths: Sequence[Path]) -> Digests:
    """The command line's defaults, for one epoch on each file."""
    found: Digests = {}
    for path in paths:
        results = trained(load(path), TrainConfig(epochs=1), 1000)
        found |= {f"{path.parent.name}/{path.name}: {name}": value for name, value in results.items()}
    return found


# Other results.


def _descriptions() -> Digests:
    """Descriptions and explanations of samplers: expected sizes and recall, and the report of each stage."""
    found, rows, queries = {}, clustered(31, ITEMS, WIDTH, 40), clustered(32, 9, WIDTH, 40)
    tables = sample_tables(rows)["simhash"]
    include, frequencies = pattern(33, 1, ITEMS, 4), 1.0 / np.arange(1, ITEMS + 1)
    for text in PIPELINES:
        pipeline = make_pipeline(text, n_active=48, n_items=ITEMS, stages=OWN)
        sampler = pipeline.bind(tables=tables, vectors=rows, frequencies=frequencies)
        expected = sampler.describe(queries=queries, vectors=rows, seed=1)
        found[f"describe: {text}"] = digest(expected.expected_sizes, expected.similarity, expected.recall)
        named = {"include": include} if pipeline.takes_include else {}
        explanation = sampler.explain(queries[:1], seed=2, **named)
        # By position, as names may change: ids added, removed, size, probabilities, whether all are possible.
        fields = [attrs.astuple(report) for report in explanation.stages]
        reports = [(*f[1:4], *f[5:8]) for f in fields]
        found[f"explain: {text}"] = digest(reports, drawn_set(explanation.active))
    return found


def _measures() -> Digests:
    """Measures of predictions, and the formulas of the laws."""
    truth, rng = pattern(91, 60, 30, 5), np.random.Generator(np.random.Philox(92))
    labels = np.argsort(rng.integers(0, 10**6, (60, 30)), axis=1)[:, :6]
    weights = metrics.propensities(pattern(93, 400, 30, 5))
    at = [measure(labels, truth, k) for k in (1, 3, 6) for measure in (
        metrics.precision_at_k, metrics.recall_at_k, metrics.ndcg_at_k,
        lambda *given: metrics.psp_at_k(given[0], given[1], weights, given[2]),
    )]  # fmt: skip
    q = np.linspace(0, 1, 11)
    formulas: list[Any] = [
        laws.union_inclusion(q, 7),
        laws.at_least_inclusion(q, 9, 3),
        laws.cap_inclusion(q, 3, 9),
    ]
    formulas += [laws.tables_inclusion(np.outer(q, q)), laws.tables_inclusion(np.outer(q, q), 3)]
    formulas += [laws.frequency_inclusion(q, 5), laws.fill_inclusion(q, 5, 9, 30), laws.rho(0.9, 0.4)]
    return {"measures": digest(at, weights), "laws": digest(formulas)}


def _files() -> Digests:
    """Data written and read in each format, and the votes of neighbours."""
    data = Dataset.of(sparse(94, 90, 40, 20), pattern(95, 90, 25, 4))
    labels, scores = files.cosine_knn(data, data, k=7, top=4)
    with tempfile.TemporaryDirectory() as folder:
        text, packed, best = (Path(folder) / name for name in ("data.txt.gz", "data.npz", "predicted.txt"))
        files.write_xc(text, data)
        files.write_npz(packed, data)
        files.write_predictions(best, labels, scores)
        plain = Path(folder) / "plain.txt"
        plain.write_text("0,2 1:0.5 3:1\n1 2:2e-3\n3 1:0.1 2:0.30000001 7:1e10\n")
        read = [load(path) for path in (text, packed, plain)]
        batches = list(files.stream_xc(text, 40))
        found = {"predictions": digest(best.read_text())}
    found["files"] = digest([(part.x, part.y) for part in (*read, *batches)])
    return found | {"neighbours": digest(labels, scores)}


def others() -> Digests:
    """Descriptions of samplers, metrics, formulas, and data files."""
    return _descriptions() | _measures() | _files()


# The command.

SECTIONS: dict[str, Callable[[], Digests]] = {
    "libraries": libraries,
    "kernels": kernels,
    "codes": codes,
    "samples": samples,
    "estimates": all_estimates,
    "tables": all_tables,
    "models": models,
    "others": others,
}
Recorded = dict[str, Digests]


def is_portable(section: str, name: str) -> bool:
    """Whether a digest is the same with other versions of the libraries."""
    if section == "kernels":
        return True
    if section == "codes":
        return not name.endswith(": law") and not name.startswith(_NARROW)
    if section == "samples":  # codebooks are learned by products of NumPy
        return not name.startswith("codebooks: ") and not name.endswith((", marginal", ", search"))
    return section == "tables"


def run_here(sections: Sequence[str], stored: Recorded | None) -> Recorded:
    """The digests by this process, without sections of which nothing could be compared with stored ones."""
    found: Recorded = {}
    for section in sorted(sections, key=lambda section: section != "libraries"):
        other = stored is not None and has_other_libraries(stored, found)
        if not other or any(is_portable(section, name) for name in (stored or {}).get(section, {})):
            found[section] = SECTIONS[section]()
    return found


def run_isa(isa: str, sections: Sequence[str], threads: int, data: Sequence[Path] = ()) -> Recorded:
    """The digests for an instruction set, from a separate process."""
    command = [sys.executable, __file__, "--here", "--section", *sections]
    if data:
        command += ["--data", *map(str, data)]
    own = {"LSHSAMPLE_ISA": isa, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **own}, stdout=subprocess.PIPE, check=True, text=True)
    found: Recorded = json.loads(done.stdout)[isa]
    return found


def is_available(isa: str) -> bool:
    """Whether this machine supports an instruction set."""
    command = [sys.executable, "-c", "import lshsample; lshsample.families()"]
    environment = {**os.environ, "LSHSAMPLE_ISA": isa}
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL).returncode == 0


def has_other_libraries(stored: Recorded, found: Recorded) -> bool:
    """Whether NumPy and SciPy give other bits than where the digests were stored."""
    return "libraries" in found and found["libraries"] != stored.get("libraries")


def differences(stored: Recorded, found: Recorded) -> tuple[list[str], int]:
    """The differing, missing and new digests of the sections found, and the number of compared digests."""
    other = has_other_libraries(stored, found)
    lines, count = [], 0
    for section, digests in found.items():
        before = stored.get(section, {})
        for name in sorted(before.keys() | digests.keys()):
            if other and not is_portable(section, name):
                continue
            count += 1
            if before.get(name) != digests.get(name):
                word = "new" if name not in before else "missing" if name not in digests else "different"
                lines.append(f"{section}: {name}: {word}")
    return lines, count


def _before(stored: dict[str, Recorded], isa: str) -> Recorded:
    """The stored digests of an instruction set; the baseline's of sections that are not stored for it."""
    return stored["baseline"] | stored.get(isa, {})


def _check(stored: dict[str, Recorded], found: dict[str, Recorded]) -> int:
    """Print the differences; returns 1 if there are any."""
    status = 0
    for isa, sections in found.items():
        before = _before(stored, isa)
        lines, count = differences(before, sections)
        for line in lines:
            print(f"{isa}: {line}")
        limit = ", of those independent of other libraries" if has_other_libraries(before, sections) else ""
        print(f"{isa}: {count} compared, {len(lines)} differ{limit}")
        status |= bool(lines)
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--isa", nargs="+", choices=ISAS, help="by default all that this machine supports")
    parser.add_argument("--section", nargs="*", choices=[*SECTIONS], default=[*SECTIONS])
    parser.add_argument("--threads", type=int, default=2, help="no digest depends on it")
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[], help="files to train the command line's defaults on, too"
    )
    parser.add_argument("--check", action="store_true", help="compare with stored digests; 1 if any differs")
    parser.add_argument("--write", action="store_true", help="store the digests")
    parser.add_argument("--stored", type=Path, default=STORED, help="the file of --check and --write")
    parser.add_argument(
        "--here", action="store_true", help="in this process, by LSHSAMPLE_ISA and OMP_NUM_THREADS"
    )
    return parser.parse_args()


def main() -> int:
    """Compute, and print, compare or store."""
    given = _arguments()
    stored: dict[str, Recorded] = json.loads(given.stored.read_text()) if given.stored.exists() else {}
    if given.here:
        isa = os.environ["LSHSAMPLE_ISA"]
        found = {isa: run_here(given.section, _before(stored, isa) if given.check else None)}
        if given.data:
            found[isa]["data"] = of_files(given.data)
    else:
        isas = given.isa or [isa for isa in ISAS if is_available(isa)]
        found = {isa: run_isa(isa, given.section, given.threads, given.data) for isa in isas}
    if given.check:
        return _check(stored, found)
    if given.write:
        merged = {isa: stored.get(isa, {}) | found.get(isa, {}) for isa in {**stored, **found}}
        given.stored.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n")
    else:
        print(json.dumps(found, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
