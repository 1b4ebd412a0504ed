"""Saved things know the version of their family's plugin, and are refused by one that hashes otherwise."""

import json
import struct
import sys
import types
from importlib import metadata

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample import HashTables, Network, Retrieve, Trainer, make_family
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import Dense, Sampled, Sparse
from lshsample.provenance import Provenance
from lshsample.tables.file import pack_prefix

DIM = 12
CHANGED = (
    r"the hash functions of family 'acme-signs' have changed since it was saved: it was saved with "
    r"'acme-signs' of acme-families 1\.0, but acme-families 2\.0 is installed, "
    r"and \d+ of 24 codes of fixed rows"
)


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((300, DIM), dtype=np.float32)


def build(rows, family="acme-signs:n_hashes=5,n_tables=6,seed=3"):
    return HashTables(family).build(rows)


def self_recall(tables, rows):
    found = tables.query(rows)
    return np.mean([i in found.row(i) for i in range(len(rows))])


@pytest.fixture
def saved(packages, rows, tmp_path):
    packages.install("acme-families", "1.0", packages.family(salt=1))
    build(rows).save(tmp_path / "tables")
    return tmp_path / "tables"


@pytest.mark.parametrize("verify", [False, True])
def test_tables_are_refused_by_a_version_that_draws_otherwise(packages, saved, rows, verify):
    assert self_recall(HashTables.open(saved, verify=verify), rows) == 1
    packages.install("acme-families", "2.0", packages.family(salt=2))
    with pytest.raises(CheckpointError, match=CHANGED) as error:
        HashTables.open(saved, verify=verify)
    assert str(error.value).count(str(saved)) == 1
    packages.install("acme-families", "1.0", packages.family(salt=1))
    assert self_recall(HashTables.open(saved, verify=verify), rows) == 1


@pytest.mark.parametrize("verify", [False, True])
def test_the_same_codes_of_another_version_are_fine(packages, saved, rows, verify):
    packages.install("acme-families", "2.0", packages.family(salt=1))
    assert self_recall(HashTables.open(saved, verify=verify), rows) == 1


def test_functions_that_change_without_the_version_are_refused_before_the_first_query(packages, saved, rows):
    packages.install("acme-families", "1.0", packages.family(salt=2))
    match = r"'acme-signs' is of acme-families 1\.0, as installed, and \d+ of 24 codes"
    for call in (
        lambda tables: tables.query(rows[:1]),
        lambda tables: tables.buckets(rows[:1]),
        lambda tables: Retrieve().bind(tables=tables).sample(rows[:1]),
        lambda tables: tables.verify(),
        lambda tables: tables.insert([300], rows[:1]),
        lambda tables: tables.delete([3]),
        lambda tables: tables.save(saved),
        lambda tables: tables.split([100]),
        lambda tables: HashTables.merge(tables, tables),
    ):
        with pytest.raises(CheckpointError, match=match):
            call(HashTables.open(saved))
    with pytest.raises(CheckpointError, match=match):
        HashTables.open(saved, verify=True)


def test_a_family_that_is_not_installed_is_named_with_its_package(packages, saved):
    packages.remove("acme-families")
    match = r"tables: the family 'acme-signs' is not installed; it is in the package acme-families \(1\.0\)"
    with pytest.raises(CheckpointError, match=match):
        HashTables.open(saved)


def test_a_family_whose_plugin_was_left_out_is_named_with_the_reason(packages, saved):
    packages.install("acme-families", "2.0", "import no_such_module")
    with pytest.warns(UserWarning, match="cannot be imported"):
        make_family("simhash", dim=3)
    match = r"package acme-families.*left out: plugin 'acme-families'.*no_such"
    with pytest.raises(CheckpointError, match=match):
        HashTables.open(saved)


def test_an_option_that_another_version_lacks_is_named_with_the_versions(packages, saved):
    packages.install("acme-families", "2.0", packages.family(salt=1, option="height"))
    with pytest.raises(CheckpointError, match=r"Spec\.level must be left out.*1\.0, but acme-families 2\.0"):
        HashTables.open(saved)


def test_a_wrapped_family_is_recorded_too(packages, saved, rows):
    build(rows, "simple-lsh:inner=acme-signs,n_hashes=5,n_tables=6").save(saved)
    packages.install("acme-families", "2.0", packages.family(salt=2))
    with pytest.raises(CheckpointError, match=r"'acme-signs' of acme-families 1\.0, but acme-families 2\.0"):
        HashTables.open(saved)
    packages.remove("acme-families")
    with pytest.raises(CheckpointError, match=r"'acme-signs' is not installed; it is in the package acme"):
        HashTables.open(saved)


