"""Compressed files, pipes, standard input, and files of strange lines, read in linear time."""

import bz2
import gzip
import io
import lzma
import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, detect_format, load, read_libsvm, read_xc, source, stream_xc, write_npz
from lshsample.data.source import LineSource
from lshsample.errors import DataFormatError

XC = b"3 4 3\n0,2 1:0.5 3:1\n1 0:2\n\n"


def zstd(data):
    module = pytest.importorskip("backports.zstd", reason="zstd needs it before Python 3.14")
    return module.compress(data, options={module.CompressionParameter.checksum_flag: 1})


COMPRESSIONS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_text(tmp_path, name):
    """One member or several, with or without padding; what is damaged or cut is refused by name."""
    compress, path = COMPRESSIONS[name], tmp_path / "data"
    whole = compress(XC)
    for content in (whole, compress(XC[:9]) + compress(XC[9:]), whole + bytes(700)):
        path.write_bytes(content)
        assert detect_format(path) == "xc"
        assert load(path).x.toarray().tolist() == [[0, 0.5, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0]]
    path.write_bytes(compress(b"# c\n1 2:3\n"))
    assert read_libsvm(path).x.indices.tolist() == [1]
    for cut in range(6, len(whole) - 1, 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataFormatError, match=f"the {name} stream is (truncated|damaged)"):
            load(path)
    damaged = bytearray(whole)
    damaged[-6] ^= 255
    damaged[len(whole) // 2] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(DataFormatError, match=f"the {name} stream is"):
        load(path)


def test_large_compressed_text_needs_little_memory(tmp_path, monkeypatch):
    """A piece at a time, however much a few bytes become."""
    monkeypatch.setattr(source, "MAX_LINE", 2**22)
    for name, compress in COMPRESSIONS.items():
        path = tmp_path / name
        path.write_bytes(compress(b"1 2:3\n" + b"\n" * 2**25))
        sizes = [len(piece) for piece in LineSource(path)._read()]
        assert sum(sizes) == 2**25 + 6
        assert max(sizes) <= 2**20
        with pytest.raises(DataFormatError, match="no sample ends within"):
            load(path)


class TestPipes:
    def fifo(self, tmp_path, content):
        """A pipe that another thread writes to, in small pieces."""
        path = tmp_path / "pipe"
        os.mkfifo(path)

        def write():
            with path.open("wb", buffering=0) as file:
                for begin in range(0, len(content), 7):
                    file.write(content[begin : begin + 7])

        threading.Thread(target=write, daemon=True).start()
        return path

    @pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
    def test_load(self, tmp_path, compress):
        assert load(self.fifo(tmp_path, compress(XC))).x.nnz == 3

    def test_stream(self, tmp_path):
        assert [batch.n_rows for batch in stream_xc(self.fifo(tmp_path, XC), 2)] == [2, 1]

    def test_arrays(self, tmp_path):
        file = io.BytesIO()
        np.save(file, np.eye(3))
        assert load(self.fifo(tmp_path, file.getvalue())).x.shape == (3, 3)

    def test_archives_are_refused(self, tmp_path):
        write_npz(tmp_path / "a", Dataset.of(np.eye(3), np.eye(3)))
        with pytest.raises(DataFormatError, match=r"npz cannot be read from a pipe"):
            load(self.fifo(tmp_path, (tmp_path / "a").read_bytes()))

    def test_standard_input(self, monkeypatch):
        for read in (load, read_xc):
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(XC)))
            assert read("-").x.nnz == 3
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"1 x:3\n")))
        with pytest.raises(DataFormatError, match=r"^-:1:3: "):
            load("-")

    def test_errors_name_the_pipe(self, tmp_path):
        with pytest.raises(DataFormatError, match=r"pipe:2:3: "):
            load(self.fifo(tmp_path, b"1 2 2\n1 x:3\n"))


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"1", b" "], ids=["empty", "crlf", "endless", "blank"])
@pytest.mark.parametrize("begin", [b"1 2:3\n", b"2 9 9\n1 2:3\n"], ids=["libsvm", "xc"])
def test_time_is_linear(tmp_path, monkeypatch, line, begin):
    """Many empty lines and one endless line: four times the bytes take about four times as long."""
    monkeypatch.setattr(source, "_CHUNK", 2**14)  # many pieces
    seconds = []
    for size in (2**22, 2**24):
        path = tmp_path / "data"
        path.write_bytes(begin + line * (size // len(line)))
        began = time.process_time()
        blocks = sum(1 for _ in LineSource(path).blocks(2**16))
        seconds.append(time.process_time() - began)
        assert blocks <= 2
    assert seconds[1] < 10 * seconds[0] + 0.1


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_blocks_are_the_lines(tmp_path, monkeypatch, chunk):
    """Whatever the pieces that a file comes in: all lines, in order, without empty ones at the end."""
    monkeypatch.setattr(source, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    for _ in range(60):
        text = b"".join(rng.choice([b"a", b"\n", b"\r\n", b"bc"], rng.integers(1, 30)))
        path = tmp_path / "data"
        path.write_bytes(text)
        lines = LineSource(path)
        blocks = list(lines.blocks(int(rng.integers(1, 20))))
        found = b"".join(block.text for block in blocks)
        assert text.startswith(found)
        assert not text[len(found) :].strip(b"\r\n")
        assert lines.trailing_lines == text[len(found) :].count(b"\n")
        number = 1
        for block in blocks:
            assert block.first_line == number
            assert block is blocks[-1] or block.text.endswith(b"\n")
            assert block.text.strip(b"\r\n")
            number += block.text.count(b"\n")


def test_the_largest_header_gives_the_right_shape(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"1 2147483647 2147483647\n7 5:1 2147483646:2\n")
    data = read_xc(path)
    assert (data.x.shape, data.y.shape) == ((1, 2**31 - 1), (1, 2**31 - 1))
    assert data.x.indices.tolist() == [5, 2**31 - 2]
    path.write_bytes(b"7 5:1\n")
    assert read_libsvm(path, n_features=2**31 - 1, n_labels=2**31 - 1).x.shape == (1, 2**31 - 1)
    path.write_bytes(b"1 2147483648 3\n7 5:1\n")
    with pytest.raises(DataFormatError, match="too many features"):
        read_xc(path)


class TestTwoFiles:
    X, Y = np.array([[0, 0.5, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0]]), np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])

    def write(self, path, matrix, form):
        if form == "text":
            rows = [" ".join(f"{i}:{v:g}" for i, v in enumerate(row) if v) for row in matrix]
            path.write_text(f"{len(matrix)} {matrix.shape[1]}\n" + "".join(f"{row}\n" for row in rows))
        elif form == "npy":
            with path.open("wb") as file:
                np.save(file, matrix)
        else:
            with path.open("wb") as file:
                sp.save_npz(file, sp.coo_array(matrix).asformat(form))
        return path

    @pytest.mark.parametrize("form", ["text", "npy", "csr", "csc", "coo"])
    def test_features_and_labels(self, tmp_path, form):
        x, y = self.write(tmp_path / "x", self.X, form), self.write(tmp_path / "y", self.Y, form)
        data = load(x, labels=y)
        assert data.x.toarray().tolist() == self.X.tolist()
        assert data.y.toarray().tolist() == self.Y.tolist()
        assert load(x).y.shape == (3, 0)
        for bad, problem in ((self.Y[:2], "labels must be a matrix of 3 rows"), (2 * self.Y, "the value 2")):
            with pytest.raises(DataFormatError, match=f"y:0:0: .*{problem}"):
                load(x, labels=self.write(tmp_path / "y", bad, form))
        x.write_bytes(x.read_bytes()[:-30])
        with pytest.raises(DataFormatError, match=r"x:\d+:\d+: "):
            load(x)

    def test_other_files_are_refused(self, tmp_path):
        path = tmp_path / "x"
        for form, problem in (("bsr", "format 'bsr'"), ("dia", "format 'dia'")):
            with pytest.raises(DataFormatError, match=problem):
                load(self.write(path, np.eye(4), form))
        for array in (np.ones(3), np.ones((2, 2), complex), np.full((2, 2), np.nan), np.full((2, 2), 1e300)):
            with pytest.raises(DataFormatError, match="x:0:0: the array must be"):
                load(self.write(path, array, "npy"))
        np.save(tmp_path / "o.npy", np.array([[None]]), allow_pickle=True)
        with pytest.raises(DataFormatError, match="objects"):
            load(tmp_path / "o.npy")
        path.write_bytes(XC)
        with pytest.raises(DataFormatError, match="format xc, not one matrix"):
            load(self.write(tmp_path / "m", self.X, "text"), labels=path)
        with pytest.raises(ValueError, match="labels must be left out"):
            load(path, labels=path)
