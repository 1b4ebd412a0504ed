"""The user's own hash function: Python, numba and C; saved by import path; refused where it does not fit."""

import importlib
import json
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
from cffi import FFI
from lshsample_families import FunctionFamily, NativeFunction, SimHash, SimpleLSH
from lshsample_families._kernels import ffi as kernels_ffi

import lshsample as ls
from lshsample import HashTables
from lshsample.errors import ArgumentError, CheckpointError, PluginError, UnsupportedError
from lshsample.hashing import hash_rows
from lshsample.plugin import FamilySpec
from lshsample.registry import family_from_dict, family_from_toml, family_to_dict, family_to_toml, make_family
from lshsample.testing import FamilyCase, family_checks

SIGNATURE = (
    "int32_t(*)(const void *, int64_t, int64_t, const float *, int64_t, const int64_t *, const int32_t *, "
    "uint32_t *, void *)"
)


def signs(x, spec):
    """SimHash in float64, columns one by one."""
    rows = (x if isinstance(x, np.ndarray) else x.toarray()).astype(np.float64)
    drawn = np.random.default_rng(spec.seed).standard_normal((spec.dim, spec.n_tables, spec.n_hashes))
    margins = sum(rows[:, i, None, None] * drawn[i] for i in range(spec.dim))
    weights = np.uint32(1) << np.arange(spec.n_hashes, dtype=np.uint32)
    return ((margins >= 0) * weights).sum(axis=2, dtype=np.uint32)


def angle_law(cosine):
    return 1 - np.arccos(np.clip(cosine, -1, 1)) / np.pi


@pytest.fixture(autouse=True)
def importable():
    """The functions of this file, at an import path that does not depend on how tests are imported."""
    module = types.ModuleType("a_module_of_hashes")
    module.signs, module.angle_law, module.number = signs, angle_law, 3
    signs.__module__ = angle_law.__module__ = module.__name__
    module.np, module.norm, module.kept = np, np.linalg.norm, {"signs": signs}
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


PATHS = {"function": "a_module_of_hashes:signs", "law": "a_module_of_hashes:angle_law", "bits": 1}


def make(**shape):
    return make_family("function", **PATHS, independent=True, **shape)


@pytest.mark.parametrize("check", family_checks())
def test_a_python_function_under_the_kit(check):
    check(FamilyCase(make))


def test_it_is_stored_by_its_path():
    family = make(dim=9, n_hashes=3, n_tables=2)
    data = json.loads(json.dumps(family_to_dict(family)))
    assert data["function"] == PATHS["function"]
    assert family_from_dict(data) == family
    assert family_from_toml(family_to_toml(family)) == family
    assert pickle.loads(pickle.dumps(family)) == family
    given = FunctionFamily(np.linalg.norm, dim=3)
    assert given.spec.function == "numpy.linalg:norm"


