"""Streamed rows: what a pass finds, batches in any number of parsers, positions, refusals."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError, CheckpointError, DataFormatError
from lshsample.nn import DataParallel, Dense, Group, Network, Sampled, Sparse
from lshsample.streams import STREAM_FORMATS, RowFile, RowFiles, StreamBatches, StreamedRows, files, rows
from lshsample.text import FORMATS, LabelNames, TextRow, TextVectorizer, VectorizerSpec, read_texts
from lshsample.training import Trainer

COUNTED = VectorizerSpec(min_df=2, ngrams=2)


def network(n_features: int, n_labels: int, loss: str = "softmax", **options: Any) -> Network:
    return Network([Sparse(n_features, **options), Dense(4), Sampled(n_labels, loss, sampler="full")])


def batches(source: StreamBatches) -> list[Any]:
    found = []
    while (batch := source.next_batch()) is not None:
        found.append(batch)
    return found


def dense(found: list[Any]) -> Any:
    return np.concatenate([np.hstack([one.x.toarray(), one.y.toarray()]) for one in found])


def ordered(matrix: Any) -> Any:
    return matrix[np.lexsort(matrix.T)]


def test_files_are_found_and_recognised(folder: Path) -> None:
    found = RowFiles(paths=folder)
    assert [(one.path.name, one.form) for one in found.files] == [
        ("a.jsonl", "jsonl"), ("b.jsonl.gz", "jsonl"), ("c.tsv", "tsv"), ("d.txt", "fasttext"),
    ]  # fmt: skip
    assert found.size == sum(one.size for one in found.files) == sum(p.stat().st_size for p in found.paths)
    assert RowFiles(paths=str(folder / "*.jsonl*")).paths == found.paths[:2]
    assert RowFiles(paths=[folder / "a.jsonl"]).files[0] == RowFile.of(folder / "a.jsonl", None)
    assert set(STREAM_FORMATS) == {*FORMATS, "xc"} - {"folder"}


def test_blocks_have_every_line_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in RowFiles(paths=folder).files:
        several = list(file.blocks())
        assert len(several) > 1 or file.form == "tsv"
        content = file.path.read_bytes()
        content = gzip.decompress(content) if file.path.suffix == ".gz" else content
        assert several[0].head + b"".join(one.text for one in several) == content
        firsts = [content[: content.index(one.text)].count(b"\n") + 1 for one in several]
        assert [one.first_line for one in several] == firsts


@pytest.mark.parametrize("hashing", [False, True])
def test_a_pass_finds_what_is_found_in_memory(folder: Path, hashing: bool) -> None:
    spec = VectorizerSpec(hashing=True, max_features=512) if hashing else COUNTED
    found = RowFiles(paths=folder)
    texts = [row for path in found.paths for row in read_texts(path)]
    streamed = StreamedRows.scan(found, spec, parsers=0, holdout=0.05)
    whole, names = (
        TextVectorizer.fit([row.text for row in texts], spec),
        LabelNames.of(r.labels for r in texts),
    )
    assert streamed.vectorizer is not None
    assert streamed.names is not None
    assert (streamed.vectorizer.terms, streamed.names.names) == (whole.terms, names.names)
    assert streamed.vectorizer.idf.tobytes() == whole.idf.tobytes()
    assert streamed.n_rows == len(texts)
    assert streamed.n_held == round(0.05 * sum(bool(row.labels) for row in texts))
    assert streamed.shape.n_rows == streamed.n_rows - streamed.n_held
    y = names.matrix([row.labels for row in texts])
    assert streamed.label_counts().tolist() == np.bincount(y.indices).tolist()
    assert streamed.n_values == whole.transform([row.text for row in texts]).nnz
    with StreamBatches(
        streamed, network(streamed.n_features, streamed.n_labels, "sigmoid"), parsers=0
    ) as source:
        trained = dense(batches(source))
    x = whole.transform([row.text for row in texts])
    held = np.hstack([streamed.held_x.toarray(), streamed.held_y.toarray()])
    every = np.hstack([x.toarray(), y.toarray()])
    assert np.array_equal(ordered(np.vstack([trained, held])), ordered(every)), "each row once"


def test_terms_are_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = StreamedRows.scan(RowFiles(paths=folder), VectorizerSpec(max_features=20), parsers=0).vectorizer
    assert few is not None
    assert few.n_features == 20
    monkeypatch.setattr(rows, "_TERMS", 100)
    cut = StreamedRows.scan(RowFiles(paths=folder), VectorizerSpec(min_df=1), parsers=0).vectorizer
    assert cut is not None
    assert cut.n_features <= 200
    frequent = set(few.terms or ())
    assert frequent <= set(cut.terms or ())


def test_parsers_and_places_to_continue_change_nothing(folder: Path) -> None:
    found, several = RowFiles(paths=folder), []
    for parsers in (0, 2):
        streamed = StreamedRows.scan(found, COUNTED, parsers=parsers)
        model = network(streamed.n_features, streamed.n_labels)
        with StreamBatches(streamed, model, 16, seed=3, window=3, parsers=parsers) as source:
            first = batches(source)
            assert len(first) == source.steps_per_epoch == -(-source.n_rows // 16)
            source.begin(1)
            second = batches(source)
            several.append((streamed.fingerprint(), first, second))
    (one, *epochs), (other, *again) = several
    assert one == other
    for before, after in zip(epochs, again, strict=True):
        assert np.array_equal(dense(before), dense(after))
    assert not np.array_equal(dense(epochs[0]), dense(epochs[1]))
    assert np.array_equal(ordered(dense(epochs[0])), ordered(dense(epochs[1])))
    with StreamBatches(streamed, model, 16, seed=3, window=3, parsers=0) as source:
        for position in range(0, len(epochs[1]) + 1, 3):
            source.restore({"epoch": 1, "position": position, "window": 3})
            left = batches(source)
            assert len(left) == len(epochs[1]) - position
            assert not left or np.array_equal(dense(left), dense(epochs[1][position:]))
            assert source.state() == {"epoch": 1, "position": len(epochs[1]), "window": 3}
        with pytest.raises(
            ArgumentError, match=r"window must be 4, as in the run that is continued \(got 3\)"
        ):
            source.restore({"epoch": 0, "position": 0, "window": 4})


def test_rows_of_features_are_streamed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((300, 12)) < 0.3) * rng.integers(1, 4, (300, 12))
    y = [sorted(set(rng.integers(0, 5, rng.integers(0, 3)).tolist())) for _ in range(300)]
    data = Dataset.of(x.astype(np.float32), y, n_labels=5)
    write_xc(tmp_path / "a.txt", data.take(slice(0, 200)))
    write_xc(tmp_path / "b.txt.gz", data.take(slice(200, 300)))
    with (tmp_path / "a.txt").open("a") as file:
        file.write("\n\n")
    streamed = StreamedRows.scan(RowFiles(paths=tmp_path), parsers=0)
    assert (streamed.n_features, streamed.n_labels, streamed.is_whole) == (12, 5, True)
    assert streamed.vectorizer is None
    model = network(12, 5, "sigmoid", weighting="idf-l2")
    with StreamBatches(streamed, model, parsers=0) as source:
        source.observe(model)
        trained = dense(batches(source))
    held = np.hstack([streamed.held_x.toarray(), streamed.held_y.toarray()])
    every = np.hstack([data.x.toarray(), data.y.toarray()])
    assert np.array_equal(ordered(np.vstack([trained, held])), ordered(every))
    other = network(12, 5, "sigmoid", weighting="idf-l2")
    other.observe(data.x)
    assert np.array_equal(model.parameters[0].weights, other.parameters[0].weights)
    (tmp_path / "b.txt.gz").unlink()
    write_xc(tmp_path / "c.txt", Dataset.of(x[:, :9].astype(np.float32), y, n_labels=5))
    with pytest.raises(
        ArgumentError, match=r"n_features must be 12, as .*a\.txt says \(got .*header says 9\)"
    ):
        RowFiles(paths=tmp_path)
    (tmp_path / "c.txt").unlink()
    with (tmp_path / "a.txt").open("a") as file:
        file.write("0 1:1\n")
    with pytest.raises(DataFormatError, match="203 samples, the header says 200"):
        StreamedRows.scan(RowFiles(paths=tmp_path), parsers=0)
    assert StreamedRows.scan(RowFiles(paths=tmp_path, trust_rows=True), parsers=0).n_rows == 203


def test_what_a_pass_found_is_kept(folder: Path, tmp_path: Path) -> None:
    names = LabelNames([f"l{i}" for i in range(10)], [f"http://x/{i}" for i in range(10)])
    streamed = StreamedRows.scan(RowFiles(paths=folder), COUNTED, names=names, parsers=0)
    assert streamed.unknown == (1, "all")
    streamed.save(tmp_path / "rows")
    loaded = StreamedRows.load(tmp_path / "rows", RowFiles(paths=folder))
    assert loaded.fingerprint() == streamed.fingerprint()
    assert repr(loaded) == repr(streamed)
    assert loaded.names is not None
    assert loaded.names.uris == names.uris
    model = network(streamed.n_features, streamed.n_labels)
    both = [batches(StreamBatches(one, model, parsers=0)) for one in (streamed, loaded)]
    assert np.array_equal(dense(both[0]), dense(both[1]))
    assert np.array_equal(loaded.held_x.toarray(), streamed.held_x.toarray())
    with pytest.raises(CheckpointError, match="other files, or with other options"):
        StreamedRows.load(tmp_path / "rows", RowFiles(paths=folder / "a.jsonl"))


def test_changed_files_are_noticed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = (folder / "a.jsonl").read_bytes()
    path.write_bytes(content)
    streamed = StreamedRows.scan(RowFiles(paths=path), COUNTED, parsers=0)
    path.write_bytes(content.replace(b"w1", b"w2"))
    source = StreamBatches(streamed, network(streamed.n_features, streamed.n_labels), parsers=0)
    with pytest.raises(CheckpointError, match=r"a\.jsonl: changed since it was scanned"):
        batches(source)


def test_bad_lines_are_named_from_any_process(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes((folder / "a.jsonl").read_bytes() + b'{"text": 1}\n')
    for parsers in (0, 1):
        with pytest.raises(DataFormatError, match=r"bad\.jsonl:151:0: the key 'text' must be a text, not 1"):
            StreamedRows.scan(RowFiles(paths=path), parsers=parsers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"paths": "none/*.jsonl"}, r"paths must be a file, a folder, or a pattern of files \(got none"),
        ({"paths": []}, r"paths must be at least one file \(got nothing\)"),
        ({"paths": 3}, r"paths must be a path, or a sequence of paths \(got 3\)"),
        ({"paths": ["a.jsonl", "a.jsonl"]}, r"paths must be each file once \(got a\.jsonl twice\)"),
        (
            {"paths": ["a.jsonl", "x.txt"]},
            r"files of texts alone, or of features alone \(got a\.jsonl \(jsonl\)",
        ),
        ({"paths": "a.jsonl", "form": "jsonlines"}, r"form must be one of jsonl, .*; did you mean 'jsonl'\?"),
        ({"paths": "odd.txt"}, r"form must be one of jsonl.* \(got a format that is not recognised"),
        ({"paths": "empty"}, r"paths must be a folder with files \.jsonl"),
    ],
)
def test_refusals(
    options: Any, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_bytes((folder / "a.jsonl").read_bytes())
    Path("x.txt").write_text("1 2 2\n0 0:1\n")
    Path("odd.txt").write_text("0:1\n")
    Path("empty").mkdir()
    with pytest.raises(ArgumentError, match=said):
        RowFiles(**options)


def test_few_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "labels": ["a"]}\n{"text": "two"}\n')
    with pytest.raises(ArgumentError, match=r"at least two rows with a label \(got 1 rows with a label\)"):
        StreamedRows.scan(RowFiles(paths=path), VectorizerSpec(min_df=1), parsers=0)


def test_held_out_rows_are_limited(
    folder: Path, texts: list[TextRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_HELD_BYTES", 4000)
    streamed = StreamedRows.scan(RowFiles(paths=folder), COUNTED, parsers=0, holdout=0.5)
    assert 3 < streamed.n_held < 20
    assert files.BLOCK_BYTES == 2000


@pytest.mark.parametrize("xc", [False, True])
@pytest.mark.parametrize("window", [2, 64])
def test_a_process_has_the_rows_of_its_parts_alone(
    folder: Path, tmp_path: Path, xc: bool, window: int
) -> None:
    if xc:
        x = np.random.default_rng(0).random((301, 12), np.float32) * np.eye(12)[np.arange(301) % 12]
        write_xc(tmp_path / "a.txt", Dataset.of(x.astype(np.float32), [[i % 5] for i in range(301)]))
        folder = tmp_path
    streamed = StreamedRows.scan(RowFiles(paths=folder), VectorizerSpec(), parsers=0)

    class One(Group):
        rank, size = 1, 4

        def gather(self, value: Any) -> list[Any]:
            return [value]

    layers = [Sparse(streamed.n_features), Dense(4), Dense(streamed.n_labels, "softmax")]
    of = {}
    for group in (None, One()):
        model = DataParallel(layers, parts=8, group=group)
        with StreamBatches(streamed, model, 30, seed=2, window=window, parsers=0) as source:
            source.restore({"epoch": 1, "position": 3, "window": window})
            of[group is None] = batches(source)
    assert len(of[True]) == len(of[False]) == -(-source.n_rows // 30) - 3
    assert source.n_rows % 30
    for whole, own in zip(of[True], of[False], strict=True):
        n = whole.y.shape[0]
        first, last = 2 * n // 8, 4 * n // 8
        for name in "xy":
            wanted, found = getattr(whole, name), getattr(own, name)
            assert found.shape == wanted.shape
            assert np.array_equal(found[first:last].toarray(), wanted[first:last].toarray())
            assert found.nnz == found[first:last].nnz
            assert found.nnz > 0 or n < 30


def test_processes_that_stream_their_parts_have_the_bits_of_one(folder: Path) -> None:
    streamed = StreamedRows.scan(RowFiles(paths=folder), VectorizerSpec(), parsers=0)
    values, barrier, results = [None, None], threading.Barrier(2), {}

    class Two(Group):
        size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gather(self, value: Any) -> list[Any]:
            values[self.rank] = value
            barrier.wait(60)
            found = list(values)
            barrier.wait(60)
            return found

    def trained(name: str, group: Group | None) -> None:
        layers = [Sparse(streamed.n_features), Dense(4, dropout=0.2), Dense(streamed.n_labels, "softmax")]
        model = DataParallel(layers, 3, parts=4, group=group)
        with StreamBatches(streamed, model, 30, window=3, parsers=0) as source:
            Trainer(model, batch_size=30, epochs=2, threads=1).fit(source)
        results[name] = [p.weights.tobytes() for p in model.parameters]

    trained("alone", None)
    threads = [threading.Thread(target=trained, args=(f"{i}", Two(i))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["0"] == results["1"] == results["alone"]
