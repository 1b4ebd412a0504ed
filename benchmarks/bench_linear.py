"""Training linear models in turns with liblinear, and with trees of omikuji and napkinXC; their search.

``pip install scikit-learn omikuji napkinxc; pytest benchmarks/bench_linear.py --benchmark-only`` trains on
rows of words with the frequencies of text (Zipf), whose labels each have some words of their own.
``extra_info`` has P@1 over held-out rows, and the peer's. liblinear trains ten of the labels, one after the
other; its time is scaled to all of them. Two threads; liblinear has one.
"""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized
from turns import in_turns

from lshsample.data import Dataset, write_xc
from lshsample.xc import LinearModel

ROWS, HELD_OUT, WORDS, THREADS = sized(20_000, 300), sized(2000, 50), sized(30_000, 500), 2
FEW, MANY = sized(500, 12), sized(10_000, 40)


def rows(n_labels, n_rows, seed):
    """Rows of about 40 words, five of them from the words of each of their one to three labels."""
    rng, frequency = np.random.default_rng(seed), 1 / (np.arange(WORDS) + 30)
    own = np.random.default_rng(7).choice(WORDS, (n_labels, 12))
    popular = 1 / (np.arange(n_labels) + 10)
    counts = rng.integers(1, 4, n_rows)
    labels = rng.choice(n_labels, counts.sum(), p=popular / popular.sum())
    row_of = np.repeat(np.arange(n_rows), counts)
    words = own[np.repeat(labels, 5), rng.integers(0, 12, 5 * len(labels))]
    noise = rng.choice(WORDS, 30 * n_rows, p=frequency / frequency.sum())
    columns = np.concatenate([words, noise])
    places = np.concatenate([np.repeat(row_of, 5), np.repeat(np.arange(n_rows), 30)])
    places, columns = places.astype(np.int32), columns.astype(np.int32)  # liblinear takes no other
    x = sp.csr_array((np.ones(len(columns), np.float32), (places, columns)), shape=(n_rows, WORDS))
    x.sum_duplicates()
    x.data = (1 + np.log(x.data)) * np.log(1 / frequency[x.indices])
    lengths = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)))
    x.data = (x.data / np.repeat(lengths, np.diff(x.indptr))).astype(np.float32)
    y = sp.csr_array((np.ones(len(labels), np.float32), (row_of, labels)), shape=(n_rows, n_labels))
    y.sum_duplicates()
    y.data[:] = 1
    return x, y


def precision(best, y):
    """The share of rows whose first label is right."""
    return round(float(np.mean([y[[i], [label]][0] for i, label in enumerate(best)])), 4)


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
@pytest.mark.benchmark(group="training 500 labels, in turns with liblinear")
def test_one_node_in_turns_with_liblinear(benchmark):
    svm = pytest.importorskip("sklearn.svm")
    x, y = rows(FEW, ROWS, 0)
    chosen = sized(10, 2)
    targets = y.toarray()[:, :chosen] > 0

    def peer():
        for label in range(chosen):
            svm.LinearSVC(C=0.3, tol=0.1, max_iter=20).fit(x, targets[:, label])

    in_turns(
        benchmark,
        lambda: LinearModel.fit(x, y, threads=THREADS),
        peer,
        5,
        FEW / chosen,
        against="scikit-learn: LinearSVC(C=0.3, tol=0.1, max_iter=20) for each label; one thread",
    )
    held_x, held_y = rows(FEW, HELD_OUT, 1)
    best = LinearModel.fit(x, y, threads=THREADS).top_k(held_x, 1)[0][:, 0]
    benchmark.extra_info["p1"] = precision(best, held_y)


@pytest.mark.benchmark(group="training 10,000 labels, in turns with omikuji")
def test_trees_in_turns_with_omikuji(benchmark, tmp_path):
    omikuji = pytest.importorskip("omikuji")
    x, y = rows(MANY, ROWS, 0)
    write_xc(tmp_path / "train.txt", Dataset(x, y))
    held_x, held_y = rows(MANY, HELD_OUT, 1)
    models = {}

    def ours():
        models["ours"] = LinearModel.fit(x, y, threads=THREADS)

    def peer():
        file = str(tmp_path / "train.txt")
        models["peer"] = omikuji.Model.train_on_data(
            file, omikuji.Model.default_hyper_param(), n_threads=THREADS
        )

    in_turns(
        benchmark, ours, peer, 3, against="omikuji: its default settings (3 trees, beam of 10), 2 threads"
    )
    benchmark.extra_info["p1"] = precision(models["ours"].top_k(held_x, 1)[0][:, 0], held_y)
    best = []
    for i in range(HELD_OUT):
        row = held_x[[i]]
        pairs = list(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        best.append(models["peer"].predict(pairs, top_k=1)[0][0])
    benchmark.extra_info["peer_p1"] = precision(best, held_y)


@pytest.mark.benchmark(group="training 10,000 labels, in turns with napkinXC")
def test_trees_in_turns_with_napkinxc(benchmark, tmp_path):
    napkinxc = pytest.importorskip("napkinxc.models")
    x, y = rows(MANY, ROWS, 0)
    labels = [y.indices[a:b].tolist() for a, b in pairwise(y.indptr)]
    held_x, held_y = rows(MANY, HELD_OUT, 1)
    models = {}

    def ours():
        models["ours"] = LinearModel.fit(x, y, threads=THREADS)

    def peer():
        models["peer"] = napkinxc.PLT(str(tmp_path / "model"), threads=THREADS, seed=0)
        models["peer"].fit(sp.csr_matrix(x), labels)

    in_turns(benchmark, ours, peer, 3, against="napkinXC: PLT with its default settings, 2 threads")
    benchmark.extra_info["p1"] = precision(models["ours"].top_k(held_x, 1)[0][:, 0], held_y)
    benchmark.extra_info["peer_p1"] = precision(
        [best[0] for best in models["peer"].predict(sp.csr_matrix(held_x), 1)], held_y
    )


@pytest.mark.benchmark(group="best 5 of 10,000 labels by label trees")
@pytest.mark.parametrize("beam", [5, 10, 20])
def test_search(benchmark, beam):
    x, y = rows(MANY, ROWS, 0)
    model = LinearModel.fit(x, y, threads=THREADS)
    held_x, held_y = rows(MANY, HELD_OUT, 1)
    best, _ = benchmark.pedantic(
        lambda: model.top_k(held_x, 5, beam=beam, threads=1), rounds=rounds(5), warmup_rounds=1
    )
    benchmark.extra_info["ms_per_row"] = round(1e3 * benchmark.stats.stats.median / HELD_OUT, 4)
    benchmark.extra_info["p1"] = precision(best[:, 0], held_y)
    benchmark.extra_info["megabytes"] = round(model.nbytes / 1e6, 1)
