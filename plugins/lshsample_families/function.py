"""The user's own hash function as a family: a Python function, a compiled numba function or a C function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from types import BuiltinFunctionType, FunctionType
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    UnsupportedError,
    integer,
    one_of,
)
from lshsample_families._compiled import call_kernel, checked_address, own_kernel

__all__ = ["FunctionFamily", "FunctionSpec", "NativeFunction"]

_FUNCTIONS = FunctionType, BuiltinFunctionType, type


@attrs.frozen(eq=False)
class NativeFunction:
    """A compiled function of the signature ``lsh_hash_fn`` (``lshsample/family.h``), with its state.

    Attributes
    ----------
    function : cffi function pointer or numba cfunc
        The function; another signature is refused. A bare address is refused too, as it says nothing of its
        signature: ``ffi.cast("int32_t(*)(...)", address)`` does.
    state : array or bytes, optional
        Read-only memory whose address is handed to the function; kept alive here.
    scratch_bytes : int
        Scratch that the function wants per thread.
    keepalive : object
        Whatever else must outlive the function: its library.

    Raises
    ------
    ArgumentError
        Not a function, or one of another signature.
    """

    function: Any
    state: npt.NDArray[Any] | None = None
    scratch_bytes: int = attrs.field(default=0, validator=integer(0, 2**40))
    keepalive: object = None
    address: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.state is not None and not (
            isinstance(self.state, np.ndarray) and self.state.flags.c_contiguous
        ):
            raise ArgumentError("state", type(self.state).__name__, "a contiguous NumPy array, or None")
        object.__setattr__(self, "address", checked_address(self.function))

    def kernel(self) -> NativeKernel:
        """The function as the core calls it."""
        return own_kernel(self.address, self.state, self.scratch_bytes, self)


def _by_path(path: str, argument: str) -> Any:
    """What a path names in a module that is imported already: paths come from files, and run no code."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ArgumentError(argument, repr(path), '"module:function"')
    if module not in sys.modules:
        raise ArgumentError(
            argument,
            repr(path),
            f"a function of a module that is imported already: lshsample never imports code that a file "
            f"names; if you trust it, import {module} first",
        )
    found: Any = sys.modules[module]
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ArgumentError(argument, repr(path), f"a function that is there ({error})") from error
    home = getattr(found, "__module__", None) if isinstance(found, _FUNCTIONS) else module
    if any(str(owner).partition(".")[0] in sys.stdlib_module_names for owner in (module, home)):
        raise ArgumentError(argument, repr(path), "a function of your own, none of Python's library")
    return found


def _path_or_function(value: Any, field: attrs.Attribute[Any]) -> Any:
    """The import path of a function that has one, so that the spec is plain data; others as they are."""
    if value is None or isinstance(value, (str, NativeFunction)):
        return value
    if not callable(value):
        raise ArgumentError(
            field.name, repr(value), 'a function, a NativeFunction or the import path "module:function"'
        )
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "<")
    if not module or module == "__main__" or "<" in name:
        return value
    try:
        found = _by_path(path := f"{module}:{name}", field.name)
    except ArgumentError:
        return value
    return path if found is value else value


def _function_field(default: Any = attrs.NOTHING) -> Any:
    return attrs.field(default=default, converter=attrs.Converter(_path_or_function, takes_field=True))


@attrs.frozen(kw_only=True)
class FunctionSpec(FamilySpec):
    """Options of :class:`FunctionFamily`.

    Attributes
    ----------
    function : callable, NativeFunction or str
        Hashes data rows: ``function(x, spec)`` gives (n, n_tables) uint32 codes. As text it is a
        path, ``"module:function"``, in a module that is imported already: none is imported for it.
    query : callable, NativeFunction or str, optional
        Hashes query rows, where they differ.
    bits : int
        Bits of one hash; a code has ``n_hashes`` times as many.
    similarity : str
        What the law is a function of: "cosine", "euclidean" or "inner_product".
    law : callable or str, optional
        ``law(similarity)``: the probability that one hash agrees. Without it the family has none.
    independent : bool
        Whether the hashes of a code are independent, so that p**K is the law of a code.
    """

    n_hashes: int = attrs.field(default=1, validator=integer(1, 32))
    function: Any = _function_field()  # noqa: RUF009 - gives a field
    query: Any = _function_field(None)  # noqa: RUF009 - gives a field
    bits: int = attrs.field(default=8, validator=integer(1, 32))
    similarity: str = attrs.field(default="cosine", validator=one_of("cosine", "euclidean", "inner_product"))
    law: Any = _function_field(None)  # noqa: RUF009 - gives a field
    independent: bool = attrs.field(default=False, validator=one_of(True, False))


