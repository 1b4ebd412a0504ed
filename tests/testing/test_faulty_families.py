"""Families as a tired author writes them: each must fail a check whose message names its fault."""

import datetime
import functools
import os
import random
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from unittest import SkipTest

import attrs
import numpy as np
import pytest
from cffi import FFI
from lshsample_families.dwta import DWTA
from lshsample_families.simhash import SimHash, SimHashSpec
from lshsample_families.wta import WTA

from lshsample.plugin import FamilySpec, HashFamily, NativeKernel, get_include
from lshsample.testing import CHECKS, FamilyCase, check_family, law_checks


def dense(x):
    return x if isinstance(x, np.ndarray) else x.toarray()


class Signs(HashFamily):
    """Signs of Gaussian projections: a correct family, which the faulty ones change in one place."""

    similarity = "cosine"

    def generator(self):
        return np.random.default_rng(self.seed)

    def directions(self):
        return self.generator().standard_normal((self.n_hashes, self.n_tables, self.dim))

    def margins(self, rows):
        total = np.zeros((self.n_hashes, self.n_tables, len(rows)))
        directions = self.directions()
        for i in range(self.dim):  # a fixed order of summation
            total += directions[:, :, i, None] * rows[:, i].astype(np.float64)
        return total

    def pack(self, bits):
        weights = np.uint32(1) << np.arange(self.n_hashes, dtype=np.uint32)
        return (bits * weights[:, None, None]).sum(axis=0, dtype=np.uint32).T

    def hash(self, x):
        return self.pack(self.margins(dense(x)) >= 0)

    def collision_probability(self, similarity):
        return 1 - np.arccos(np.clip(np.asarray(similarity, np.float64), -1, 1)) / np.pi


# The law.


class WrongConstant(Signs):
    def collision_probability(self, similarity):
        return 1 - np.arccos(np.clip(np.asarray(similarity, np.float64), -1, 1)) / 3.2


class WrongWay(Signs):
    def collision_probability(self, similarity):
        return np.arccos(np.clip(np.asarray(similarity, np.float64), -1, 1)) / np.pi


class LawOfHalfPrecision(Signs):
    """float32 inside, float64 outside."""

    def collision_probability(self, similarity):
        s = np.clip(np.asarray(similarity, np.float32), -1, 1)
        return (1 - np.arccos(s) / np.float32(np.pi)).astype(np.float64)


class ArgumentOfHalfPrecision(Signs):
    def collision_probability(self, similarity):
        return super().collision_probability(np.asarray(similarity, np.float32))


class ResultOfHalfPrecision(Signs):
    def collision_probability(self, similarity):
        return super().collision_probability(similarity).astype(np.float32)


class NoNegativeCosines(Signs):
    """Defined for what its author tried."""

    def collision_probability(self, similarity):
        s = np.asarray(similarity, np.float64)
        return np.where(s < -0.97, np.nan, super().collision_probability(s))


class AboveOneAtZero(Signs):
    similarity = "euclidean"

    def collision_probability(self, similarity):
        d = np.asarray(similarity, np.float64)
        return np.where(d < 1e-20, 1.5, np.exp(-d))


class RaisesFarAway(Signs):
    similarity = "euclidean"

    def collision_probability(self, similarity):
        if np.max(similarity, initial=0) > 1e12:
            raise OverflowError("math range error")
        return np.exp(-np.asarray(similarity, np.float64))


class LawOfTheLargest(Signs):
    """Scales by the largest similarity of the array."""

    def collision_probability(self, similarity):
        s = np.asarray(similarity, np.float64)
        return super().collision_probability(s / max(1, np.max(s, initial=0)) * np.max(np.abs(s), initial=0))


class ClipsItsArgument(Signs):
    def collision_probability(self, similarity):
        if isinstance(similarity, np.ndarray):
            similarity[...] = np.round(similarity, 3)
        return super().collision_probability(similarity)


class Misspelt(Signs):
    similarity = "cosin"


class NoSimilarity(Signs):
    similarity = None


class SimilarityOfOthers(Signs):
    """Compares the queries with the rows of other pairs."""

    def similarity_of(self, q, x):
        return super().similarity_of(q, x[np.roll(np.arange(x.shape[0]), -1)])


class SimilarityOfDenseRows(Signs):
    def similarity_of(self, q, x):
        similarity = super().similarity_of(q, x)
        return similarity if isinstance(q, np.ndarray) else np.abs(similarity)


