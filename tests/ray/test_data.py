"""Rows and texts of Ray Data are those of memory, in the same order."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, write_xc
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.ray import dataset_files, dataset_rows, dataset_texts
from lshsample.streams import RowFiles, StreamBatches, StreamedRows, files
from lshsample.text import VectorizerSpec
from lshsample.training import Trainer

N_FEATURES, N_LABELS = 30, 20


class InBlocks:
    """A dataset with the interface of Ray's, whose blocks come in another order than their rows."""

    def __init__(self, rows, columns=None):
        self.rows, self.names = rows, list(rows[0]) if columns is None else columns
        self.context = SimpleNamespace(execution_options=SimpleNamespace(preserve_order=False))

    def columns(self):
        return self.names

    def iter_batches(self, *, batch_size, batch_format):
        assert batch_format == "numpy"
        starts = range(0, len(self.rows), 10)
        if not self.context.execution_options.preserve_order:
            starts = sorted(starts, key=lambda start: start != 20)
        for start in starts:
            several = self.rows[start : start + 10]
            if several:
                yield {name: column([row[name] for row in several]) for name in self.names}


def column(values):
    """An array of numbers, or of objects where rows differ in length, as Ray returns it."""
    if not isinstance(values[0], list | np.ndarray):
        return np.array(values)
    out = np.empty(len(values), object)
    out[:] = [np.array(value) if isinstance(value, list) else value for value in values]
    return out


def made(dense=False):
    rng = np.random.default_rng(0)
    x = sp.random_array((37, N_FEATURES), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = sp.csr_array(sp.random_array((37, N_LABELS), density=0.1, rng=rng, format="csr") != 0)
    rows = []
    for i in range(37):
        a, b, c, d = x.indptr[i], x.indptr[i + 1], y.indptr[i], y.indptr[i + 1]
        features = {"x": x[[i]].toarray()[0]} if dense else {"ids": x.indices[a:b], "values": x.data[a:b]}
        rows.append({"row": i, "labels": y.indices[c:d].tolist(), **features})
    return Dataset(x, y), rows


def same(found, wanted):
    for one, other in ((found.x, wanted.x), (found.y, wanted.y)):
        assert one.shape == other.shape
        for name in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("dense", [False, True])
def test_rows_are_in_the_order_of_their_numbers(dense):
    wanted, rows = made(dense)
    same(dataset_rows(InBlocks(rows), N_FEATURES, N_LABELS), wanted)


def test_what_occurs_twice_is_added():
    row = {"row": 0, "labels": [3, 1, 3], "ids": [4, 2, 4], "values": [1.0, 0.5, 2.0]}
    found = dataset_rows(InBlocks([row]), 5, 4)
    assert found.x.toarray().tolist() == [[0, 0, 0.5, 0, 3]]
    assert found.y.toarray().tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "a text in each row .*None in column text"),
        ({"labels": "cats"}, "a list of names in each row, which may be empty .*'cats' in column labels"),
        (
            {"labels": ["a", None]},
            "a list of names in each row, which may be empty .*None.* in column",
        ),
        ({"labels": None}, "a list of names in each row, which may be empty .*None in column labels"),
    ],
    ids=str,
)
def test_bad_texts_are_refused(change, message):
    """A text is not a list of labels of one letter each."""
    rows = [{"row": i, "text": f"text {i}", "labels": ["all"]} for i in range(5)]
    rows[3] = rows[3] | change
    with pytest.raises(ArgumentError, match=message):
        dataset_texts(InBlocks(rows))
    with pytest.raises(ArgumentError, match=message):
        StreamedRows.scan(dataset_files(InBlocks(rows)), parsers=0)


def test_texts_are_in_the_order_of_their_numbers():
    rows = [{"row": i, "text": f"text {i}", "labels": [f"label {i % 3}", "all"]} for i in range(35)]
    texts, labels = dataset_texts(InBlocks(rows))
    assert texts == [row["text"] for row in rows]
    assert labels == [row["labels"] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 5}, "each integer from 0 to 36 once in column row"),
        ({"row": 0.5}, "each integer from 0 to 36 once in column row"),
        ({"labels": [N_LABELS]}, r"integers from 0 to 19 in column labels \(got 20\)"),
        ({"ids": [-1], "values": [1.0]}, r"integers from 0 to 29 in column ids \(got -1\)"),
        ({"ids": [1], "values": [1.0, 2.0]}, "as many in each row"),
        ({"ids": [1.5], "values": [1.0]}, "a list of numbers in each row"),
        ({"ids": [1], "values": [float("nan")]}, "finite"),
    ],
    ids=str,
)
def test_bad_rows_are_refused(change, message):
    _, rows = made()
    rows[3] = rows[3] | change
    with pytest.raises(ArgumentError, match=message):
        dataset_rows(InBlocks(rows), N_FEATURES, N_LABELS)


