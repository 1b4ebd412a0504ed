"""The families of a comparison, with their options and the shapes that they are tried with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from lshsample.errors import ArgumentError, LshsampleError
from lshsample.family import FamilySpec, HashFamily
from lshsample.family_text import format_family
from lshsample.registry import FamilyLike, families, family_of_bits, make_family, named_family, resolve_family
from lshsample.specs import checked_integer, integer

__all__ = ["ComparisonSettings", "Contender", "all_contenders"]

_COMMON = frozenset(field.name for field in attrs.fields(FamilySpec))


def _integers(value: Any) -> Any:
    """A tuple of integers, ascending and each once, of one integer or several."""
    if value is None:
        return None
    values = tuple(value) if isinstance(value, (tuple, list, range)) else (value,)
    return tuple(sorted(set(values))) if all(isinstance(v, int) for v in values) else values


def _positive(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not value:
        raise ArgumentError(attribute.name, repr(value), "one positive integer or several")
    for each in value:
        checked_integer(attribute.name, each, 1)


@attrs.frozen(kw_only=True)
class ComparisonSettings:
    """How contenders are measured. A setting of several integers can be given as one.

    Attributes
    ----------
    budgets : tuple of int
        Numbers of candidates at which recall is compared.
    bits : tuple of int
        Code lengths that each contender is tried with (K is the largest number of hashes that fits).
    n_hashes : tuple of int, optional
        Numbers of hashes, K, that each contender is tried with, instead of ``bits``.
    n_tables : tuple of int
        Numbers of tables, L.
    probes : tuple of int, optional
        Numbers of buckets per table that queries look into; by default each family's own number. Families
        that cannot probe are measured with 1.
    threads : int or None
        Number of threads.
    seed : int
        Determines the hash functions and the draws.
    rounds : int
        Repetitions of each timing.
    """

    budgets: tuple[int, ...] = attrs.field(
        default=(100, 300, 1000, 3000), converter=_integers, validator=_positive
    )
    bits: tuple[int, ...] = attrs.field(default=(4, 6, 8, 10, 12), converter=_integers, validator=_positive)
    n_hashes: tuple[int, ...] | None = attrs.field(
        default=None, converter=_integers, validator=attrs.validators.optional(_positive)
    )
    n_tables: tuple[int, ...] = attrs.field(default=(10, 50), converter=_integers, validator=_positive)
    probes: tuple[int, ...] | None = attrs.field(
        default=None, converter=_integers, validator=attrs.validators.optional(_positive)
    )
    threads: int | None = None
    seed: int = attrs.field(default=0, validator=integer(0, 2**63 - 1))
    rounds: int = attrs.field(default=5, validator=integer(1))

    def probes_of(self, family: HashFamily) -> tuple[int, ...]:
        """The numbers of probes that a family is measured with: those that it has codes for.

        Raises
        ------
        ArgumentError
            There are fewer codes than all these numbers.
        """
        if self.probes is None or not family.can_probe:
            return (family.default_probes,)
        fitting = tuple(p for p in self.probes if p <= 2**family.code_bits)
        if not fitting:
            wanted = f"at most {2**family.code_bits}, the number of codes of {family.code_bits} bits"
            raise ArgumentError("probes", self.probes[0], wanted)
        return fitting


@attrs.frozen
class Contender:
    """A family with its options.

    Attributes
    ----------
    label : str
        Its label in tables and plots.
    family : str
        The registered name of the family.
    options : tuple of (str, value)
        Options of the family.
    """

    label: str
    family: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, family: FamilyLike) -> Contender:
        """A contender from a family: usually its text, ``name`` or ``name:option=value,option=value``.

        Dim, K, L and seed of a family, its spec or its plain data are not used.

        Raises
        ------
        ArgumentError
            There is no such family, or it has no such option.

        Examples
        --------
        >>> Contender.parse("simhash:projection=gaussian").options
        (('projection', 'gaussian'),)
        """
        if isinstance(family, Mapping):
            family = resolve_family(family)
        name, options = named_family(family)
        for option in options:
            if option in _COMMON:
                wanted = "left out: a comparison sets dim, n_hashes, n_tables and seed for all families"
                raise ArgumentError(f"{name}: {option}", options[option], wanted)
        label = family if isinstance(family, str) else format_family(name, options)
        return cls(label, name, tuple(options.items()))

    def make(self, dim: int, bits: int, n_tables: int, seed: int = 0) -> HashFamily:
        """The family with codes of at most ``bits`` bits (at least one hash)."""
        shape = {"dim": dim, "n_tables": n_tables, "seed": seed, **dict(self.options)}
        return family_of_bits(self.family, bits, **shape)

    def shapes(
        self, dim: int, settings: ComparisonSettings
    ) -> tuple[list[HashFamily], dict[str, LshsampleError]]:
        """The family with each number of hashes and of tables that it is tried with, and those it refuses.

        Raises
        ------
        LshsampleError
            The family refuses all of them: the number of columns, or an option's value.
        """
        made: dict[tuple[int, int], HashFamily] = {}
        refused: dict[str, LshsampleError] = {}
        shape = {"dim": dim, "seed": settings.seed, **dict(self.options)}
        for n_tables in settings.n_tables:
            for amount in settings.n_hashes or settings.bits:
                try:
                    if settings.n_hashes is None:
                        family = self.make(dim, amount, n_tables, settings.seed)
                    else:
                        family = make_family(self.family, n_hashes=amount, n_tables=n_tables, **shape)
                    settings.probes_of(family)
                    made.setdefault((family.n_hashes, family.n_tables), family)
                except LshsampleError as error:
                    what = "K =" if settings.n_hashes else "bits ="
                    refused[f"{self.label}, {what} {amount}, L = {n_tables}"] = error
        if refused and not made:
            raise next(iter(refused.values()))
        return list(made.values()), refused

    def is_to_blame(self, error: Exception) -> bool:
        """Whether an error is about one of the options, and not about the rows."""
        if not isinstance(error, ArgumentError):
            return False
        return bool(set(error.argument.split(".")) & set(dict(self.options)))


def all_contenders() -> list[Contender]:
    """Every installed family without required options."""
    return [
        Contender.parse(name)
        for name, cls in families().items()
        if not any(f.default is attrs.NOTHING for f in attrs.fields(cls.Spec) if f.name not in _COMMON)
    ]