def network():
    last = Sampled(40, family="acme-signs:level=1", sampler="Retrieve() | Include() | Uniform(8)", n_hashes=3)
    return Network([Sparse(30), Dense(8), last], seed=1)


@pytest.fixture
def run(packages, tmp_path):
    packages.install("acme-families", "1.0", packages.family(salt=1))
    rng = np.random.default_rng(0)
    x, y = (
        sp.csr_array(rng.random((60, 30)) * (rng.random((60, 30)) < 0.3)),
        sp.eye_array(60, 40, format="csr"),
    )
    trainer = Trainer(network(), epochs=1, checkpoint=tmp_path / "checkpoint", threads=1)
    trainer.fit(x, y)
    trainer.network.save(tmp_path / "model")
    return tmp_path


def test_models_and_checkpoints_are_refused_by_a_version_that_draws_otherwise(packages, run):
    calls = [
        lambda: Network.load(run / "model"),
        lambda: Trainer.resume(run / "checkpoint", threads=1),
    ]
    for call in calls:
        assert call() is not None
    packages.install("acme-families", "2.0", packages.family(salt=1))
    for call in calls:
        assert call() is not None
    packages.install("acme-families", "2.0", packages.family(salt=2))
    for call in calls:
        with pytest.raises(CheckpointError, match=CHANGED.replace("24", r"\d+")):
            call()
    packages.install("acme-families", "2.0", packages.family(salt=1, option="height"))
    for call in calls:
        with pytest.raises(CheckpointError, match=r"Spec\.level.*1\.0, but acme-families 2\.0 is installed"):
            call()
    packages.remove("acme-families")
    for call in calls:
        with pytest.raises(
            CheckpointError, match=r"not installed; it is in the package acme-families \(1\.0\)"
        ):
            call()


def test_files_without_the_record_are_read(saved, rows):
    """As earlier versions wrote them."""
    data = saved.read_bytes()
    length = struct.unpack_from("<8sII", data)[2]
    header = json.loads(data[48 : 48 + length])
    del header["provenance"]
    text = json.dumps(header).encode()
    saved.write_bytes(pack_prefix(text) + text.ljust(4096 - 48, b"\0") + data[4096:])
    assert self_recall(HashTables.open(saved, verify=True), rows) == 1


@pytest.mark.parametrize("name", sorted(set(builtin_families()) - {"function"}))
def test_every_family_is_recorded_with_its_fitted_functions(name, rows, tmp_path):
    tables = build(np.abs(rows), f"{name}:n_hashes=2,n_tables=6")
    record = Provenance.of(tables.family)
    assert record.families[name] == ("lshsample", metadata.version("lshsample"))
    assert record.digest
    assert record == Provenance.from_dict(json.loads(json.dumps(record.to_dict())), "file")
    fitted = ("itq", "learned-simhash", "product-quantization")
    other = Provenance.of(make_family(tables.family, seed=9)) if name not in fitted else None
    assert other is None or other.digest != record.digest
    tables.save(tmp_path / "tables")
    again = HashTables.open(tmp_path / "tables", verify=True)
    assert again.query(np.abs(rows)).ids.tolist() == tables.query(np.abs(rows)).ids.tolist()


@pytest.mark.parametrize("dim", [1, 3, 100, 5000, 2**31 - 1])
def test_wide_and_narrow_rows_are_recorded(dim):
    family = make_family("minhash", dim=dim, n_hashes=3, n_tables=3)
    assert len(Provenance.of(family).codes) == 4


def test_functions_that_a_file_names_are_compared_before_the_first_query_and_not_called_earlier(tmp_path):
    module = types.ModuleType("module_of_a_function")
    called = []

    def signs(x, spec):
        called.append(len(x))
        return np.full((x.shape[0], spec.n_tables), module.value, np.uint32)

    signs.__module__, signs.__qualname__ = module.__name__, "signs"
    module.signs, module.value = signs, 1
    sys.modules[module.__name__] = module
    try:
        family = make_family("function", function="module_of_a_function:signs", dim=3)
        HashTables(family).build(np.eye(3)).save(tmp_path / "tables")
        called.clear()
        tables = HashTables.open(tmp_path / "tables", verify=True)
        assert not called
        assert len(tables.query(np.eye(3)).ids) == 9
        module.value = 2
        with pytest.raises(CheckpointError, match="have changed since it was saved"):
            HashTables.open(tmp_path / "tables").query(np.eye(3))
    finally:
        del sys.modules[module.__name__]


def test_a_family_of_no_plugin_cannot_be_saved(rows, tmp_path):
    class Own(type(make_family("simhash", dim=3))):
        pass

    with pytest.raises(ArgumentError, match="family must be one of"):
        HashTables(Own(make_family("simhash", dim=DIM).spec)).build(rows).save(tmp_path / "tables")
