"""Readers and writers of sparse multi-label data, streams of batches, a demo data set, and a baseline."""

from lshsample.data.baselines import cosine_knn
from lshsample.data.dataset import Dataset
from lshsample.data.demo import Demo, load_demo
from lshsample.data.libsvm import read_libsvm
from lshsample.data.load import detect_format, load, read_rows
from lshsample.data.matrix import read_matrix
from lshsample.data.npz import read_npz, write_npz
from lshsample.data.stream import stream_xc
from lshsample.data.tfidf import Tfidf
from lshsample.data.write import write_predictions, write_xc
from lshsample.data.xc import read_xc
from lshsample.files import atomic_file

__all__ = [
    "Dataset",
    "Demo",
    "Tfidf",
    "atomic_file",
    "cosine_knn",
    "detect_format",
    "load",
    "load_demo",
    "read_libsvm",
    "read_matrix",
    "read_npz",
    "read_rows",
    "read_xc",
    "stream_xc",
    "write_npz",
    "write_predictions",
    "write_xc",
]
