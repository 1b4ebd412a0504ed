"""Rows of files that need not fit into memory: read in blocks, parsed in parallel, shuffled in a window."""

from __future__ import annotations

from lshsample.streams.batches import StreamBatches
from lshsample.streams.files import STREAM_FORMATS, RowFile, RowFiles
from lshsample.streams.rows import StreamedRows

__all__ = ["STREAM_FORMATS", "RowFile", "RowFiles", "StreamBatches", "StreamedRows"]