class SimilarityOfZeros(Signs):
    def similarity_of(self, q, x):
        q, x = dense(q).astype(np.float64), dense(x).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return (q * x).sum(1) / np.sqrt((q * q).sum(1) * (x * x).sum(1))


class OneHashForACode(Signs):
    """The law of a whole code, where that of one hash is wanted."""

    def collision_probability(self, similarity):
        return super().collision_probability(similarity) ** self.n_hashes


# The functions.


class SignLost(Signs):
    def hash(self, x):
        return self.pack(self.margins(np.abs(dense(x))) >= 0)


class LastColumnLeftOut(Signs):
    def directions(self):
        directions = super().directions()
        directions[:, :, -1] = 0
        return directions


class FirstColumnLeftOut(Signs):
    def directions(self):
        directions = super().directions()
        directions[:, :, 0] = 0
        return directions


class LastHashConstant(Signs):
    def hash(self, x):
        return super().hash(x) & np.uint32(2 ** (self.n_hashes - 1) - 1)


class LastTableConstant(Signs):
    """A loop that ends one table early."""

    def hash(self, x):
        codes = super().hash(x)
        codes[:, -1] = 0
        return codes


class CopiesOfOneTable(Signs):
    def directions(self):
        directions = super().directions()
        return np.broadcast_to(directions[:, :1], directions.shape)


class NeighboursShareAHash(Signs):
    """The last hash of a table is the first one of the next."""

    def directions(self):
        rng, k = self.generator(), self.n_hashes
        drawn = rng.standard_normal(((k - 1) * self.n_tables + 1, self.dim)) if k > 1 else None
        if drawn is None:
            return super().directions()
        return np.stack([drawn[t * (k - 1) : t * (k - 1) + k] for t in range(self.n_tables)], axis=1)


class HalvesShareTables(Signs):
    """The second half of the tables is a copy of the first."""

    def directions(self):
        directions, half = super().directions(), self.n_tables // 2
        directions[:, self.n_tables - half :] = directions[:, :half]
        return directions


class TableAddedToSeed(Signs):
    def directions(self):
        drawn = [
            np.random.default_rng(self.seed + t).standard_normal((self.n_hashes, self.dim))
            for t in range(self.n_tables)
        ]
        return np.stack(drawn, axis=1)


class SeedIgnored(Signs):
    def generator(self):
        return np.random.default_rng(0)


class SeedOf32Bits(Signs):
    def generator(self):
        return np.random.default_rng(self.seed % 2**32)


class SmallSeedsOnly(Signs):
    def generator(self):
        return np.random.RandomState(self.seed)


# State, process, threads.


class SaltedByHash(Signs):
    def generator(self):
        return np.random.default_rng(abs(hash("salt")) + self.seed)


class OrderOfASet(Signs):
    def generator(self):
        return np.random.default_rng(
            [self.seed, *(len(word) for word in {"one", "three", "fifteen", "thirty"})]
        )


class OfTheDay(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, datetime.date.today().toordinal()])


class OfTheClock(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, int(time.time()) // 86400])


class OfTheTimeZone(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, abs(time.localtime(0).tm_hour)])


class OfTheDirectory(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, len(os.getcwd())])


class OfTheProcessors(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, os.cpu_count() or 0])


class OfTheProcess(Signs):
    def generator(self):
        return np.random.default_rng([self.seed, os.getpid()])


class CacheBySeed(Signs):
    """Draws once for each seed, with the shape of whoever asks first."""

    drawn = {}  # noqa: RUF012

    def directions(self):
        if self.seed not in self.drawn:
            self.drawn[self.seed] = super().directions()
        return self.drawn[self.seed]


class PoolBySeed(CacheBySeed):
    """The same, repeated or cut to the shape that is wanted."""

    drawn = {}  # noqa: RUF012

    def directions(self):
        return np.resize(super().directions(), (self.n_hashes, self.n_tables, self.dim))


class LastOneMade(Signs):
    """Keeps its functions on the class."""

    current = None

    def __init__(self, spec):
        super().__init__(spec)
        LastOneMade.current = self.generator().standard_normal((32, self.n_tables, self.dim))

    def directions(self):
        return np.resize(LastOneMade.current, (self.n_hashes, self.n_tables, self.dim))


class SeedsTheWorld(Signs):
    def directions(self):
        np.random.seed(self.seed)  # noqa: NPY002
        return np.random.standard_normal((self.n_hashes, self.n_tables, self.dim))  # noqa: NPY002


class SeedsPython(Signs):
    def __init__(self, spec):
        super().__init__(spec)
        random.seed(spec.seed)
        self.offset = random.randrange(2**30)

    def generator(self):
        return np.random.default_rng(self.offset)