def test_bad_datasets_are_refused():
    _, rows = made()
    for dataset, message in (
        (rows, "dataset must be a ray.data.Dataset"),
        (InBlocks(rows, ["row", "ids", "values"]), "one with a column labels"),
        (InBlocks(rows, ["row", "labels", "ids"]), "one with a column values"),
        (InBlocks([], ["row", "labels", "x"]), "at least one row"),
    ):
        with pytest.raises(ArgumentError, match=message):
            dataset_rows(dataset, N_FEATURES, N_LABELS)
    with pytest.raises(ArgumentError, match=r"29 .*|30 values in a row of column x"):
        dataset_rows(InBlocks(made(dense=True)[1]), N_FEATURES - 1, N_LABELS)


def batches_of(paths, network, **options):
    """What a pass found, all batches of two epochs, and those after a place that is restored."""
    rows = StreamedRows.scan(paths, VectorizerSpec(), parsers=0)
    found = [rows.held_x, rows.held_y]
    with StreamBatches(rows, network(rows), 8, seed=3, window=2, parsers=0, **options) as source:
        source.restore({"epoch": 1, "position": 2, "window": 2})
        for _ in range(2):
            while (batch := source.next_batch()) is not None:
                found += [batch.x, batch.y]
            source.begin(2)
    return rows.fingerprint(), [
        array.tobytes() for one in found for array in (one.indptr, one.indices, one.data)
    ]


def of_rows(rows):
    return Network([Sparse(rows.n_features), Dense(4), Sampled(rows.n_labels, sampler="full")])


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("numbers", [True, False])
def test_streamed_rows_are_those_of_a_file(dense, numbers, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 300)
    data, rows = made(dense)
    write_xc(tmp_path / "rows.txt", data)
    if not numbers:
        for row in rows:
            del row["row"]
    found = dataset_files(InBlocks(rows), N_FEATURES, N_LABELS)
    assert list(found.files[0].blocks())[1].first_line > 2
    wanted = batches_of(RowFiles(paths=tmp_path), of_rows)
    assert batches_of(found, of_rows) == wanted


def test_streamed_texts_are_those_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 300)
    rows = [
        {"row": i, "text": f"Text\n\u2028 \u00e9 w{i % 7} w{i % 5}", "labels": [f"label {i % 3}"][: i % 4]}
        for i in range(35)
    ]
    lines = [json.dumps({"text": row["text"], "labels": row["labels"]}, ensure_ascii=False) for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))
    wanted = batches_of(RowFiles(paths=tmp_path), of_rows)
    assert batches_of(dataset_files(InBlocks(rows)), of_rows) == wanted


def test_a_streamed_dataset_is_trained_on_and_kept(tmp_path):
    found = dataset_files(InBlocks(made()[1]), N_FEATURES, N_LABELS)
    rows = StreamedRows.scan(found, parsers=0)
    rows.save(tmp_path)
    again = StreamedRows.load(tmp_path, found)
    assert again.fingerprint() == rows.fingerprint()
    with pytest.raises(CheckpointError, match="scanned from other files"):
        StreamedRows.load(tmp_path, dataset_files(InBlocks(made()[1]), N_FEATURES, N_LABELS + 1))
    network = of_rows(again)
    with StreamBatches(again, network, 8, parsers=0) as source:
        assert Trainer(network, batch_size=8, epochs=2, threads=1).fit(source).steps > 0


def test_bad_streams_are_refused():
    _, rows = made()
    texts = [{"text": "a", "labels": ["b"]}]
    for dataset, shape, message in (
        (rows, (1, 1), "dataset must be a ray.data.Dataset"),
        (InBlocks(rows, ["row", "ids", "values"]), (1, 1), "one with a column labels"),
        (InBlocks(rows, ["labels", "ids"]), (1, 1), "one with a column values"),
        (InBlocks(rows), (None, 5), "n_features must be an integer"),
        (InBlocks(texts), (5, None), "n_features and n_labels must be left out"),
    ):
        with pytest.raises(ArgumentError, match=message):
            dataset_files(dataset, *shape)
    for wrong, given in ((0.0, r"0\.0"), ("0", "'0'")):
        numbered = [row | {"row": type(wrong)(i)} for i, row in enumerate(rows)]
        with pytest.raises(ArgumentError, match=rf"in the order of column row.*\(got row {given} after 0"):
            StreamedRows.scan(dataset_files(InBlocks(numbered), N_FEATURES, N_LABELS), parsers=0)
    swapped = [rows[1], rows[0], *rows[2:]]
    with pytest.raises(ArgumentError, match=r"in the order of column row.*\(got row 1 after 0 others\)"):
        StreamedRows.scan(dataset_files(InBlocks(swapped), N_FEATURES, N_LABELS), parsers=0)