class FunctionFamily(HashFamily):
    """Anything that maps rows to codes.

    Parameters
    ----------
    spec : FunctionSpec or function
        The spec; or the function, with the options by name.
    **options
        The spec's fields, with a function: ``dim`` (needed), ``n_tables``, ``bits``, ...

    Notes
    -----
    A Python function is called with all rows at once, dense float32 or CSR, and the spec (for its seed and
    shape). A :class:`NativeFunction` is called by the core in parallel blocks, without Python's lock. What
    comes back is checked: shape, dtype, range. It must be a function of the row and the spec alone; the
    conformance kit (``lshsample.testing``) checks that, and the law if there is one.

    The law is what the user says it is, and ``UnsupportedError`` where nothing is said; then samplers
    go by the law given the tables, which is exact.

    A family whose functions can be imported is saved by their import paths, and whoever opens it imports
    their modules first. One over a lambda, a closure or a compiled function lives in its process.

    Examples
    --------
    >>> import numpy as np
    >>> def largest(x, spec):
    ...     rows = x if isinstance(x, np.ndarray) else x.toarray()
    ...     order = np.random.default_rng(spec.seed).permuted(
    ...         np.tile(np.arange(spec.dim), (spec.n_tables, 1)), axis=1
    ...     )
    ...     return np.stack([rows[:, o[:16]].argmax(axis=1) for o in order], axis=1).astype(np.uint32)
    >>> family = FunctionFamily(largest, dim=64, n_tables=5, bits=4)
    >>> family.hash(np.eye(64, dtype=np.float32)[:2]).shape, family.code_bits
    ((2, 5), 4)
    """

    Spec = FunctionSpec
    similarity = "that which the spec names"
    spec: FunctionSpec

    def __init__(self, spec: FunctionSpec | Callable[..., Any] | NativeFunction, **options: Any) -> None:
        if not isinstance(spec, FunctionSpec):
            spec = FunctionSpec(function=spec, **options)
        elif options:
            raise ArgumentError("options", ", ".join(options), "none beside a spec")
        self.bits_per_hash, self.independent_hashes = spec.bits, spec.independent
        self.similarity = spec.similarity
        super().__init__(spec)
        for name in ("function", "query", "law"):
            self._resolved(name)

    def _resolved(self, name: str) -> Any:
        value = getattr(self.spec, name)
        if isinstance(value, str):
            value = _by_path(value, name)
        fits = callable(value) or (isinstance(value, NativeFunction) and name != "law")
        if not fits and (value is not None or name == "function"):
            raise ArgumentError(name, repr(value), "a function")
        return value

    @cached_property
    def _data(self) -> Any:
        return self._resolved("function")

    @cached_property
    def _query(self) -> Any:
        found = self._resolved("query")
        return self._data if found is None else found

    def _codes(self, function: Any, x: Rows) -> Codes:
        if isinstance(function, NativeFunction):
            return call_kernel(self.spec, function.kernel(), x)
        codes: Codes = function(x, self.spec)
        return codes

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of data rows."""
        return self._codes(self._data, x)

    def hash_query(self, q: Rows) -> Codes:
        """Codes (n, n_tables) of query rows."""
        return self._codes(self._query, q)

    def native(self) -> NativeKernel | None:
        """The kernel, where the function is a compiled one."""
        return self._data.kernel() if isinstance(self._data, NativeFunction) else None

    def native_query(self) -> NativeKernel | None:
        """The kernel of the query side."""
        return self._query.kernel() if isinstance(self._query, NativeFunction) else None

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """What the user's law says; UnsupportedError where there is none."""
        law = self._resolved("law")
        if law is None:
            raise UnsupportedError("family FunctionFamily: no law was given for the function")
        return np.asarray(law(np.asarray(similarity, np.float64)), np.float64)