class SilencesNumPy(Signs):
    def collision_probability(self, similarity):
        np.seterr(all="ignore")
        return super().collision_probability(similarity)


class EveryTenthCall(Signs):
    def hash(self, x):
        self.calls = vars(self).get("calls", 0) + 1
        return super().hash(x) ^ np.uint32(self.calls % 10 == 0)


class ReturnsItsBuffer(Signs):
    def hash(self, x):
        buffer = vars(self).setdefault("buffer", np.zeros((4096, self.n_tables), np.uint32))
        buffer[: x.shape[0]] = super().hash(x)
        return buffer[: x.shape[0]]


class SharedBuffer(Signs):
    """Normalizes rows in a buffer that all calls use."""

    def hash(self, x):
        buffer = vars(self).setdefault("buffer", np.zeros((4096, self.dim)))
        buffer[: x.shape[0]] = dense(x)
        return self.pack(self.margins(buffer[: x.shape[0]]) >= 0)


class OfTheThread(Signs):
    def hash(self, x):
        main = threading.current_thread() is threading.main_thread()
        return super().hash(x) ^ np.uint32(not main)


# The rows.


class CentredBlocks(Signs):
    def hash(self, x):
        rows = dense(x)
        return super().hash(rows - rows.mean(axis=0) if len(rows) else rows)


class PlaceInTheBlock(Signs):
    def hash(self, x):
        codes = super().hash(x)
        codes[50:] ^= np.uint32(1)
        return codes


class LargeBlocks(Signs):
    """Takes another way for many rows."""

    def hash(self, x):
        return super().hash(x) ^ np.uint32(x.shape[0] > 1000)


class SingleRows(Signs):
    def hash(self, x):
        return super().hash(x) ^ np.uint32(x.shape[0] == 1)


class MatrixProduct(Signs):
    """Products in float32, whose rounding depends on the number of rows and their place in memory."""

    def margins(self, rows):
        flat = self.directions().astype(np.float32).reshape(-1, self.dim)
        return (rows @ flat.T).T.reshape(self.n_hashes, self.n_tables, len(rows))


class ContiguousOnly(Signs):
    def hash(self, x):
        rows = dense(x)
        return super().hash(rows) ^ np.uint32(not rows.flags.c_contiguous)


class AlignedOnly(Signs):
    def hash(self, x):
        rows = dense(x)
        return super().hash(rows) ^ np.uint32(rows.ctypes.data % 8 != 0)


class SparseOtherwise(Signs):
    """Sums the entries of sparse rows without their directions' first column."""

    def hash(self, x):
        codes = super().hash(x)
        return codes if isinstance(x, np.ndarray) else codes ^ np.uint32(1)


class CentresInPlace(Signs):
    def hash(self, x):
        if isinstance(x, np.ndarray):
            x -= x.mean(axis=1, keepdims=True)
        return super().hash(x)


class ScalesQueriesInPlace(Signs):
    def hash_query(self, q):
        rows = q if isinstance(q, np.ndarray) else q.data
        rows *= np.float32(0.5)
        return self.hash(q)


class ZeroRowsAtRandom(Signs):
    def hash(self, x):
        codes = super().hash(x)
        empty = ~dense(x).any(axis=1)
        codes[empty] ^= np.arange(empty.sum(), dtype=np.uint32)[:, None] & np.uint32(1)
        return codes


class ZeroRowsFail(Signs):
    def hash(self, x):
        rows = dense(x)
        if not rows.any(axis=1).all():
            raise ZeroDivisionError("norm of a zero row")
        return super().hash(rows)


class QueriesRounded(Signs):
    """Queries in float32, items in float64: claimed to be symmetric, but not to the last bit."""

    def hash_query(self, q):
        total = np.zeros((self.n_hashes, self.n_tables, q.shape[0]), np.float32)
        directions = self.directions().astype(np.float32)
        for i, column in enumerate(dense(q).T):
            total += directions[:, :, i, None] * column
        return self.pack(total >= 0)


# Others, as published implementations have them.


class SignPerBin(Signs):
    """One sign for all coordinates of a hash."""

    def directions(self):
        rng = self.generator()
        shape = (self.n_hashes, self.n_tables, self.dim)
        return rng.choice([-1, 1], (*shape[:2], 1)) * (rng.random(shape) < 1 / 3)


class ReadsPastTheEnd(Signs):
    """Reads one element beyond the row: in a block, the first one of the next row."""

    def hash(self, x):
        rows = (x if isinstance(x, np.ndarray) else x.toarray()).copy()
        rows[:-1, -1] += rows[1:, 0]
        return super().hash(rows)


