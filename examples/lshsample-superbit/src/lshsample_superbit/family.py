"""Super-bits: the family, its reference and its collision probability."""

from functools import cached_property

import attrs
import numpy as np

from lshsample.plugin import ArgumentError, Codes, FamilySpec, Floats, HashFamily, Rows, dense_rows

__all__ = ["Superbit", "SuperbitSpec"]

#: Rows that are hashed at once, and the most bytes that directions may take.
_BLOCK, _MOST_BYTES = 1024, 2**32


@attrs.frozen(kw_only=True)
class SuperbitSpec(FamilySpec):
    """Options of :class:`Superbit`: those of every family. The K hashes of a code are one super-bit."""


class Superbit(HashFamily[SuperbitSpec]):
    """Signs of projections to directions that are orthogonal within a code.

    Notes
    -----
    A normal direction that is made orthogonal to others is still uniform on the sphere, so two rows at angle theta
    agree on one bit with probability 1 - theta / pi, exactly (Ji, Li, Yan, Zhang & Tian, NIPS 2012). The K bits of a
    code are dependent: for angles up to pi / 2, the number of bits that agree has a smaller variance than with
    independent bits, which is the purpose of the family. So a code does not agree with probability p**K; as the
    probability is not known, samplers have no marginal inclusion probabilities. Tables are independent.

    Cost: K L multiplications for each entry of a row; L decompositions of a dim x K matrix once.

    Examples
    --------
    >>> family = Superbit(SuperbitSpec(dim=8, n_hashes=4, n_tables=2, seed=1))
    >>> directions = family.directions.reshape(8, 4, 2)[:, :, 0]
    >>> bool(np.allclose(directions.T @ directions, np.eye(4), atol=1e-6))
    True
    """

    similarity = "cosine"
    independent_hashes = False

    def __init__(self, spec: SuperbitSpec) -> None:
        super().__init__(spec)
        if spec.n_hashes > spec.dim:
            wanted = f"at most dim = {spec.dim}, as directions are orthogonal"
            raise ArgumentError("n_hashes", spec.n_hashes, wanted)
        size = 4 * spec.dim * spec.n_hashes * spec.n_tables
        if size > _MOST_BYTES:
            wanted = f"such that directions have at most {_MOST_BYTES >> 20} MiB, not {size >> 20}"
            raise ArgumentError("dim", spec.dim, wanted)

    @cached_property
    def directions(self) -> np.ndarray:
        """Directions (dim, K L) float32, orthonormal within a table: column k L + t is hash k of table t."""
        count = self.dim * self.n_hashes * self.n_tables
        words = np.random.Philox(key=np.array([self.seed, 1], np.uint64)).random_raw(2 * count) >> np.uint64(
            11
        )
        u, v = (words.astype(np.float64) + 0.5).reshape(2, count) * 2.0**-53
        normal = (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).reshape(
            self.n_tables, self.dim, self.n_hashes
        )
        for k in range(self.n_hashes):
            # Gram-Schmidt, twice, to remove the rounding errors of the first pass.
            for _ in range(2):
                before = normal[:, :, :k]
                shares = (before * normal[:, :, k, None]).sum(axis=1, keepdims=True)
                normal[:, :, k] -= (before * shares).sum(axis=2)
            normal[:, :, k] /= np.sqrt((normal[:, :, k] ** 2).sum(axis=1, keepdims=True))
        return np.ascontiguousarray(normal.transpose(1, 2, 0), np.float32).reshape(self.dim, -1)

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """Inner products with the directions, (n, K L) float32, up to a positive factor for each row."""
        # A power of two for each row, so that nothing overflows; it changes no sign.
        exponents = np.frexp(np.abs(rows).max(axis=1, initial=0))[1]
        scaled = rows * np.ldexp(np.float32(1), np.clip(1 - exponents, -126, 127))[:, None]
        out = np.zeros((len(rows), self.directions.shape[1]), np.float32)
        for column in np.flatnonzero(rows.any(axis=0)):
            out += scaled[:, column, None] * self.directions[column]
        return out

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows, dense or CSR."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            block = x[start : start + _BLOCK]
            dense = dense_rows(block)
            bits = (self.margins(dense) >= 0).reshape(-1, self.n_hashes, self.n_tables)
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= bits[:, k].astype(np.uint32) << np.uint32(k)
        return codes

    def collision_probability(self, similarity: object) -> Floats:
        """1 - arccos(cosine) / pi; a cosine outside [-1, 1] by rounding is clipped."""
        cosine = np.clip(np.asarray(similarity, np.float64), -1, 1)
        return np.asarray(1 - np.arccos(cosine) / np.pi)
