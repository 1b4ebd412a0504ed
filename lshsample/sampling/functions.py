"""The hash functions of tables that are rebuilt repeatedly: one draw for each build."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lshsample.errors import ArgumentError
from lshsample.family import HashFamily
from lshsample.hashing import reseeded
from lshsample.registry import FamilyLike, families, family_of_bits, named_family, resolve_family

__all__ = ["FunctionSequence", "default_code_bits", "stream_seed"]


def stream_seed(*key: int) -> int:
    """The seed, from 0 to 2**63 - 1, of the random stream with this key of integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def default_code_bits(n_items: int) -> int:
    """The number of code bits that gives about 8 items per bucket.

    Longer codes find very few items: a label's weights have cosines of only 0.3 to 0.5 with the hidden
    vectors of its rows, where a SimHash bit agrees with probability 0.6 to 0.67.

    Examples
    --------
    >>> default_code_bits(670_091)
    16
    """
    return max(1, min(30, round(math.log2(max(n_items, 2)) - 3)))


class FunctionSequence:
    """The hash functions of builds 0, 1, ...: a function of (key, build).

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        As for :func:`lshsample.make_family`: text (``"simhash:projection=sparse"``), or a family: then
        build 0 has its functions, and later builds those of its ``with_seed``.
    dim : int
        Columns of the rows.
    n_items : int
        Number of rows, for the default number of hashes.
    n_hashes, n_tables : int, optional
        Hashes per table (K) and tables (L), for a family given as text. By default those of the text, or
        the family's ``default_tables`` and ``default_hashes``: usually 16 tables, and as many hashes as fit
        into :func:`default_code_bits`.
    key : tuple of int
        Determines the draws.
    fixed : bool
        Whether all builds have the functions of build 0.

    Raises
    ------
    ArgumentError
        Unknown family, an option given twice, or a family of another ``dim``.
    UnsupportedError
        A family whose functions do not depend on a seed, unless ``fixed``.
    """

    def __init__(
        self,
        family: FamilyLike,
        *,
        dim: int,
        n_items: int,
        n_hashes: int | None = None,
        n_tables: int | None = None,
        key: tuple[int, ...] = (0,),
        fixed: bool = False,
    ) -> None:
        self._key, self._fixed = key, fixed
        given = {"n_hashes": n_hashes, "n_tables": n_tables}
        given = {name: value for name, value in given.items() if value is not None}
        self._family: HashFamily | None = None
        family = resolve_family(family)
        if isinstance(family, HashFamily):
            _check_family(family, dim, given)
            self._family = family
            if not fixed:
                self.family(1)  # refuses functions that do not depend on a seed
            return
        self._text = family
        name, in_text = named_family(family)
        cls = families()[name]
        if "seed" in in_text:
            raise ArgumentError("family", repr(family), "without the option seed, which the sampler sets")
        for name in given:
            if name in in_text:
                raise ArgumentError(name, f"{given[name]} and {family!r}", "given once")
        self._options = {"dim": dim, **given}
        if "n_tables" not in in_text:
            self._options.setdefault("n_tables", cls.default_tables)
        if "n_hashes" not in in_text and cls.default_hashes is not None:
            self._options.setdefault("n_hashes", cls.default_hashes)
        self._bits = default_code_bits(n_items)

    def seed(self, build: int) -> int:
        """The seed of a build's functions, and of other draws for it."""
        return stream_seed(*self._key, build)

    def family(self, build: int) -> HashFamily:
        """The functions of a build, counted from 0."""
        build = 0 if self._fixed else build
        if self._family is not None:
            return self._family if build == 0 else reseeded(self._family, self.seed(build))
        return family_of_bits(self._text, self._bits, **self._options, seed=self.seed(build))


def _check_family(family: HashFamily, dim: int, options: Mapping[str, Any]) -> None:
    """Refuse a family of another dim, and options together with a family."""
    if family.dim != dim:
        raise ArgumentError("family", f"dim {family.dim}", f"a family of dim {dim}, as the vectors")
    for name, value in options.items():
        raise ArgumentError(name, repr(value), "left out with a HashFamily, which has its own")