class LawOffByThreePercent(Signs):
    """A law that is slightly wrong."""

    def collision_probability(self, similarity):
        return np.minimum(1.0, 1.03 * super().collision_probability(similarity))


class FailsOnNoRows(Signs):
    """Computes the maximum of an empty array."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        return super().hash(rows / np.float64(max(rows.max(), 1)))


class KernelOfOtherFunctions(SimHash):
    """The kernel of another seed than the reference's."""

    def native(self) -> NativeKernel:
        return SimHash(attrs.evolve(self.spec, seed=self.seed + 1)).native()


class TailLeftOut(SimHash):
    """The kernel ignores the columns after the last multiple of eight."""

    def native(self) -> NativeKernel:
        cut = SimHash(self.spec)
        cut._projection.matrix[self.dim // 8 * 8 :] = 0
        return cut.native()


class NaturalLogPacking(DWTA):
    """Three bits per hash, packed as if they were two: log 8 = 2.08."""

    def hash(self, x):
        wide, codes = super().hash(x), np.zeros((x.shape[0], self.n_tables), np.uint32)
        for k in range(self.n_hashes):
            codes |= (wide >> np.uint32(3 * k) & np.uint32(7)) << np.uint32(2 * k)
        return codes

    def native(self):
        return None


class StoresAnotherElement(WTA):
    """Compares one element of a window, and stores the value of another."""

    def hash(self, x):
        rows = x if isinstance(x, np.ndarray) else x.toarray()
        codes = np.zeros((len(rows), self.n_tables), np.uint32)
        for number, window in enumerate(self._windows.columns):
            largest, position = np.full(len(rows), -np.inf), np.zeros(len(rows), np.uint32)
            for place, column in enumerate(window):
                wins = rows[:, column] > largest
                position[wins], largest[wins] = place, rows[wins, window[place - 1]]
            codes[:, number // self.n_hashes] |= position << np.uint32(
                number % self.n_hashes * self.bits_per_hash
            )
        return codes

    def native(self):
        return None


# Codes and specs.


class OneBitTooMany(Signs):
    def hash(self, x):
        return super().hash(x) * np.uint32(2)


@attrs.frozen(kw_only=True)
class WideSpec(FamilySpec):
    """With the bits of a hash."""

    bits: int = 8


class BitsSetLate(Signs):
    Spec = WideSpec

    def __init__(self, spec):
        super().__init__(spec)
        self.bits_per_hash = spec.bits

    def hash(self, x):
        return np.zeros((x.shape[0], self.n_tables), np.uint32)


class MutableSpec(FamilySpec):
    """Not decorated, so that `level` is no field."""

    level: float = 0.5


class Undecorated(Signs):
    Spec = MutableSpec


@attrs.frozen(kw_only=True)
class RoundedSpec(FamilySpec):
    """Its values come back as others."""

    level: float = attrs.field(default=0.25, converter=lambda level: level / 2)


class ChangesWhenRead(Signs):
    Spec = RoundedSpec


class DrawsInReduce(Signs):
    """A pickled copy has the functions of another seed."""

    def __reduce__(self):
        return type(self)._again, (self.spec,)

    @classmethod
    def _again(cls, spec):
        family = cls(spec)
        family.generator = lambda: np.random.default_rng(spec.seed + 1)
        return family


class SeedChangesK(Signs):
    def with_seed(self, seed):
        return type(self)(attrs.evolve(self.spec, seed=seed, n_hashes=1))


class PreparesItself(Signs):
    centre = 0.0

    def hash(self, x):
        return super().hash(dense(x) - np.float32(self.centre))

    def prepare(self, vectors):
        self.centre = dense(vectors).mean()
        return self


class PreparesAnother(Signs):
    def prepare(self, vectors):
        return None


# Probes.


class Probing(Signs):
    """Flips the bits of small margins first: a correct order."""

    def probe(self, q, n_probes):
        margins = np.abs(self.margins(dense(q)))
        sets = (np.arange(2**self.n_hashes)[:, None] >> np.arange(self.n_hashes)) & 1
        scores = np.einsum("sk,ktn->nts", sets, margins**2)
        flips = np.argsort(scores, axis=2, kind="stable")[:, :, :n_probes].astype(np.uint32)
        return self.hash_query(q)[:, :, None] ^ flips


class RepeatsBuckets(Probing):
    def probe(self, q, n_probes):
        probes = super().probe(q, n_probes)
        return np.where(np.arange(n_probes) == n_probes - 1, probes[:, :, :1], probes)


class SkipsItsOwn(Probing):
    def probe(self, q, n_probes):
        return super().probe(q, n_probes) ^ np.uint32(1)


class WorstFirst(Probing):
    def probe(self, q, n_probes):
        everything = super().probe(q, 2**self.n_hashes)
        return np.concatenate([everything[:, :, :1], everything[:, :, :0:-1]], axis=2)[:, :, :n_probes]


class ByNumber(Probing):
    """Counts through the buckets, so that two flips come before one."""

    def probe(self, q, n_probes):
        return self.hash_query(q)[:, :, None] ^ np.arange(n_probes, dtype=np.uint32)


class OtherProbesForMore(Probing):
    def probe(self, q, n_probes):
        probes = super().probe(q, n_probes)
        return np.concatenate([probes[:, :, :1], probes[:, :, :0:-1]], axis=2)


class ProbeLawOfOtherTables(SimHash):
    def probe_probability(self, q, x, n_probes):
        return np.roll(super().probe_probability(q, x, n_probes), 1, axis=1)


class ProbeLawOffByATenth(SimHash):
    def probe_probability(self, q, x, n_probes):
        return np.minimum(1.0, 1.1 * super().probe_probability(q, x, n_probes))


# Kernels: signs of sampled columns, compiled.

SOURCE = r"""
#include "lshsample/family.h"
#include <sched.h>
#include <string.h>

typedef struct { int32_t n_hashes, n_tables; const int32_t *columns; } state_t;
#define ARGUMENTS const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride, \
    const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch

static uint32_t code(const state_t *s, const float *row, int32_t t) {
    uint32_t found = 0;
    const int32_t *columns = s->columns + t * s->n_hashes;
    for (int32_t k = 0; k < s->n_hashes; k++) found |= (uint32_t)(row[columns[k]] > 0) << k;
    return found;
}
static const float *unpack(float *dense, int64_t r, int64_t dim, const float *values, int64_t stride,
                           const int64_t *indptr, const int32_t *indices) {
    if (!indptr) return values + r * stride;
    memset(dense, 0, (size_t)dim * sizeof *dense);
    for (int64_t i = indptr[r]; i < indptr[r + 1]; i++) dense[indices[i]] = values[i];
    return dense;
}
#define KERNEL(name, stride, columns, before, buffer, change)                                              \
    int32_t name(ARGUMENTS) {                                                                              \
        const state_t *s = state;                                                                          \
        before;                                                                                            \
        for (int64_t r = 0; r < n_rows; r++) {                                                             \
            const float *row = unpack(buffer, r, dim, values, stride, indptr, indices);                    \
            for (int32_t t = 0; t < s->n_tables; t++) {                                                    \
                uint32_t *out = codes + r * s->n_tables + t;                                               \
                *out = code(s, row, t);                                                                    \
                change;                                                                                    \
            }                                                                                              \
        }                                                                                                  \
        return 0;                                                                                          \
    }
static float shared[4096];
static float *shared_row(const float *row, int64_t dim) {
    memcpy(shared, row, (size_t)dim * sizeof *row);
    return shared;
}
static int64_t calls;

KERNEL(right, stride, 0, (void)0, scratch, (void)0)
KERNEL(static_buffer, stride, 0, (void)0, shared, sched_yield())
KERNEL(static_copy, stride, 0, (void)0, scratch, *out = code(s, shared_row(row, dim), t))
KERNEL(counts_calls, stride, 0, calls++, scratch, *out ^= calls < 0)
KERNEL(ignores_stride, dim, 0, (void)0, scratch, (void)0)
KERNEL(odd_tail, stride, 0, (void)0, scratch, if (dim % 2) *out ^= row[dim - 1] > 1)
KERNEL(long_rows, stride, 0, (void)0, scratch, if (dim > 1024) *out ^= row[1024] != 0)
KERNEL(writes_one_more, stride, 0, (void)0, scratch, out[1] = 0)
KERNEL(dirty_scratch, stride, 0, (void)0, scratch, if (!indptr) *out ^= ((unsigned char *)scratch)[0] > 127)
KERNEL(of_the_address, stride, 0, (void)0, scratch, *out ^= !indptr && (uintptr_t)values % 16 == 4)
KERNEL(first_block_only, stride, 0, if (indptr) { values += indptr[0] > 0; }, scratch, (void)0)
KERNEL(in_place, stride, 0, (void)0, scratch, ((float *)row)[0] = 1)
KERNEL(of_the_block, stride, 0, (void)0, scratch, *out ^= n_rows == 64 && r == 63)
"""


class Columns(HashFamily):
    """Whether values of random columns are positive; its kernel is `kernel` of the C source."""

    similarity = "agreeing fraction"
    kernel = "right"
    scratch = 1.0

    @functools.cached_property
    def columns(self):
        shape = (self.n_tables, self.n_hashes)
        return np.random.default_rng(self.seed).integers(self.dim, size=shape, dtype=np.int32)

    def hash(self, x):
        places = np.arange(self.n_hashes, dtype=np.uint32)
        return ((dense(x) > 0)[:, self.columns].astype(np.uint32) << places).sum(axis=2, dtype=np.uint32)

    def similarity_of(self, q, x):
        return ((dense(q) > 0) == (dense(x) > 0)).mean(axis=1)

    def collision_probability(self, similarity):
        return np.clip(np.asarray(similarity, np.float64), 0, 1)

    @functools.cached_property
    def _kernel(self):
        ffi, lib = LIBRARY
        state = ffi.new(
            "state_t *", (self.n_hashes, self.n_tables, ffi.from_buffer("int32_t[]", self.columns))
        )
        return NativeKernel(
            hash=int(ffi.cast("intptr_t", ffi.addressof(lib, self.kernel))),
            state=int(ffi.cast("intptr_t", state)),
            abi_version=1,
            scratch_bytes=int(4 * self.dim * self.scratch),
            keepalive=(state, self.columns, lib),
        )

    def native(self):
        return self._kernel


def kernel(name, scratch=1.0):
    return type(f"Kernel_{name}", (Columns,), {"kernel": name, "scratch": scratch, "__module__": __name__})


LIBRARY = None
KERNELS = "right static_buffer static_copy counts_calls ignores_stride odd_tail long_rows writes_one_more "
KERNELS += "dirty_scratch of_the_address first_block_only in_place of_the_block"


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    global LIBRARY
    folder = tmp_path_factory.mktemp("kernels")
    source, target = folder / "kernels.c", folder / "kernels.so"
    source.write_text(SOURCE)
    command = (sysconfig.get_config_var("CC") or "cc").split()[:1]
    flags = ["-shared", "-fPIC", "-O1", "-I", str(Path(get_include())), str(source), "-o", str(target)]
    subprocess.run([*command, *flags], check=True)
    ffi = FFI()
    ffi.cdef("typedef struct { int32_t n_hashes, n_tables; const int32_t *columns; } state_t;")
    for name in KERNELS.split():
        ffi.cdef(f"int32_t {name}(void);")
    LIBRARY = ffi, ffi.dlopen(str(target))
    yield
    LIBRARY = None


RATES = "agree at a rate of .* the law says"
TOGETHER = "tables t and t . 1, claimed to be independent, agree at a rate of .* the law says"
FLOAT32 = "collision_probability computes in float32"
SURROUNDINGS = "depend on the surroundings of the process"
#: The sparse projection of simhash, whose page states where its law does not hold.
SPARSE = type("SPARSE", (SimHash,), {"__module__": __name__})
SPECS = {
    SPARSE: functools.partial(SimHashSpec, projection="sparse"),
    TailLeftOut: functools.partial(SimHashSpec, projection="gaussian"),
}
#: The family, the check that must fail, words of its message.
FAULTY = [
    (WrongConstant, "law_one_hash[rotated]", RATES),
    (WrongWay, "law_one_hash[rotated]", RATES),
    (WrongWay, "symmetry", "a row agrees with itself, but the law says with probability 0.0000"),
    (LawOfHalfPrecision, "law_values", FLOAT32),
    (ArgumentOfHalfPrecision, "law_values", FLOAT32),
    (ResultOfHalfPrecision, "law_values", "returns float32, expected float64"),
    (NoNegativeCosines, "law_values", "of similarity -1.0 is nan, not a probability"),
    (AboveOneAtZero, "law_values", "of similarity 0.0 is 1.5, not a probability"),
    (RaisesFarAway, "law_values", "raises OverflowError"),
    (LawOfTheLargest, "law_values", "depends on the others given"),
    (ClipsItsArgument, "law_values", "writes into the similarities it is given"),
    (Misspelt, "law_values", "similarity is 'cosin', and similarity_of is not overridden"),
    (NoSimilarity, "law_values", "similarity is None, expected a name"),
    (SimilarityOfOthers, "law_one_hash[rotated]", RATES),
    (SimilarityOfDenseRows, "law_values", "similarity_of: dense and CSR rows differ"),
    (SimilarityOfZeros, "law_values", "similarity_of is nan for a pair of rows"),
    (OneHashForACode, "law_one_hash[rotated]", RATES),
    (SignLost, "law_one_hash[rotated]", RATES),
    (LastColumnLeftOut, "law_one_hash[very_sparse]", RATES),
    (FirstColumnLeftOut, "law_one_hash[very_sparse]", RATES),
    (LastHashConstant, "law_one_hash[rotated]", RATES),
    (LastTableConstant, "law_one_hash[rotated]", "hashes of table 31 agree at a rate of 1.0000"),
    (CopiesOfOneTable, "law_code[rotated]", "tables, claimed to be independent, " + RATES),
    (NeighboursShareAHash, "law_code[rotated]", TOGETHER),
    (HalvesShareTables, "law_code[rotated]", "claimed to be independent, agree at a rate of"),
    (TableAddedToSeed, "seeds", "seeds s and s . 1 have functions in common"),
    (SeedIgnored, "seeds", "another seed leaves 100.0% of the codes unchanged"),
    (SeedOf32Bits, "seeds", "seeds 11 and 4294967307 give the same functions"),
    (SmallSeedsOnly, "seeds", "seed 4294967307 is refused, but seeds go to"),
    (SaltedByHash, "other_process", "depend on PYTHONHASHSEED"),
    (OrderOfASet, "other_process", "depend on PYTHONHASHSEED"),
    (OfTheDay, "other_process", SURROUNDINGS),
    (OfTheClock, "other_process", SURROUNDINGS),
    (OfTheTimeZone, "other_process", SURROUNDINGS),
    (OfTheDirectory, "other_process", SURROUNDINGS),
    (OfTheProcessors, "other_process", SURROUNDINGS),
    (OfTheProcess, "other_process", "depend on"),
    (CacheBySeed, "instances", "is there a cache keyed by the seed alone"),
    (PoolBySeed, "other_process", "such as a cache keyed by the seed|as with a cache keyed by the seed"),
    (LastOneMade, "instances", "change when another one is made"),
    (SeedsTheWorld, "global_state", "hash changes the state of NumPy's global random generator"),
    (SeedsPython, "global_state", "making a family changes the state of Python's global random generator"),
    (SilencesNumPy, "global_state", "pair_probability changes how NumPy handles floating-point errors"),
    (EveryTenthCall, "determinism", "the same family gives other codes"),
    (ReturnsItsBuffer, "determinism", "changes the codes that an earlier one returned"),
    (SharedBuffer, "concurrent_calls", "threads that hash at the same time get other codes"),
    (OfTheThread, "concurrent_calls", "threads that hash at the same time get other codes"),
    (CentredBlocks, "blocks_and_threads", "blocks of 1 rows differ"),
    (PlaceInTheBlock, "blocks_and_threads", "blocks of 1 rows differ"),
    (LargeBlocks, "blocks_and_threads", "a block of .* rows differs"),
    (SingleRows, "blocks_and_threads", "blocks of 1 rows differ"),
    (MatrixProduct, "blocks_and_threads", "rows differ|other codes|order of the rows"),
    (ContiguousOnly, "blocks_and_threads", "get other codes"),
    (AlignedOnly, "blocks_and_threads", "strided, unaligned rows get other codes"),
    (SparseOtherwise, "dense_equals_csr", "dense and CSR rows get different codes"),
    (CentresInPlace, "rows_unchanged", "hash writes into the caller's rows"),
    (ScalesQueriesInPlace, "rows_unchanged", "hash_query writes into the caller's rows"),
    (ZeroRowsAtRandom, "edge_rows", "rows of zeros have different codes"),
    (ZeroRowsFail, "edge_rows", "raised ZeroDivisionError"),
    (QueriesRounded, "symmetry", "a row misses itself: queries are hashed differently"),
    (SignPerBin, "law_one_hash[non_negative]", RATES),
    (SignPerBin, "law_one_hash[disjoint_support]", RATES),
    (SPARSE, "law_one_hash[heavy_tailed]", RATES),
    (LawOffByThreePercent, "law_one_hash[rotated]", RATES),
    (LawOffByThreePercent, "law_code[rotated]", RATES),
    (NaturalLogPacking, "law_one_hash[rotated]", RATES),
    (StoresAnotherElement, "law_one_hash[rotated]", RATES),
    (ReadsPastTheEnd, "blocks_and_threads", "blocks of 1 rows differ"),
    (FailsOnNoRows, "edge_rows", "FailsOnNoRows.hash raised ValueError"),
    (KernelOfOtherFunctions, "native_equals_reference", "kernel differs from the reference"),
    (TailLeftOut, "native_equals_reference", "kernel differs from the reference"),
    (OneBitTooMany, "codes", r"a code of 2\*\*4 or more"),
    (BitsSetLate, "codes", "5 hashes of 8 bits are not refused.*before super"),
    (Undecorated, "spec_round_trip", "MutableSpec is not decorated .* level is no field"),
    (ChangesWhenRead, "spec_round_trip", "makes ChangesWhenRead"),
    (DrawsInReduce, "spec_round_trip", "a pickled family has other functions"),
    (SeedChangesK, "seeds", "with_seed changes more than the seed"),
    (PreparesItself, "prepare", "prepare changes the codes of the family"),
    (PreparesAnother, "prepare", "returned None, expected the same class"),
    (RepeatsBuckets, "probing", "a bucket is probed twice"),
    (SkipsItsOwn, "probing", "the first probe is not the row's own code"),
    (WorstFirst, "probe_order", "probes are not ordered by probability"),
    (ByNumber, "probe_order", "probes are not ordered by probability: number 4"),
    (OtherProbesForMore, "probing", "probes are not the . probes"),
    (ProbeLawOfOtherTables, "law_probes", "5 probes find it in other tables than the law says"),
    (ProbeLawOffByATenth, "law_probes", "rotated row .: 5 probes find it at a rate of"),
    (kernel("static_buffer"), "kernel_memory", "hash changes static variables of .*kernels.so"),
    (kernel("static_buffer"), "concurrent_calls", "threads that hash at the same time get other codes"),
    (kernel("static_copy"), "kernel_memory", "hash changes static variables of .*kernels.so"),
    (kernel("counts_calls"), "kernel_memory", "hash changes static variables of .*kernels.so"),
    (kernel("right", 0.5), "kernel_memory", "writes .* bytes behind its scratch memory: scratch_bytes is"),
    (kernel("right", 0.5), "law_code[rotated]", "bytes behind its scratch memory"),
    (kernel("right", 0.0), "determinism", "scratch_bytes is 0, and must be at least 256"),
    (kernel("writes_one_more"), "kernel_memory", "writes around the codes of its rows"),
    (kernel("dirty_scratch"), "kernel_memory", "depend on the contents of its scratch memory"),
    (kernel("ignores_stride"), "blocks_and_threads", "strided, unaligned rows get other codes"),
    (kernel("of_the_address"), "blocks_and_threads", "strided, unaligned rows get other codes|blocks of"),
    (kernel("first_block_only"), "blocks_and_threads", "CSR rows get other codes in blocks"),
    (kernel("of_the_block"), "blocks_and_threads", "blocks of 1 rows differ"),
    (kernel("odd_tail"), "native_equals_reference", "kernel differs from the reference"),
    (kernel("long_rows"), "native_equals_reference", "kernel differs from the reference"),
    (kernel("in_place"), "rows_unchanged", "hash writes into the caller's rows|the kernel writes into"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "check", "words"), FAULTY, ids=[f"{cls.__name__}-{check}" for cls, check, _ in FAULTY]
)
def test_a_faulty_family_fails_by_name(cls, check, words):
    spec = SPECS.get(cls, cls.Spec)
    case = FamilyCase(lambda **shape: cls(spec(**shape)))
    with pytest.raises(AssertionError, match=words):
        run(check, case)


def run(check, case):
    try:
        CHECKS[check](case)
    except SkipTest as reason:
        pytest.fail(f"{check} is skipped: {reason}")


def test_every_check_and_every_kind_of_pairs_detects_something():
    caught = {check for _, check, _ in FAULTY}
    assert {name for name in CHECKS if "[" not in name} == {name for name in caught if "[" not in name}
    assert {name.split("[")[1] for name in caught if "[" in name} == {f"{kind}]" for kind in law_checks.PAIRS}


@pytest.mark.parametrize("cls", [Signs, Probing, Columns])
def test_the_right_families_pass(cls):
    """The families that the faulty ones change in one place."""
    outcomes = check_family(FamilyCase(lambda **shape: cls(cls.Spec(**shape))))
    skipped = {name for name, outcome in outcomes.items() if outcome.startswith("skipped")}
    no_kernel = set() if cls is Columns else {"kernel_memory", "native_equals_reference"}
    assert skipped == no_kernel | {"law_probes"} | (
        {"probing", "probe_order"} if cls is not Probing else set()
    )