@pytest.fixture
def unimported(tmp_path, monkeypatch):
    """A module that could be imported, and would leave a file behind."""
    path = tmp_path / "leaves_a_trace.py"
    path.write_text(
        "from pathlib import Path\nimport numpy as np\n"
        "Path(__file__).with_suffix('.ran').touch()\n"
        "def ones(x, spec):\n    return np.ones((x.shape[0], spec.n_tables), np.uint32)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(path.stem, None)


def forget(path):
    """As in a process that has not imported the module."""
    del sys.modules[path.stem]
    path.with_suffix(".ran").unlink()


FIRST = "never imports code that a file names; if you trust it, import leaves_a_trace first"


def test_opening_tables_imports_nothing(unimported):
    module = importlib.import_module(unimported.stem)
    family = FunctionFamily(module.ones, dim=3, n_tables=2)
    file, data = unimported.parent / "tables", family_to_dict(family)
    HashTables(family).build(np.ones((4, 3))).save(file)
    pickled = pickle.dumps(family)
    forget(unimported)
    with pytest.raises(CheckpointError, match=rf"function must be .*{FIRST}.* \(got 'leaves_a_trace:ones'\)"):
        HashTables.open(file)
    for read, given in ((family_from_dict, data), (pickle.loads, pickled)):
        with pytest.raises(ArgumentError, match=FIRST):
            read(given)
    assert not unimported.with_suffix(".ran").exists()
    importlib.import_module(unimported.stem)
    assert HashTables.open(file).query(np.ones((1, 3))).ids.tolist() == [0, 1, 2, 3]


def test_loading_a_network_imports_nothing(unimported):
    importlib.import_module(unimported.stem)
    text = "function:function=leaves_a_trace:ones"
    layer = ls.Sampled(50, family=text, sampler="Retrieve() | Uniform(5)")
    file = unimported.parent / "model"
    ls.Network([ls.Sparse(9), ls.Dense(4), layer], seed=0).save(file)
    forget(unimported)
    with pytest.raises((ArgumentError, CheckpointError), match=FIRST):
        ls.Network.load(file)
    assert not unimported.with_suffix(".ran").exists()
    importlib.import_module(unimported.stem)
    assert ls.Network.load(file).n_labels == 50


def test_a_function_without_a_path_lives_in_its_process():
    family = FunctionFamily(
        lambda x, spec: np.zeros((x.shape[0], spec.n_tables), np.uint32), dim=3, n_tables=2
    )
    assert hash_rows(family, np.ones((4, 3))).tolist() == [[0, 0]] * 4
    with pytest.raises(
        ArgumentError, match=r"FunctionSpec.function must be plain data.* \(got <function .*\)"
    ):
        family_to_dict(family)
    with pytest.raises(UnsupportedError, match="without a law"):
        family.collision_probability([0.5])


def test_query_side_of_its_own():
    ones = lambda x, spec: np.ones((x.shape[0], spec.n_tables), np.uint32)  # noqa: E731
    zeros = lambda x, spec: np.zeros((x.shape[0], spec.n_tables), np.uint32)  # noqa: E731
    family = FunctionFamily(ones, query=zeros, dim=3)
    assert hash_rows(family, np.ones((2, 3))).all()
    assert not hash_rows(family, np.ones((2, 3)), query=True).any()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_colon", 'must be of the form "module:function"'),
        (
            "no_such_module_at_all:f",
            "never imports code that a file names.* import no_such_module_at_all first",
        ),
        ("a_module_of_hashes:nothing", "an existing function"),
        ("os:system", "not one of Python's standard library"),
        ("lshsample.family:abstractmethod", "defined in lshsample.family itself"),
        ("builtins:eval", "not one of Python's standard library"),
        ("a_module_of_hashes:number", "defined in a_module_of_hashes itself"),
        ("a_module_of_hashes:norm", "defined in a_module_of_hashes itself"),
        ("a_module_of_hashes:np.linalg.norm", "defined in a_module_of_hashes itself"),
        ("a_module_of_hashes:kept.pop", "defined in a_module_of_hashes itself"),
        ("lshsample.files:os.environ.pop", "defined in lshsample.files itself"),
        ("numpy:__loader__.exec_module", "defined in numpy itself"),
        ("lshsample.tables:HashTables", "defined in lshsample.tables itself"),
        ("lshsample.tables.hash_tables:HashTables", "defined in lshsample.tables.hash_tables itself"),
        ("lshsample.tables.hash_tables:HashTables.open", "defined in lshsample.tables.hash_tables itself"),
        (3, "must be a function, a NativeFunction or the import path"),
    ],
)
def test_what_is_no_function(path, message):
    with pytest.raises(ArgumentError, match=f"function .*{message}"):
        make_family("function", dim=3, function=path)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x, spec: [[1]], "returned list"),
        (lambda x, spec: np.zeros((1, 1)), "dtype float64"),
        (lambda x, spec: np.zeros((1, 1), np.uint32), r"shape \(1, 1\)"),
        (lambda x, spec: np.full((x.shape[0], spec.n_tables), 256, np.uint32), "code 256"),
        (lambda x, spec: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_a_function_gets_wrong_is_named(returned, message):
    with pytest.raises(PluginError, match=f"FunctionFamily.*{message}"):
        hash_rows(FunctionFamily(returned, dim=3, n_tables=2), np.ones((4, 3)))


def parity(x, spec):
    """What the compiled functions compute: the number of positive entries plus the table, modulo 256."""
    rows = x if isinstance(x, np.ndarray) else x.toarray()
    return ((rows > 0).sum(axis=1)[:, None] + np.arange(spec.n_tables) & 255).astype(np.uint32)


def python_callback(ffi):
    @ffi.callback(SIGNATURE)
    def count(state, n_rows, dim, values, stride, indptr, indices, codes, scratch):
        n_tables = ffi.cast("int64_t *", state)[0]
        for r in range(n_rows):
            sparse = indptr != ffi.NULL
            begin, end = (indptr[r], indptr[r + 1]) if sparse else (r * stride, r * stride + dim)
            positive = sum(values[i] > 0 for i in range(begin, end))
            for t in range(n_tables):
                codes[r * n_tables + t] = positive + t & 255
        return 0

    return count


def check_native(function):
    state = np.array([6], np.int64)
    family = FunctionFamily(NativeFunction(function, state), dim=11, n_tables=6)
    x = np.random.default_rng(0).standard_normal((150, 11)).astype(np.float32)
    expected = parity(x, family.spec)
    for rows in (x, sp.csr_array(x)):
        assert (hash_rows(family, rows, threads=2) == expected).all()
        assert (hash_rows(family, rows, query=True) == expected).all()
    assert (family.hash(x) == expected).all()
    assert HashTables(family, threads=1).build(x).n_items == 150
    other = family.with_seed(5)
    assert other.spec.function is family.spec.function


def test_a_cffi_function():
    ffi = FFI()
    check_native(python_callback(ffi))


def test_a_numba_function():
    numba = pytest.importorskip("numba")
    t = numba.types
    signature = t.int32(
        t.voidptr, t.int64, t.int64, t.CPointer(t.float32), t.int64, t.CPointer(t.int64), t.CPointer(t.int32),
        t.CPointer(t.uint32), t.voidptr,
    )  # fmt: skip

    @numba.cfunc(signature)
    def count(state, n_rows, dim, values, stride, indptr, indices, codes, scratch):
        for r in range(n_rows):
            begin, end = r * stride, r * stride + dim
            if stride == 0:
                begin, end = indptr[r], indptr[r + 1]
            positive = 0
            for i in range(begin, end):
                positive += values[i] > 0
            for table in range(6):
                codes[r * 6 + table] = (positive + table) & 255
        return 0

    check_native(count)
    with pytest.raises(ArgumentError, match=r"function must be a cffi .* \(got float64 \(float64\)\)"):
        NativeFunction(numba.cfunc(t.float64(t.float64))(lambda x: x))


def test_pointers_of_another_signature_are_refused():
    ffi = FFI()
    for given, what in [
        (ffi.NULL, "CData"),
        (0x7FFF0000, "int"),
        (ffi.cast("int32_t(*)(void *)", 4096), r"int32_t \(void \*\)"),
        (ffi.cast(SIGNATURE.replace("float", "double"), 4096), "double"),
        (ffi.cast(SIGNATURE.replace("int32_t(*)", "int64_t(*)"), 4096), "int64_t"),
        (ffi.cast(SIGNATURE, 0), "NULL"),
        (ffi.cast(SIGNATURE[:-1] + ", ...)", 4096), "CData"),
        (len, "builtin"),
    ]:
        with pytest.raises(
            ArgumentError, match=rf"function must be a cffi function pointer.* \(got .*{what}.*\)"
        ):
            NativeFunction(given)
    with pytest.raises(ArgumentError, match=r"state must be .* \(got bytes\)"):
        NativeFunction(kernels_ffi.cast(SIGNATURE, 4096), b"12345678")


def test_a_compiled_function_that_fails_is_named():
    ffi = FFI()

    @ffi.callback(SIGNATURE)
    def fails(*arguments):
        return 7

    family = FunctionFamily(NativeFunction(fails), dim=3)
    with pytest.raises(PluginError, match=r"FunctionFamily.*returned 7"):
        hash_rows(family, np.ones((2, 3)))


def test_it_is_wrapped_where_its_similarity_fits():
    family = SimpleLSH(FunctionFamily(signs, dim=8, n_hashes=4, n_tables=6, bits=1, law=angle_law), bound=9.0)
    x = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    assert hash_rows(family, x).shape == (30, 6)
    assert family.collision_probability([9.0, 0.0]).tolist() == [1, 0.5]
    assert SimHash(SimHash.Spec(dim=8)) != family
    assert isinstance(family.inner.spec, FamilySpec)
    assert family.inner.dim == 9
