"""A custom hash function as a family: a Python function, a compiled numba function or a C function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
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


@attrs.frozen(eq=False)
class NativeFunction:
    """A compiled function of the signature ``lsh_hash_fn`` (``lshsample/family.h``), with its state.

    Attributes
    ----------
    function : cffi function pointer or numba cfunc
        The function; another signature is refused. A bare address is refused too, because it has no
        signature; ``ffi.cast("int32_t(*)(...)", address)`` has one.
    state : array, optional
        Read-only memory whose address the function is called with; this object keeps it alive.
    scratch_bytes : int
        Scratch memory per thread.
    keepalive : object
        Anything else that must live as long as the function, such as its library.

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
        """The function as a compiled kernel."""
        return own_kernel(self.address, self.state, self.scratch_bytes, self)


def _by_path(path: str, argument: str) -> Any:
    """The function at an import path, which may come from a file.

    So its module must be imported already, and must define it: a path that leads through other objects could
    name any method of anything that is imported.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ArgumentError(argument, repr(path), 'of the form "module:function"')
    if module not in sys.modules:
        raise ArgumentError(
            argument,
            repr(path),
            "a function of a module that is already imported: lshsample never imports code that a file "
            f"names; if you trust it, import {module} first",
        )
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ArgumentError(argument, repr(path), "a custom function, not one of Python's standard library")
    found = getattr(sys.modules[module], "__dict__", {}).get(name)
    if not (isinstance(found, NativeFunction) or _is_defined_as(found, module, name)):
        raise ArgumentError(
            argument,
            repr(path),
            f"the path of an existing function that is defined in {module} itself, under that name",
        )
    return found


def _is_defined_as(found: Any, module: str, name: str) -> bool:
    """Whether an object is the function that a module defines under a name, not one that it imports."""
    if isinstance(found, type) or not callable(found):
        return False
    defined = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return defined == (module, name)


def _path_or_function(value: Any, field: attrs.Attribute[Any]) -> Any:
    """The import path of a function that has one, so that the spec is plain data; others are unchanged."""
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
        Hashes data rows: ``function(x, spec)`` returns (n, n_tables) uint32 codes. As text it is an import
        path, ``"module:function"``, in a module that is already imported; no module is imported for it.
    query : callable, NativeFunction or str, optional
        Hashes query rows, if queries are hashed differently.
    bits : int
        Bits of one hash; a code has ``n_hashes`` times as many.
    similarity : str
        The argument of ``law``: "cosine", "euclidean" or "inner_product".
    law : callable or str, optional
        ``law(similarity)``: the probability that one hash agrees. Without it the family has none.
    independent : bool
        Whether the hashes of a code are independent, so that a code agrees with probability p**K.
    """

    n_hashes: int = attrs.field(default=1, validator=integer(1, 32))
    function: Any = _function_field()  # noqa: RUF009 - gives a field
    query: Any = _function_field(None)  # noqa: RUF009 - gives a field
    bits: int = attrs.field(default=8, validator=integer(1, 32))
    similarity: str = attrs.field(default="cosine", validator=one_of("cosine", "euclidean", "inner_product"))
    law: Any = _function_field(None)  # noqa: RUF009 - gives a field
    independent: bool = attrs.field(default=False, validator=one_of(True, False))


class FunctionFamily(HashFamily[FunctionSpec]):
    """Any function from rows to codes.

    Parameters
    ----------
    spec : FunctionSpec or function
        The spec; or the function, with the spec's other fields as keywords.
    **options
        The spec's fields, with a function: ``dim`` (required), ``n_tables``, ``bits``, ...

    Notes
    -----
    A Python function is called with all rows at once, dense float32 or CSR, and the spec (for its seed and
    shape). A :class:`NativeFunction` is called by the core for blocks of rows in parallel, without Python's
    global lock. The shape, dtype and range of the result are checked. It must depend on the row and the spec
    alone; the conformance kit (``lshsample.testing``) checks this, and ``law`` if there is one.

    Without ``law``, the collision probability raises ``UnsupportedError``; samplers then compute inclusion
    probabilities conditional on the tables, which are exact.

    Functions that can be imported are stored by import path; to open a stored family, import their modules
    first. A family over a lambda, a closure or a compiled function cannot be stored.

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

    similarity = "that of the spec"
    calls_named_functions = True

    def __init__(self, spec: FunctionSpec | Callable[..., Any] | NativeFunction, **options: Any) -> None:
        if not isinstance(spec, FunctionSpec):
            spec = FunctionSpec(function=spec, **options)
        elif options:
            raise ArgumentError("options", ", ".join(options), "left out: the spec has the options")
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
        """The kernel, if the function is compiled."""
        return self._data.kernel() if isinstance(self._data, NativeFunction) else None

    def native_query(self) -> NativeKernel | None:
        """The kernel for queries, if their function is compiled."""
        return self._query.kernel() if isinstance(self._query, NativeFunction) else None

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """The result of ``law``; UnsupportedError if there is none."""
        law = self._resolved("law")
        if law is None:
            raise UnsupportedError("family FunctionFamily: the function was given without a law")
        return np.asarray(law(np.asarray(similarity, np.float64)), np.float64)
