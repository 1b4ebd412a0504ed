"""How results show themselves: numbers as text, and small HTML tables in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SHOWN_ROWS", "array_text", "few_ids", "html_table", "span"]

#: Rows of a result that a table shows.
SHOWN_ROWS = 5
_SHOWN_IDS = 8


def span(values: npt.ArrayLike, form: str = ",.4g") -> str:
    """The smallest and the largest value, or the only one; "-" without values.

    Examples
    --------
    >>> span([0.25, 1.0]), span([3, 3]), span([])
    ('0.25 to 1', '3', '-')
    """
    array = np.asarray(values)
    if not array.size:
        return "-"
    low, high = (format(end, form) for end in (array.min(), array.max()))
    return low if low == high else f"{low} to {high}"


def array_text(value: Any) -> str:
    """An array, dense or sparse, by its dtype and shape; other values by their repr.

    Examples
    --------
    >>> array_text(np.zeros((2, 3), np.float32)), array_text(None)
    ('float32 (2, 3)', 'None')
    """
    if not hasattr(value, "shape"):
        return repr(value)
    kind = f"{type(value).__name__} " if hasattr(value, "nnz") else ""
    return f"{kind}{value.dtype} {value.shape}"


def few_ids(ids: Sequence[int] | npt.NDArray[np.int32]) -> str:
    """The first ids as text.

    Examples
    --------
    >>> few_ids(range(100, 200))
    '100, 101, 102, 103, 104, 105, 106, 107, ...'
    """
    shown = ", ".join(str(each) for each in ids[:_SHOWN_IDS])
    return f"{shown}, ..." if len(ids) > _SHOWN_IDS else shown


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]], *, total: int = 0) -> str:
    """A table in HTML with all text escaped, for ``_repr_html_``.

    Parameters
    ----------
    title : str
        The caption.
    header : sequence of str
        The names of the columns.
    rows : iterable of sequences
        The cells.
    total : int
        The number of rows of the whole result; if it is larger, a last line says how many are not shown.

    Examples
    --------
    >>> html_table("a < b", ["x"], [[1]])
    '<table><caption>a &lt; b</caption><thead><tr><th>x</th></tr></thead><tbody><tr><td>1</td></tr></tbody>...
    """
    shown = [list(map(str, row)) for row in rows]
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in shown)
    if total > len(shown):
        body += f'<tr><td colspan="{len(header)}">{total - len(shown):,} more rows</td></tr>'
    caption, top = f"<caption>{escape(title)}</caption>", f"<thead><tr>{head}</tr></thead>"
    return f"<table>{caption}{top}<tbody>{body}</tbody></table>"
