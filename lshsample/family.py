"""Hash families: the base classes, the spec that makes a family, its compiled kernel, validation of rows."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, cast, get_args, get_origin

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.convert import ConvertedRows
from lshsample.display import html_table
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.specs import integer

__all__ = [
    "DISTANCES",
    "SIMILARITIES",
    "Codes",
    "FamilySpec",
    "Floats",
    "HashFamily",
    "NativeKernel",
    "QuantizingFamily",
    "Rows",
    "WrapperFamily",
    "checked_rows",
    "dense_rows",
    "family_label",
]

Rows = npt.NDArray[np.float32] | sp.csr_array
"""Rows to hash: dense (n, dim) float32, or canonical CSR with float32 values."""

Codes = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

#: Rows that a wrapper transforms at once.
_BLOCK = 1024


def family_label(family: HashFamily) -> str:
    """A family's name in errors: its module, which names the plugin, and its class."""
    cls = type(family)
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_spec(family: HashFamily, spec: Any) -> None:
    if not isinstance(spec, family.Spec):
        raise ArgumentError("spec", repr(spec), f"a {family.Spec.__name__}")


def _check_bits(family: HashFamily) -> None:
    """Refuse codes that do not fit into 32 bits."""
    bits = family.bits_per_hash
    if not isinstance(bits, (int, np.integer)) or bits < 1:
        where = f"{family_label(family)}.bits_per_hash"
        raise PluginError(f"{where} is {bits!r}, expected a positive integer")
    if family.spec.n_hashes * bits > 32:
        given = f"{family.spec.n_hashes} hashes of {bits} bits"
        raise ArgumentError("n_hashes", given, "such that a code has at most 32 bits")


def checked_rows(
    family: HashFamily, x: Any, argument: str = "x", *, finite: bool = True, threads: int | None = None
) -> Rows:
    """Validated rows: finite, ``family.dim`` columns, dense float32 or canonical CSR.

    ``finite=False`` leaves the check for NaN and infinity to the caller. Rows of a narrower type
    (:class:`~lshsample._native.convert.ConvertedRows`) are converted, and checked, where they are read.
    """
    if isinstance(x, ConvertedRows):
        if x.shape[1] != family.dim:
            raise ArgumentError(argument, f"{x.shape[1]} columns", f"an array with {family.dim} columns")
        return cast("Rows", x)
    if sp.issparse(x):
        return core.csr_rows(x, argument, family.dim, finite=finite, threads=threads)
    return core.dense_rows(x, argument, family.dim, finite=finite)


def with_checked_rows(method: Callable[..., Codes], argument: str) -> Callable[..., Codes]:
    """A family's method that validates its first argument by :func:`checked_rows`."""

    @functools.wraps(method)
    def checked(family: HashFamily, *given: Any, **named: Any) -> Codes:
        rows = (checked_rows(family, given[0], argument),) if given else ()
        return method(family, *rows, *given[1:], **named)

    return checked


