"""Losses over active sets: the loss of each row; logits are overwritten with gradients.

With ``log_inclusion`` (the log of each active label's inclusion probability) the sums over the active set
estimate the sums over all labels: importance weights as in Bengio & Senecal 2008, "Adaptive importance
sampling to accelerate training of a neural probabilistic language model". Gradients are not divided by the
number of rows.

A loss is one of :data:`LOSSES`:

- ``"softmax"``: ``-sum_j t_j log p_j`` with ``p_j = exp(o_j - log_inclusion_j) / Z``; the gradient is
  ``T p - t``, T being the sum of the row's targets: ``p - t`` where targets sum to 1, and 0 in a row without
  labels.
- ``"sigmoid"``: one-vs-all, ``sum_j w_j (c_j log(1 + exp(o_j)) - t_j o_j)`` with weights ``w_j =
  exp(-log_inclusion_j)`` (1 without) and ``c_j = max(t_j, 1)``: a target above 1 is a label that counts
  ``t_j`` times; the gradient is ``w_j (c_j sigmoid(o_j) - t_j)``.

Label smoothing spreads a share of a row's targets evenly over all labels: with their sum M over N labels,
``t_j`` becomes ``(1 - share) t_j``, and each active label's target grows by ``w_j share M / N``, so that sums
of targets over the active set are unbiased estimates of those over all labels.

:func:`apply` does this in one call. If a row's labels are divided into parts, each part is summarised
(:func:`summarise`), the sums of all parts are combined in their order (:func:`combine`), and each part is
finished with them (:func:`finish`). One part gives the same bits as :func:`apply`.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.arrays import Float32, Int32, Int64, csr_pattern, matrix, vector, whole
from lshsample._native.core import check, ffi, lib, pointer, threads_or_default
from lshsample.errors import ArgumentError, did_you_mean

__all__ = ["LOSSES", "LogitsView", "apply", "combine", "finish", "summarise"]

Float64 = npt.NDArray[np.float64]
Targets = tuple[Int64, Int32, Float32]
#: The share that is spread, and N; N = 0 for the number of active labels.
Smoothing = tuple[float, int]
_NO_SMOOTHING = (0.0, 0)

#: The losses of the C core by their names, those of its enumeration.
LOSSES: dict[str, int] = {
    name.removeprefix("LSH_LOSS_").lower(): value
    for value, name in sorted(ffi.typeof("lsh_loss").elements.items())
}
#: Sums that are kept of a row.
N_SUMS = ffi.sizeof("lsh_loss_sums") // 8


@attrs.frozen(eq=False)
class LogitsView:
    """An ``lsh_logits`` with the arrays that it points to.

    Attributes
    ----------
    view : lsh_logits *
        The struct for the C core.
    arrays : tuple
        The arrays, which must outlive the view.
    """

    view: Any
    arrays: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        values: Float32,
        targets: Targets,
        log_inclusion: Float32 | None = None,
        indptr: Int64 | None = None,
        smoothing: Smoothing = _NO_SMOOTHING,
    ) -> LogitsView:
        """A view of arrays whose shapes are known to match: nothing is checked."""
        if indptr is None:
            rows, columns = values.shape
            shape = rows, columns, values.strides[0] // 4 if rows > 1 else columns
            starts = ffi.NULL
        else:
            shape, starts = (indptr.size - 1, 0, 0), ffi.from_buffer("int64_t *", indptr)
        contiguous = values.flags.c_contiguous
        start = ffi.from_buffer("float *", values) if contiguous else pointer("float *", values)
        inclusion = ffi.NULL if log_inclusion is None else ffi.from_buffer("float *", log_inclusion)
        aimed = (
            ffi.from_buffer("int64_t *", targets[0]),
            ffi.from_buffer("int32_t *", targets[1]),
            ffi.from_buffer("float *", targets[2]),
        )
        view = ffi.new("lsh_logits *", (start, starts, *shape, inclusion, aimed, smoothing))
        return cls(view, (values, targets, log_inclusion, indptr))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.view.rows)

    def apply(self, loss: int, threads: int) -> Float32:
        """The losses of the rows; the logits become their gradient."""
        losses = np.empty(self.view.rows, np.float32)
        status = lib.lsh_loss_apply(loss, self.view[0], ffi.from_buffer("float *", losses), threads)
        if status:
            check(status, "loss")
        return losses

    def apply_layer(self, loss: int, layer: Any, threads: int) -> Float32:
        """As :meth:`apply`, for the logits of a ``lsh_sampled_layer *``, which are computed here."""
        losses = np.empty(self.view.rows, np.float32)
        status = lib.lsh_loss_sampled(loss, self.view[0], layer, ffi.from_buffer("float *", losses), threads)
        if status:
            check(status, "loss")
        return losses

    def summarise(self, loss: int, threads: int) -> Float64:
        """The sums of the rows, (rows, 7)."""
        sums = np.empty((self.rows, N_SUMS), np.float64)
        check(lib.lsh_loss_summarise(loss, self.view[0], _sums(sums), threads), "loss")
        return sums

    def finish(self, loss: int, part: Float64, total: Float64, threads: int) -> None:
        """Complete the gradient."""
        check(lib.lsh_loss_finish(loss, self.view[0], _sums(part), _sums(total), threads), "loss")


def _sums(array: Float64) -> Any:
    return ffi.from_buffer("lsh_loss_sums *", array)


def _kind(loss: str) -> int:
    if loss not in LOSSES:
        raise ArgumentError("loss", repr(loss), f"one of {', '.join(LOSSES)}{did_you_mean(loss, LOSSES)}")
    return int(LOSSES[loss])


def _checked_smoothing(smoothing: Smoothing) -> Smoothing:
    share, labels = smoothing
    if not 0 <= share < 1 or labels < 0:
        raise ArgumentError("smoothing", smoothing, "a share in [0, 1), and a number of labels of at least 0")
    return smoothing


def _checked(
    values: Float32,
    targets: Targets,
    log_inclusion: Float32 | None,
    indptr: Int64 | None,
    smoothing: Smoothing,
) -> LogitsView:
    """A view of logits, all of whose targets lie inside of their rows."""
    lengths: int | Int64
    if indptr is None:
        matrix(values, "values")
        (rows, lengths), weights = values.shape, values.shape[1]
    else:
        vector(values, "values", np.float32)
        csr_pattern(indptr, "indptr", None, values.size)
        rows, lengths, weights = indptr.size - 1, np.diff(indptr), values.size
    if not values.flags.writeable:
        raise ArgumentError("values", "a read-only array", "a writable array")
    _check_targets(rows, lengths, *targets)
    if log_inclusion is not None:
        vector(log_inclusion, "log_inclusion", np.float32, weights)
    return LogitsView.of(values, targets, log_inclusion, indptr, _checked_smoothing(smoothing))


def _check_targets(rows: int, lengths: int | Int64, indptr: Int64, positions: Int32, values: Float32) -> None:
    vector(values, "target_values", np.float32)
    vector(positions, "target_positions", np.int32, values.size)
    csr_pattern(indptr, "target_indptr", rows, values.size)
    limits = lengths if isinstance(lengths, int) else np.repeat(lengths, np.diff(indptr))
    outside = (positions < 0) | (positions >= limits)
    if outside.any():
        bad = int(np.flatnonzero(outside)[0])
        raise ArgumentError(
            "target_positions", f"{positions[bad]} at {bad}", "positions in the row's active set"
        )


def apply(
    loss: str,
    values: Float32,
    targets: Targets,
    log_inclusion: Float32 | None = None,
    *,
    indptr: Int64 | None = None,
    smoothing: Smoothing = _NO_SMOOTHING,
    threads: int | None = None,
) -> Float32:
    """The loss of each row; ``values`` becomes the gradient.

    Parameters
    ----------
    loss : str
        One of :data:`LOSSES`.
    values : (m, n) float32, or (nnz,) float32 with ``indptr``
        Logits, overwritten with the gradient.
    targets : tuple of (m + 1,) int64, (t,) int32 and (t,) float32 arrays
        Row i has the targets from ``targets[0][i]`` to ``targets[0][i + 1]``: their positions, counted from
        the row's first logit and unique in a row, and their values, such as 1 / the row's number of labels.
    log_inclusion : (n,) float32, or (nnz,) float32 with ``indptr``, or None
        Log inclusion probabilities of the columns, or of the values; None means all 0.
    indptr : (m + 1,) int64 or None
        Row i's active set is ``values[indptr[i] : indptr[i + 1]]``; None for a set that all rows share.
    smoothing : (share, labels)
        Share of each row's targets that is spread evenly, in [0, 1), and over how many labels: with
        ``log_inclusion``, those of which the active ones are a sample; 0 for the active ones.
    threads : int or None

    Returns
    -------
    (m,) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or a position outside of its row; the logits are then unchanged.

    Notes
    -----
    One exp per logit, within 1.5 units in the last place; three passes over a row that stays in cache.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import loss
    >>> logits = np.zeros((1, 2), np.float32)
    >>> label = np.array([0, 1]), np.array([1], np.int32), np.array([1], np.float32)
    >>> loss.apply("softmax", logits, label)
    array([0.6931472], dtype=float32)
    >>> logits
    array([[ 0.5, -0.5]], dtype=float32)
    """
    n_threads = threads_or_default(threads)
    return _checked(values, targets, log_inclusion, indptr, smoothing).apply(_kind(loss), n_threads)


def summarise(
    loss: str,
    values: Float32,
    targets: Targets,
    log_inclusion: Float32 | None = None,
    *,
    indptr: Int64 | None = None,
    smoothing: Smoothing = _NO_SMOOTHING,
    threads: int | None = None,
) -> Float64:
    """What one part of the rows contributes to their losses; ``values`` becomes half of the gradient.

    Parameters
    ----------
    loss, values, log_inclusion, indptr, smoothing, threads
        As :func:`apply`'s, of the part alone. A part may be empty.
    targets
        As :func:`apply`'s, of the labels that lie in the part.

    Returns
    -------
    (m, 7) float64
        The largest logit, and the sums that a loss needs: of exponentials (of the loss at no label, for the
        sigmoid), of targets, of their agreement with the logits, and, with smoothing, of weights and of
        weighted logits; last the number of labels that smoothing spreads over.
    """
    n_threads = threads_or_default(threads)
    return _checked(values, targets, log_inclusion, indptr, smoothing).summarise(_kind(loss), n_threads)


def combine(loss: str, parts: Float64, share: float = 0.0) -> tuple[Float64, Float32]:
    """The sums of whole rows, and their losses, from those of their parts.

    Parameters
    ----------
    loss : str
        One of :data:`LOSSES`.
    parts : (p, m, 7) float64
        What :func:`summarise` returned for each of p parts; they are added in this order.
    share : float
        The share of :func:`apply`'s ``smoothing``.

    Returns
    -------
    total : (m, 7) float64
    losses : (m,) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.
    """
    parts = _checked_sums(parts, "parts", 3)
    _checked_smoothing((share, 0))
    total, losses = np.empty(parts.shape[1:], np.float64), np.empty(parts.shape[1], np.float32)
    status = lib.lsh_loss_combine(
        _kind(loss), share, _sums(parts), len(parts), len(total), _sums(total), pointer("float *", losses)
    )
    check(status, "loss")
    return total, losses


def finish(
    loss: str,
    values: Float32,
    targets: Targets,
    part: Float64,
    total: Float64,
    log_inclusion: Float32 | None = None,
    *,
    indptr: Int64 | None = None,
    smoothing: Smoothing = _NO_SMOOTHING,
    threads: int | None = None,
) -> None:
    """Complete a part's gradient in ``values``, from its own sums and those of whole rows.

    Parameters
    ----------
    loss, values, targets, log_inclusion, indptr, smoothing, threads
        As :func:`summarise`'s, which has changed the values.
    part, total : (m, 7) float64
        What :func:`summarise` returned for this part, and :func:`combine` for all.
    """
    n_threads = threads_or_default(threads)
    view = _checked(values, targets, log_inclusion, indptr, smoothing)
    part, total = (_checked_sums(sums, name, 2) for sums, name in ((part, "part"), (total, "total")))
    for name, sums in (("part", part), ("total", total)):
        if len(sums) != view.rows:
            wanted = f"an array of {view.rows} rows, as many as the logits"
            raise ArgumentError(name, f"{len(sums)} rows", wanted)
    view.finish(_kind(loss), part, total, n_threads)


def _checked_sums(sums: Float64, argument: str, ndim: int) -> Float64:
    right = isinstance(sums, np.ndarray) and sums.dtype == np.float64 and sums.ndim == ndim
    if not right or sums.shape[-1] != N_SUMS:
        given = f"{sums.dtype} of shape {sums.shape}" if isinstance(sums, np.ndarray) else type(sums).__name__
        raise ArgumentError(argument, given, f"a {ndim}-D float64 array with {N_SUMS} columns")
    whole(sums, argument)
    return sums
