"""Data: readers and writers of sparse multi-label samples, streams of batches, a demo set, and a baseline."""

from lshsample.data.atomic import atomic_file
from lshsample.data.dataset import Dataset
from lshsample.data.libsvm import read_libsvm
from lshsample.data.load import detect_format, load
from lshsample.data.npz import read_npz, write_npz
from lshsample.data.stream import stream_xc
from lshsample.data.write import write_predictions, write_xc
from lshsample.data.xc import read_xc

__all__ = [
    "Dataset",
    "atomic_file",
    "detect_format",
    "load",
    "read_libsvm",
    "read_npz",
    "read_xc",
    "stream_xc",
    "write_npz",
    "write_predictions",
    "write_xc",
]
