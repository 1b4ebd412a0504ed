"""Reference implementations of the C core's kernels, in NumPy and float64: the oracles of their tests.

Written for readability, not for speed. Each has the arguments of the kernel, computes in float64, and returns
float64; nothing is changed in place. The functions of losses return (loss, gradient).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "adagrad_rows",
    "adam_rows",
    "bfloat16_bits",
    "bfloat16_values",
    "csr_matmul",
    "csr_sampled_matmul",
    "csr_transpose_matmul",
    "dropout_mask",
    "matmul_nn",
    "matmul_nt",
    "matmul_tn",
    "philox",
    "sgd_rows",
    "sigmoid",
    "sigmoid_ragged",
    "small_codes",
    "small_values",
    "softmax",
    "softmax_ragged",
    "top_k",
    "top_k_ragged",
]

Float64 = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def _double(x: Any) -> Float64:
    return np.asarray(x, dtype=np.float64)


def philox(seed: int, purpose: int, stream: int, step: int, index: int) -> tuple[int, int, int, int]:
    """One draw of Philox4x32-10 (Salmon et al., SC 2011) as ``lsh_philox`` keys it, in plain integers."""
    word = 0xFFFFFFFF
    c = [index, stream, step & word, purpose ^ ((step >> 32) << 8 & word)]
    k = [seed & word, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & word, (p >> 32) ^ c[3] ^ k[1], p & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return c[0], c[1], c[2], c[3]


def bfloat16_values(bits: npt.NDArray[np.uint16]) -> Float64:
    """The values of bfloat16 bits: those of a float32 whose lower half is zero."""
    return _double((bits.astype(np.uint32) << 16).view(np.float32))


def bfloat16_bits(
    values: Array,
    rounding: tuple[int, int] | None = None,
    purpose: int = 10,
    ids: Array | None = None,
    turned: int = 0,
) -> npt.NDArray[np.uint16]:
    """Finite float32 values (rows, columns) as bfloat16, from the distance to the two neighbours.

    Without ``rounding``, to nearest, ties to even. With ``rounding``, a (seed, step), stochastic: away from
    zero if 65536 times the position in the gap, plus 16 random bits, is at least 65536. Column j of row i
    uses half-word ``j % 8`` of the Philox draw ``j // 8`` of stream i, or ``ids[i]``, the lower half of a
    word first, turned by some bits.
    """
    x = np.asarray(values, np.float32)
    low = (x.view(np.uint32) >> 16).astype(np.uint16)  # truncated: towards zero
    near, far = bfloat16_values(low), bfloat16_values(low + np.uint16(1))
    far = np.where(np.isinf(far), np.sign(far) * 2.0**128, far)
    share = (_double(x) - near) / (far - near)
    if rounding is None:
        up = (share > 0.5) | ((share == 0.5) & (low % 2 == 1))
    else:
        noise = _turned_noise(rounding, purpose, range(len(x)) if ids is None else ids, x.shape[1], turned)
        up = share * 65536 + noise >= 65536
    return np.asarray(low + up, np.uint16)


def small_values(codes: Array, top: Array, bits: int, signed: bool) -> Float64:
    """The values of rows of small floating-point numbers, as ``lshsample/coded.h`` describes them."""
    mantissa, most = 3 if bits == 8 else 0, 2 ** (bits - signed) - 1
    number = (codes & most) + (_double(top)[:, None] - most)
    power, steps = np.floor(number / 2**mantissa) - 127, number % 2**mantissa
    values = np.where(codes & most, 2.0**power * (1 + steps / 2**mantissa), 0.0)
    return np.where(codes & (most + 1), -values, values) if signed else values


def small_codes(
    values: Array, bits: int, signed: bool, rounding: tuple[int, int], ids: Array, turned: int
) -> tuple[Array, Array]:
    """Codes and tops of rows of float32: of the two neighbours of a value, the greater one with the
    probability of its position between them, by the noise of :func:`bfloat16_bits`. Below the least number, a
    signed value has 0 as its other neighbour; one without a sign becomes that number, unless it is 0.
    """
    mantissa, most = 3 if bits == 8 else 0, 2 ** (bits - signed) - 1
    magnitude = np.abs(_double(values))
    power = np.floor(np.log2(np.maximum(magnitude, 2.0**-126)))
    position = (magnitude / 2.0**power - 1) * 2**mantissa  # in units of the mantissa's last bit
    number = (power + 127) * 2**mantissa + np.floor(position)
    lowest = 2**bits - 1
    top = np.maximum(((power + 127) * 2**mantissa + np.ceil(position)).max(axis=1), lowest)
    noise = (_turned_noise(rounding, 10, ids, values.shape[1], turned) + 0.5) / 65536
    code = number + (position - np.floor(position) + noise >= 1) - (top[:, None] - most)
    least = 2.0 ** (np.floor((top - most + 1) / 2**mantissa) - 127)
    least = (least * (1 + (top - most + 1) % 2**mantissa / 2**mantissa))[:, None]
    small = magnitude > least * noise if signed else magnitude > 0
    code = np.where(magnitude < least, small, np.minimum(code, most))
    if signed:
        code = code + (most + 1) * np.signbit(values)
    return code.astype(np.uint8), top.astype(np.int32)


def _turned_noise(rounding: tuple[int, int], purpose: int, ids: Any, columns: int, turned: int) -> Array:
    """16 bits for each column of the rows of these ids."""
    noise = np.array([[_noise(*rounding, purpose, int(i), j) for j in range(columns)] for i in ids])
    noise = (noise << turned | noise >> (16 - turned)) & 0xFFFF
    return noise.reshape(len(ids), columns)


def _noise(seed: int, step: int, purpose: int, row: int, column: int) -> int:
    word = philox(seed, purpose, row, step, column // 8)[column % 8 // 2]
    return word >> 16 * (column % 2) & 0xFFFF


def dropout_mask(
    seed: int, step: int, layer: int, shape: tuple[int, int], rate: float, purpose: int = 7
) -> Float64:
    """Inverted dropout: unit u uses word ``u % 4`` of draw ``u // 4``."""
    units = shape[0] * shape[1]
    words = [w for i in range((units + 3) // 4) for w in philox(seed, purpose, layer, step, i)][:units]
    kept = np.array(words, dtype=np.float64) >= np.floor(float(np.float32(rate)) * 2**32)
    return _double(kept.reshape(shape)) / (1 - rate)


def matmul_nt(a: Array, b: Array, bias: Array | None = None, rows: Array | None = None) -> Float64:
    """``a @ b[rows].T + bias[rows]``."""
    chosen = slice(None) if rows is None else rows
    product = _double(a) @ _double(b)[chosen].T
    return _double(product if bias is None else product + _double(bias)[chosen])


def matmul_nn(a: Array, b: Array, rows: Array | None = None) -> Float64:
    """``a @ b[rows]``."""
    return _double(a) @ _double(b)[slice(None) if rows is None else rows]


def matmul_tn(a: Array, b: Array) -> Float64:
    """``a.T @ b``."""
    return _double(a).T @ _double(b)


def csr_matmul(x: Any, weights: Array, bias: Array | None = None) -> Float64:
    """``x @ weights + bias`` for a sparse x."""
    return _double(x.astype(np.float64) @ _double(weights)) + (0.0 if bias is None else _double(bias))


def csr_transpose_matmul(x: Any, d: Array) -> tuple[Array, Float64]:
    """The ids of the columns with stored values in x, and these rows of ``x.T @ d``."""
    rows = np.unique(x.indices)
    return rows, _double(x.astype(np.float64)[:, rows].T @ _double(d))


def csr_sampled_matmul(h: Array, weights: Array, bias: Array | None, indptr: Array, ids: Array) -> Float64:
    """``h[i] . weights[id] + bias[id]`` for every id of every row i."""
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    values = np.einsum("td,td->t", _double(h)[owner], _double(weights)[ids])
    return _double(values if bias is None else values + _double(bias)[ids])


def _dense_targets(targets: tuple[Array, Array, Array], n: int, row: int) -> Float64:
    t, (indptr, positions, values) = np.zeros(n), targets
    mine = slice(indptr[row], indptr[row + 1])
    t[positions[mine]] = values[mine]
    return t


def _softmax_row(o: Float64, t: Float64, log_inclusion: Float64) -> tuple[float, Float64]:
    z = o - log_inclusion
    if not len(z):
        return 0.0, z
    log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
    return -float(t @ log_p), t.sum() * np.exp(log_p) - t


def _sigmoid_row(o: Float64, t: Float64, log_inclusion: Float64) -> tuple[float, Float64]:
    w, count = np.exp(-log_inclusion), np.maximum(t, 1.0)
    p = np.exp(-np.logaddexp(0.0, -o))
    return float(w @ (count * np.logaddexp(0.0, o) - t * o)), w * (count * p - t)


def smoothed(t: Float64, log_inclusion: Float64, share: float, labels: int = 0) -> Float64:
    """A row's targets with a share spread evenly over the labels (0: over the active ones)."""
    w = np.exp(-log_inclusion)
    return (1 - share) * t + share * t.sum() * w / (labels or max(len(t), 1))


def _ragged(row_loss: Any, values: Array, indptr: Array, targets: Any, log_inclusion: Array | None) -> Any:
    o = _double(values)
    pi = np.zeros_like(o) if log_inclusion is None else _double(log_inclusion)
    losses, gradient = np.zeros(len(indptr) - 1), np.zeros_like(o)
    for i in range(len(losses)):
        mine = slice(indptr[i], indptr[i + 1])
        t = _dense_targets(targets, len(o[mine]), i)
        losses[i], gradient[mine] = row_loss(o[mine], t, pi[mine])
    return losses, gradient


def _dense(row_loss: Any, logits: Array, targets: Any, log_inclusion: Array | None) -> Any:
    m, n = logits.shape
    pi = None if log_inclusion is None else np.tile(_double(log_inclusion), m)
    losses, gradient = _ragged(row_loss, logits.reshape(-1), np.arange(m + 1) * n, targets, pi)
    return losses, gradient.reshape(m, n)


def softmax(
    logits: Array, indptr: Array, positions: Array, values: Array, log_inclusion: Array | None = None
) -> Any:
    """Softmax cross-entropy and its gradient over a shared active set."""
    return _dense(_softmax_row, logits, (indptr, positions, values), log_inclusion)


def sigmoid(
    logits: Array, indptr: Array, positions: Array, values: Array, log_inclusion: Array | None = None
) -> Any:
    """Weighted one-vs-all logistic loss and its gradient over a shared active set."""
    return _dense(_sigmoid_row, logits, (indptr, positions, values), log_inclusion)


def softmax_ragged(
    logits: Array,
    starts: Array,
    indptr: Array,
    positions: Array,
    values: Array,
    log_inclusion: Array | None = None,
) -> Any:
    """:func:`softmax` over per-sample active sets."""
    return _ragged(_softmax_row, logits, starts, (indptr, positions, values), log_inclusion)


def sigmoid_ragged(
    logits: Array,
    starts: Array,
    indptr: Array,
    positions: Array,
    values: Array,
    log_inclusion: Array | None = None,
) -> Any:
    """:func:`sigmoid` over per-sample active sets."""
    return _ragged(_sigmoid_row, logits, starts, (indptr, positions, values), log_inclusion)


def sgd_rows(store: Array, rows: Array | None, grad: Array, lr: float) -> Float64:
    """The store after one step of SGD."""
    new = _double(store).copy()
    new[slice(None) if rows is None else rows, 0] -= lr * _double(grad)
    return new


def adagrad_rows(store: Array, rows: Array | None, grad: Array, lr: float, eps: float = 1e-10) -> Float64:
    """The store after one step of Adagrad."""
    new, g = _double(store).copy(), _double(grad)
    chosen = slice(None) if rows is None else rows
    new[chosen, 1] += g**2
    new[chosen, 0] -= lr * g / (np.sqrt(new[chosen, 1]) + eps)
    return new


def adam_rows(
    store: Array,
    rows: Array | None,
    grad: Array,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: int = 1,
) -> Float64:
    """The store after one step of lazy Adam."""
    new, g = _double(store).copy(), _double(grad)
    chosen = slice(None) if rows is None else rows
    new[chosen, 1] = beta1 * new[chosen, 1] + (1 - beta1) * g
    new[chosen, 2] = beta2 * new[chosen, 2] + (1 - beta2) * g**2
    mean, square = new[chosen, 1] / (1 - beta1**step), new[chosen, 2] / (1 - beta2**step)
    new[chosen, 0] -= lr * mean / (np.sqrt(square) + eps)
    return new


def _best(scores: Array, ids: Array, k: int) -> tuple[Array, Array]:
    order = np.lexsort((ids, -scores))[:k]
    short = k - len(order)
    return np.append(ids[order], [-1] * short), np.append(scores[order], [-np.inf] * short)


def top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Ids and scores of the best k columns of each row, ties by smaller id."""
    best = [_best(row, np.arange(len(row)), k) for row in scores]
    return np.array([b[0] for b in best]).reshape(-1, k), np.array([b[1] for b in best]).reshape(-1, k)


def top_k_ragged(values: Array, indptr: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """Ids and scores of the best k candidates of each row, ties by smaller id."""
    rows = [slice(indptr[i], indptr[i + 1]) for i in range(len(indptr) - 1)]
    best = [_best(values[row], ids[row], k) for row in rows]
    return np.array([b[0] for b in best]).reshape(-1, k), np.array([b[1] for b in best]).reshape(-1, k)