def dense_rows(rows: Rows) -> npt.NDArray[np.float32]:
    """Rows as a dense array: themselves if they are dense.

    Parameters
    ----------
    rows : (n, dim) rows
        Dense or CSR.

    Returns
    -------
    (n, dim) float32 array

    Examples
    --------
    >>> dense_rows(sp.csr_array(np.eye(2, dtype=np.float32)))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return rows if isinstance(rows, np.ndarray) else np.asarray(rows.toarray())


def _inner_products(q: Any, x: Any) -> Floats:
    """Inner products of rows, in float64."""
    if sp.issparse(q) or sp.issparse(x):
        both = sp.csr_array(q).astype(np.float64).multiply(sp.csr_array(x).astype(np.float64))
        return np.asarray(both.sum(axis=1), dtype=np.float64).reshape(-1)
    return np.asarray(np.einsum("ij,ij->i", q, x, dtype=np.float64))


def _cosines(q: Any, x: Any) -> Floats:
    """Cosines of rows; 0 if one is zero."""
    inner = _inner_products(q, x)
    scale = np.sqrt(_inner_products(q, q)) * np.sqrt(_inner_products(x, x))
    return np.asarray(np.clip(np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0), -1, 1))


def _differences(q: Any, x: Any) -> Any:
    sparse = sp.issparse(q) or sp.issparse(x)
    q, x = (sp.csr_array(rows) if sparse else rows for rows in (q, x))
    return q.astype(np.float64) - x.astype(np.float64)


def _distances(q: Any, x: Any) -> Floats:
    """Euclidean distances of rows, in float64, from differences: by norms and inner products they cancel."""
    difference = _differences(q, x)
    return np.asarray(np.sqrt(_inner_products(difference, difference)))


def _l1_distances(q: Any, x: Any) -> Floats:
    return np.asarray(abs(_differences(q, x)).sum(axis=1), np.float64).reshape(-1)


#: The similarities that :meth:`HashFamily.similarity_of` computes, by name.
SIMILARITIES: dict[str, Callable[[Any, Any], Floats]] = {
    "cosine": _cosines,
    "inner_product": _inner_products,
    "euclidean": _distances,
    "l1": _l1_distances,
}
#: Those that are small for near rows.
DISTANCES = ("euclidean", "l1")


@attrs.frozen(kw_only=True)
class FamilySpec:
    """The options of every family; the spec class of a family inherits from this and adds options.

    Attributes
    ----------
    dim : int
        Columns of the rows to hash.
    n_hashes : int
        Hashes in one code, K.
    n_tables : int
        Codes per row, L.
    seed : int
        Determines the hash functions: the same spec always gives the same functions.
    """

    dim: int = attrs.field(validator=integer(1, 2**31 - 1))
    n_hashes: int = attrs.field(default=8, validator=integer(1, 32))
    n_tables: int = attrs.field(default=16, validator=integer(1, 65535))
    seed: int = attrs.field(default=0, validator=integer(0, 2**63 - 1))


# For a class without a type argument, `class X(HashFamily)`, the spec has any type. Type checkers have the
# default of a type variable before Python has it.
if TYPE_CHECKING:
    from typing_extensions import TypeVar

    SpecT = TypeVar("SpecT", bound=FamilySpec, default=Any)
else:
    from typing import TypeVar

    SpecT = TypeVar("SpecT", bound=FamilySpec)


@attrs.frozen(eq=False)
class NativeKernel:
    """A compiled hash function behind the ABI of ``lshsample/family.h``.

    Attributes
    ----------
    hash : int
        Address of an ``lsh_hash_fn``.
    state : int
        Address of the read-only state that it is called with (0 for none).
    abi_version : int
        ``LSH_FAMILY_ABI`` of the header that the function was compiled with.
    scratch_bytes : int
        Scratch memory per thread.
    probe : int
        Address of an ``lsh_probe_fn``, or 0.
    keepalive : object
        Objects that must exist as long as the kernel: the arrays that ``state`` points to, the library.
    """

    hash: int
    state: int
    abi_version: int
    scratch_bytes: int = 0
    probe: int = 0
    keepalive: object = None


class HashFamily(ABC, Generic[SpecT]):
    """K·L random hash functions, with the probability that one of them agrees on two rows.

    A subclass names its spec class, as in ``class CauchyL1(HashFamily[CauchySpec])``, by which type checkers
    know its options (``self.spec.width``). It sets ``similarity`` and implements :meth:`hash` and
    :meth:`collision_probability`; everything else has a default. Instances are immutable, and the spec
    determines them completely. Inputs of :meth:`hash`, :meth:`hash_query` and :meth:`probe` are validated
    whoever calls the method.

    Parameters
    ----------
    spec : FamilySpec
        An instance of the class's ``Spec``.
    """

    #: The spec class, a frozen attrs subclass of FamilySpec: the type argument, if the class has one.
    Spec: ClassVar[type[FamilySpec]] = FamilySpec
    #: What the collision probability is a function of: a key of SIMILARITIES, or another name.
    similarity: str
    #: Whether the K hashes of a code are independent: then a code agrees with probability p**K.
    independent_hashes: bool = True
    #: Whether the L tables are independent: then some table agrees with probability 1 - (1 - p**K)**L.
    independent_tables: bool = True
    #: Whether ``collision_probability`` is exact for all pairs; otherwise it is used only to predict recall
    #: and size, not for importance weights.
    exact_law: bool = True
    #: Whether the collision probability depends on the norm of the data row too: then
    #: ``collision_probability`` and ``code_probability`` take the norms as a second array.
    law_of_norms: bool = False
    #: Buckets per table that a query looks into by default.
    default_probes: int = 1
    #: Tables of a sampler whose family is given as text without ``n_tables``.
    default_tables: int = 16
    #: Hashes of a sampler whose family is given as text without ``n_hashes``; None: by the number of items.
    default_hashes: int | None = None
    #: Bits of one hash; a code has n_hashes times as many.
    bits_per_hash: int = 1
    #: Whether hashing calls functions that the spec names. Opening a file that has the spec calls none of
    #: them; they are compared with those that saved it before the first query.
    calls_named_functions: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for named in _type_arguments(cls):
            if vars(cls).get("Spec", named) is not named:
                where = f"{cls.__module__}.{cls.__qualname__}"
                raise PluginError(
                    f"{where}.Spec is {cls.Spec!r}, expected the class's type argument, {named!r}"
                )
            cls.Spec = named
        # Inputs are validated whoever calls the method.
        for name, argument in (("hash", "x"), ("hash_query", "queries"), ("probe", "queries")):
            if name in vars(cls):
                setattr(cls, name, with_checked_rows(vars(cls)[name], argument))

    def __init__(self, spec: SpecT) -> None:
        _check_spec(self, spec)
        self.spec: SpecT = spec
        _check_bits(self)

    @property
    def dim(self) -> int:
        """Columns of the rows to hash."""
        return self.spec.dim

    @property
    def n_hashes(self) -> int:
        """Hashes in one code, K."""
        return self.spec.n_hashes

    @property
    def n_tables(self) -> int:
        """Codes per row, L."""
        return self.spec.n_tables

    @property
    def seed(self) -> int:
        """Determines the hash functions."""
        return self.spec.seed

    @property
    def is_distance(self) -> bool:
        """Whether ``similarity`` is a distance, smaller for nearer rows: by default only "euclidean" is."""
        return self.similarity == "euclidean"

    @property
    def code_bits(self) -> int:
        """Bits of a code, at most 32: every code is below ``2**code_bits``."""
        return self.spec.n_hashes * self.bits_per_hash

    @abstractmethod
    def hash(self, x: Rows) -> Codes:
        """Codes of data rows: the reference, which the native kernel must equal bit for bit.

        Parameters
        ----------
        x : (n, dim) rows
            Any array or sparse matrix of finite numbers; n may be 0. An implementation receives dense float32
            or canonical CSR, and must return the same codes for both.

        Returns
        -------
        (n, n_tables) uint32 array
            Each code below ``2**code_bits``.
        """

    def hash_query(self, q: Rows) -> Codes:
        """Codes (n, n_tables) of query rows; the same as :meth:`hash` unless the family is asymmetric."""
        return self.hash(q)

    @property
    def can_probe(self) -> bool:
        """Whether queries can look into more than one bucket per table."""
        return type(self).probe is not HashFamily.probe

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes of the buckets to look into for each query row, the most promising first.

        Parameters
        ----------
        q : (n, dim) rows
            Queries, as :meth:`hash` takes rows.
        n_probes : int
            Codes for each row and table, 1 to ``2**code_bits``.

        Returns
        -------
        (n, n_tables, n_probes) uint32 array
            No code twice; ``hash_query(q)`` at index 0.

        Raises
        ------
        UnsupportedError
            The family does not implement probing.
        """
        raise UnsupportedError(
            f"family {type(self).__name__} cannot probe: n_probes must be 1 (got {n_probes})"
        )

    @abstractmethod
    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Probability that one hash agrees on two rows, as a function of their similarity.

        Parameters
        ----------
        similarity : array of any shape
            As :meth:`similarity_of` computes it. Values that rounding puts outside the similarity's range are
            clipped to it.

        Returns
        -------
        float64 array of that shape
            Probabilities, 1 for equal rows of a symmetric family.
        """

    def code_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Probability that all K hashes of a code agree.

        It is p**K for independent hashes. A family with dependent hashes overrides this if the probability is
        known. If it is not, samplers have no marginal inclusion probabilities.

        Parameters
        ----------
        similarity : array of any shape
            As for :meth:`collision_probability`.

        Returns
        -------
        float64 array of that shape

        Raises
        ------
        UnsupportedError
            The hashes are dependent and the probability is not known.
        """
        if not self.independent_hashes:
            raise UnsupportedError(
                f"family {type(self).__name__}: the hashes of a code are dependent, so p**K does not hold"
            )
        return np.asarray(self.collision_probability(similarity) ** self.n_hashes)

    def pair_probability(self, q: Rows, x: Rows) -> Floats:
        """Probability (n,) that one hash agrees on the query ``q[i]`` and the data row ``x[i]``.

        By default a function of their similarity. A family whose collision probability depends on more than
        one number overrides this and :meth:`pair_code_probability`.
        """
        return self.collision_probability(self.similarity_of(q, x))

    def pair_code_probability(self, q: Rows, x: Rows) -> Floats:
        """Probability (n,) that a code agrees on the query ``q[i]`` and the data row ``x[i]``."""
        return self.code_probability(self.similarity_of(q, x))

    def probe_probability(self, q: Rows, x: Rows, n_probes: int) -> Floats:
        """Probability that the probed buckets of each table contain data rows, given the query's hash values.

        Parameters
        ----------
        q : (1, dim) row
            One query.
        x : (n, dim) rows
            Data rows.
        n_probes : int
            Buckets per table, P.

        Returns
        -------
        (n, n_tables) float64 array
            Conditional on the query's hash values and margins, over the remaining randomness of the
            functions. Tables are independent if ``independent_tables`` is True.

        Raises
        ------
        UnsupportedError
            The probability is not known.
        """
        raise UnsupportedError(
            f"family {type(self).__name__}: the probability that probes find a row is not known: n_probes "
            f"must be 1 (got {n_probes})"
        )

    def prepare(self, vectors: Rows) -> Self:
        """The family fitted to the rows that tables are about to be built from; called by every build.

        The default is the family itself. A family that depends on the data (a bound of the norms, principal
        directions) returns a new family whose spec contains what was learned, or itself if that still holds.
        """
        return self

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Similarities of pairs of rows, ``q[i]`` with ``x[i]``: the argument of the collision probability.

        Parameters
        ----------
        q, x : (n, dim) rows
            Query and data rows, dense or CSR, the same number of each.

        Returns
        -------
        (n,) float64 array
            Implemented here for the similarities "cosine" (0 if a row is zero), "inner_product",
            "euclidean" and "l1" (distances); a family with another similarity overrides this.
        """
        if self.similarity not in SIMILARITIES:
            raise UnsupportedError(
                f"family {type(self).__name__} does not implement similarity_of for {self.similarity!r}"
            )
        return SIMILARITIES[self.similarity](q, x)

    def native(self) -> NativeKernel | None:
        """The compiled kernel for data rows and the instruction set in use; None if there is none."""
        return None

    def native_query(self) -> NativeKernel | None:
        """The compiled kernel for queries; that of :meth:`native` unless the family is asymmetric."""
        return self.native() if type(self).hash_query is HashFamily.hash_query else None

    def with_seed(self, seed: int) -> Self:
        """The same family with the hash functions of another seed, as for a rehash."""
        return type(self)(attrs.evolve(self.spec, seed=seed))

    def __reduce__(self) -> tuple[type[Self], tuple[SpecT]]:
        # The spec determines everything; drawn functions and kernels are made again.
        return type(self), (self.spec,)

    def __eq__(self, other: Any) -> bool:
        return type(self) is type(other) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash((type(self), self.spec))

    def __repr__(self) -> str:
        options = str(self.spec).partition("(")[2]
        return f"{type(self).__name__}({options}"

    def _repr_html_(self) -> str:
        options = [(field.name, getattr(self.spec, field.name)) for field in attrs.fields(type(self.spec))]
        return html_table(type(self).__name__, ["option", "value"], options)


def _type_arguments(cls: type) -> list[type[FamilySpec]]:
    """The spec class of ``class X(HashFamily[XSpec])``, from the bases that a class is written with."""
    bases = vars(cls).get("__orig_bases__", ())
    given = [get_args(base)[0] for base in bases if issubclass(get_origin(base) or object, HashFamily)]
    return [spec for spec in given if isinstance(spec, type)]


class QuantizingFamily(HashFamily[SpecT]):
    """A family whose code has the numbers of K centroids, one of each codebook, whose sum is near the row.

    A subclass implements :meth:`products` too. The inner product of a query with a row is then about that
    with the centroids of the row's code, which is the same for all rows of a bucket:
    :class:`~lshsample.MIDX` draws by it.
    """

    default_tables = 1
    default_hashes = 2

    @abstractmethod
    def products(self, q: Rows) -> npt.NDArray[np.float32]:
        """Inner products of queries with all centroids.

        Parameters
        ----------
        q : (n, dim) rows
            Finite float32 rows, dense or CSR.

        Returns
        -------
        (n, n_tables, n_hashes, 2**bits_per_hash) float32 array
        """


class _OfInner:
    """An attribute that a wrapper takes from the inner family; a subclass or an instance may override it.

    On the class, where there is no inner family, it is the value of :class:`HashFamily`, or ``text``.
    """

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, family: WrapperFamily | None, owner: type | None = None) -> Any:
        if family is None:
            return self.text or getattr(HashFamily, self.name)
        return getattr(family.inner, self.name)


def _of_inner(text: str | None = None) -> Any:
    return _OfInner(text)


class WrapperFamily(HashFamily[SpecT]):
    """A family over another one, the inner family, whose properties it has unless it overrides them.

    What a wrapper changes, it overrides; everything else is the inner family's: its similarity,
    probabilities, flags, probes, compiled kernel, preparation and seeds. A wrapper that transforms rows
    before they are hashed overrides :meth:`transform` (and :meth:`transform_query` where queries are
    transformed differently); its codes, probes and pair probabilities are then those of the transformed rows.

    Parameters
    ----------
    spec : FamilySpec or HashFamily
        An instance of the class's ``Spec``, which has a field ``inner`` made by
        :func:`lshsample.plugin.family_option`. Or the family to wrap, whose dim, n_hashes, n_tables and seed
        become the wrapper's.
    **options
        The spec's other fields, with a family to wrap.

    Attributes
    ----------
    inner : HashFamily
        The inner family.

    Notes
    -----
    A wrapper whose :meth:`transform` changes the number of columns overrides :meth:`make_inner` and
    :meth:`prepare`. One whose collision probability is not a function of the similarity of the transformed
    rows overrides ``similarity``, :meth:`similarity_of`, :meth:`collision_probability` and
    :meth:`code_probability`.

    A wrapper that transforms rows, or overrides :meth:`hash` or :meth:`hash_query`, has no compiled kernel
    unless it overrides :meth:`native` and :meth:`native_query`.

    Examples
    --------
    Rows relative to a centre, hashed by any family:

    >>> import attrs
    >>> import numpy as np
    >>> from lshsample.plugin import FamilySpec, HashFamily, WrapperFamily, family_option, number
    >>> @attrs.frozen(kw_only=True)
    ... class CentredSpec(FamilySpec):
    ...     inner: HashFamily = family_option("simhash")
    ...     centre: float = attrs.field(default=0.5, validator=number(-1e6, 1e6))
    >>> class Centred(WrapperFamily[CentredSpec]):
    ...     def transform(self, x):
    ...         rows = dense_rows(x)
    ...         return rows - np.float32(self.spec.centre)
    >>> family = Centred(CentredSpec(dim=4, n_hashes=3, n_tables=2, centre=1.0))
    >>> family.similarity, family.can_probe, family.native() is None
    ('cosine', True, True)
    >>> family.similarity_of(np.float32([[2, 1, 1, 1]]), np.float32([[1, 2, 1, 1]]))
    array([0.])
    """

    similarity: str = _of_inner("that of the inner family")
    independent_hashes: bool = _of_inner()
    independent_tables: bool = _of_inner()
    exact_law: bool = _of_inner()
    law_of_norms: bool = _of_inner()
    default_probes: int = _of_inner()
    bits_per_hash: int = _of_inner()
    calls_named_functions: bool = _of_inner()

    def __init__(self, spec: SpecT | HashFamily, **options: Any) -> None:
        if isinstance(spec, HashFamily):
            shape = {name: getattr(spec, name) for name in ("dim", "n_hashes", "n_tables", "seed")}
            spec = cast(SpecT, cast(Any, self.Spec)(**shape, inner=spec, **options))
        elif options:
            raise ArgumentError("options", ", ".join(options), "left out: the spec has the options")
        _check_spec(self, spec)
        self.spec = spec
        self.inner: HashFamily = self.make_inner()
        super().__init__(spec)

    @property
    def is_distance(self) -> bool:
        """As the inner family, where the similarity is its own."""
        own = self.similarity == self.inner.similarity
        return self.inner.is_distance if own else super().is_distance

    def make_inner(self) -> HashFamily:
        """The inner family, made from ``self.spec``; called once, when the wrapper is made.

        The place to refuse families that do not fit, with :class:`~lshsample.plugin.ArgumentError`.
        """
        inner: HashFamily = cast(Any, self.spec).inner
        return inner

    def transform(self, x: Rows) -> Rows:
        """Data rows as the inner family hashes them: finite float32, as many as given, dense or CSR."""
        return x

    def transform_query(self, q: Rows) -> Rows:
        """Query rows as the inner family hashes them; the same as :meth:`transform` unless overridden."""
        return self.transform(q)

    def _changes(self, *methods: str) -> bool:
        """Whether the class overrides one of the methods."""
        return any(getattr(type(self), name) is not getattr(WrapperFamily, name) for name in methods)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of data rows: those of the transformed rows."""
        return self._in_blocks(x, "transform", lambda rows: self.inner.hash(self.transform(rows)))

    def hash_query(self, q: Rows) -> Codes:
        """Codes (n, n_tables) of queries: those of the transformed rows."""
        return self._in_blocks(
            q, "transform_query", lambda rows: self.inner.hash_query(self.transform_query(rows))
        )

    def _in_blocks(self, rows: Rows, method: str, codes: Callable[[Rows], Codes]) -> Codes:
        """Codes of rows, a block at a time, so that transformed rows take little memory."""
        blocks = range(0, rows.shape[0], _BLOCK)
        if len(blocks) < 2 or not self._changes("transform", method):
            return codes(rows)
        return np.concatenate([codes(rows[start : start + _BLOCK]) for start in blocks])

    @property
    def can_probe(self) -> bool:
        """Whether the inner family can."""
        return self.inner.can_probe

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the buckets that the inner family probes, the best first."""
        return self.inner.probe(self.transform_query(q), n_probes)

    def native(self) -> NativeKernel | None:
        """The inner family's kernel; None where the class overrides :meth:`transform` or :meth:`hash`."""
        return None if self._changes("transform", "hash") else self.inner.native()

    def native_query(self) -> NativeKernel | None:
        """The inner family's kernel of the query side; None where the class hashes them otherwise."""
        changed = self._changes("transform", "transform_query", "hash_query", "probe")
        return None if changed else self.inner.native_query()

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """The inner family's similarity of the transformed rows, pair by pair."""
        return self.inner.similarity_of(self.transform_query(q), self.transform(x))

    def collision_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """The inner family's probability for one hash; with ``norms`` if it needs them (``law_of_norms``)."""
        return self.inner.collision_probability(similarity, *_given(norms))

    def code_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """The inner family's probability for a code; with ``norms`` if it needs them (``law_of_norms``)."""
        return self.inner.code_probability(similarity, *_given(norms))

    def pair_probability(self, q: Rows, x: Rows) -> Floats:
        """Probability (n,) that one hash agrees on pairs: the inner family's, of the transformed rows."""
        return self.inner.pair_probability(self.transform_query(q), self.transform(x))

    def pair_code_probability(self, q: Rows, x: Rows) -> Floats:
        """Probability (n,) that a code agrees on pairs: the inner family's, of the transformed rows."""
        return self.inner.pair_code_probability(self.transform_query(q), self.transform(x))

    def probe_probability(self, q: Rows, x: Rows, n_probes: int) -> Floats:
        """Probability (n, n_tables) that probes find rows, given the query: the inner family's."""
        return self.inner.probe_probability(self.transform_query(q), self.transform(x), n_probes)

    def prepare(self, vectors: Rows) -> Self:
        """The wrapper over the inner family prepared for the transformed rows; itself if nothing changes."""
        inner = self.inner.prepare(self.transform(vectors))
        return self if inner is self.inner else type(self)(attrs.evolve(cast(Any, self.spec), inner=inner))

    def with_seed(self, seed: int) -> Self:
        """The wrapper over the inner family of another seed.

        Raises
        ------
        UnsupportedError
            The inner family's functions are not drawn from a seed.
        """
        inner = self.inner.with_seed(seed)
        return type(self)(attrs.evolve(cast(Any, self.spec), seed=seed, inner=inner))


def _given(norms: npt.ArrayLike | None) -> tuple[npt.ArrayLike, ...]:
    return () if norms is None else (norms,)
