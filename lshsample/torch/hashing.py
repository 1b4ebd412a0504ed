"""Codes of tensors: by the core, bit for bit, or by one matrix product on the tensor's device."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lshsample import hashing
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import Codes, HashFamily

__all__ = ["CoreHashing", "MatmulHashing", "checked_tensor", "code_tensor", "make_hashing"]

#: Margins that are held at a time.
_BLOCK_MARGINS = 2**22
#: Sets of flipped bits that are scored for each query and table.
_MOST_SETS = 4096


def checked_tensor(x: Any, argument: str, dim: int, device: torch.device | None = None) -> Tensor:
    """A finite float32 tensor (n, dim) without its graph; float32 is not copied.

    Raises
    ------
    ArgumentError
        Not a 2-D tensor of real numbers, of other columns or on another device, or not finite.
    """
    if not isinstance(x, Tensor):
        raise ArgumentError(argument, type(x).__name__, f"a tensor (n, {dim})")
    if x.layout != torch.strided or x.is_complex() or x.dtype == torch.bool:
        given = f"a tensor of {x.dtype}, layout {x.layout}"
        raise ArgumentError(argument, given, "a dense tensor of real numbers")
    if x.is_meta:
        raise ArgumentError(argument, "a tensor without values", "on a device with values")
    if x.ndim != 2 or x.shape[1] != dim:
        raise ArgumentError(argument, f"shape {tuple(x.shape)}", f"a tensor (n, {dim})")
    if device is not None and x.device != device:
        raise ArgumentError(argument, f"on {x.device}", f"on {device}, where the tables are")
    rows: Tensor = x.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(rows).all()):
        raise ArgumentError(argument, "NaN or infinite values", "finite values")
    return rows


def code_tensor(codes: Codes, code_bits: int, device: torch.device) -> Tensor:
    """Codes as integers that torch can sort: int32, or int64 for codes of 32 bits."""
    if code_bits < 32:
        return torch.from_numpy(codes.view(np.int32)).to(device)
    return torch.from_numpy(codes.astype(np.int64)).to(device)


def make_hashing(family: HashFamily, how: Any, device: torch.device) -> CoreHashing | MatmulHashing:
    """The way of hashing by its name."""
    if how == "core":
        return CoreHashing(family, device)
    if how == "matmul":
        return MatmulHashing(family, device)
    raise ArgumentError("hashing", repr(how), '"core" or "matmul"')


class CoreHashing:
    """Codes by the family itself: those of the other tables, bit for bit. Rows on a GPU are copied."""

    def __init__(self, family: HashFamily, device: torch.device) -> None:
        self.family, self.device = family, device

    def codes(self, x: Tensor, threads: int | None = None) -> Tensor:
        """Codes (n, n_tables) of data rows."""
        found = hashing.hash_rows(self.family, x.cpu().numpy(), threads=threads)
        return code_tensor(found, self.family.code_bits, self.device)

    def probes(self, q: Tensor, n_probes: int, threads: int | None = None) -> Tensor:
        """Codes (n, n_tables, n_probes) of the buckets of queries, best first."""
        found = hashing.probe_rows(self.family, q.cpu().numpy(), n_probes, threads=threads)
        return code_tensor(found, self.family.code_bits, self.device)


class MatmulHashing:
    """Signs of one matrix product, packed: SimHash on any device.

    The directions are those of the family. Sums are in another order than in the core, so that a bit whose
    margin is about zero may differ; the law of collisions is the same.
    """

    def __init__(self, family: HashFamily, device: torch.device) -> None:
        self.family, self.device = family, device
        self._directions = torch.from_numpy(_directions(family)).to(device)
        self._dtype = torch.int32 if family.code_bits < 32 else torch.int64

    def _margins(self, x: Tensor) -> Tensor:
        """Margins (n, n_hashes, n_tables), of rows scaled so that nothing overflows."""
        largest = x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        # Rows and queries are hashed alike, also where autocast would round the product of one of them.
        with torch.autocast(x.device.type, enabled=False):
            margins = (x / largest) @ self._directions
        return torch.unflatten(margins, 1, (self.family.n_hashes, -1))

    def _pack(self, bits: Tensor) -> Tensor:
        codes = bits[:, 0].to(self._dtype)
        for k in range(1, bits.shape[1]):
            codes += bits[:, k].to(self._dtype) << k
        return codes

    def codes(self, x: Tensor, threads: int | None = None) -> Tensor:
        """Codes (n, n_tables) of data rows."""
        parts = torch.split(x, max(_BLOCK_MARGINS // self._directions.shape[1], 1))
        return torch.cat([self._pack(self._margins(part) >= 0) for part in parts])

    def probes(self, q: Tensor, n_probes: int, threads: int | None = None) -> Tensor:
        """Codes (n, n_tables, n_probes) of the buckets of queries, in ascending order of cost."""
        hashing.query_kernel(self.family, n_probes)  # refuses bad numbers
        if n_probes == 1:
            return self.codes(q)[:, :, None]
        sets = probable_sets(self.family.n_hashes, int(n_probes))
        width = self._directions.shape[1] + len(sets) * self.family.n_tables
        parts = torch.split(q, max(_BLOCK_MARGINS // width, 1))
        return torch.cat([best_flips(self._margins(part), n_probes) for part in parts])


def best_flips(margins: Tensor, n_probes: int) -> Tensor:
    """Codes (n, n_tables, n_probes) near margins (n, n_hashes, n_tables), in ascending order of cost.

    The cost of a code is the sum of the squared margins of the bits in which it differs (Lv et al., VLDB
    2007), added from the smallest on; among equal ones the set of smaller ranks is first. Every bit is that
    of the core for the same margins.
    """
    n_hashes = margins.shape[1]
    dtype = torch.int32 if n_hashes < 32 else torch.int64
    sets = torch.tensor(probable_sets(n_hashes, n_probes), dtype=torch.int64, device=margins.device)
    squares, order = torch.sort(margins.square().transpose(1, 2), dim=2, stable=True)
    cost = margins.new_zeros(*squares.shape[:2], len(sets))
    flips = torch.zeros(cost.shape, dtype=torch.int64, device=margins.device)
    for rank in range(n_hashes):
        member = (sets >> rank & 1).bool()
        cost = torch.where(member, cost + squares[:, :, rank, None], cost)
        flips = torch.where(member, flips | (1 << order[:, :, rank, None]), flips)
    best = torch.sort(cost, dim=2, stable=True).indices[:, :, :n_probes]
    places = torch.arange(n_hashes, device=margins.device)[:, None]
    own = ((margins >= 0) * (1 << places)).sum(1)
    return (own[:, :, None] ^ flips.gather(2, best)).to(dtype)


@functools.lru_cache(64)
def probable_sets(n_hashes: int, n_probes: int) -> tuple[int, ...]:
    """The sets of ranks, as bit masks in ascending order, that may be among the ``n_probes`` cheapest.

    A set costs at least as much as those that it dominates: that have no more members, each of no higher
    rank. So a set which dominates ``n_probes`` others is not needed, nor is one that follows from it.

    Raises
    ------
    UnsupportedError
        There are more than 4,096.
    """
    found, waiting = [0], [1]
    while waiting:
        members = waiting.pop()
        if members >> n_hashes or _dominated(members) > n_probes:
            continue
        found.append(members)
        if len(found) > _MOST_SETS:
            raise UnsupportedError(f'hashing="matmul" cannot probe {n_probes} buckets: use hashing="core"')
        last = members.bit_length() - 1
        waiting += [members | 2 << last, members ^ (1 << last) | 2 << last]
    return tuple(sorted(found))


def _dominated(members: int) -> int:
    """How many sets a set dominates, itself and the empty one included."""
    ranks = [rank for rank in range(members.bit_length()) if members >> rank & 1][::-1]
    # ways[r]: sequences that descend, of the length so far, whose last rank is r.
    ways = [1] * (ranks[0] + 1)
    total = 1 + len(ways)
    for highest in ranks[1:]:
        ways = [sum(ways[rank + 1 :]) for rank in range(highest + 1)]
        total += sum(ways)
    return total


def _directions(family: HashFamily) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The directions (dim, n_hashes * n_tables), if the family's bits are the signs of products with them.

    Raises
    ------
    UnsupportedError
        The codes of test rows are others.
    """
    margins = getattr(family, "margins", None)
    if margins is not None and family.bits_per_hash == 1:
        basis = np.eye(family.dim, dtype=np.float32)
        matrix = np.asarray(margins(basis), np.float32).reshape(family.dim, -1)
        rows = np.random.default_rng(0).standard_normal((16, family.dim)).astype(np.float32)
        products = (rows @ matrix).reshape(16, family.n_hashes, family.n_tables)
        weights = (np.uint32(1) << np.arange(family.n_hashes, dtype=np.uint32))[:, None]
        codes = ((products >= 0) * weights).sum(1, dtype=np.uint32)
        differing = codes ^ hashing.hash_rows(family, rows)
        # Bits of margins that are zero but for rounding may differ.
        near = np.abs(products) <= 1e-4 * math.sqrt(family.dim) * np.abs(matrix).max(initial=0)
        if not (differing & ~(near * weights).sum(1, dtype=np.uint32)).any():
            return matrix
    raise UnsupportedError(
        f"{hashing.family_label(family)} does not hash by the signs of inner products: "
        f'hashing="matmul" is for simhash; use hashing="core"'
    )
