"""Finding families: plugins by entry point, names, plain data; broken plugins are named."""

from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample import registry
from lshsample.errors import ArgumentError, PluginError
from lshsample.plugin import FamilySpec, HashFamily, hookimpl
from lshsample.registry import FamilyRegistry, families, family_from_dict, make_family


class Toy(HashFamily):
    """A family that hashes everything alike."""

    similarity = "cosine"

    def hash(self, x):
        return np.zeros((x.shape[0], self.n_tables), np.uint32)

    def collision_probability(self, similarity):
        return np.ones_like(similarity)


def plugin_returning(found):
    def lshsample_hash_families():
        return found() if callable(found) and not isinstance(found, type) else found

    return SimpleNamespace(lshsample_hash_families=hookimpl(lshsample_hash_families))


def test_families_of_several_plugins():
    found = FamilyRegistry(
        [("one", plugin_returning({"toy": Toy})), ("two", plugin_returning({"other": Toy}))]
    )
    assert found.families() == {"other": Toy, "toy": Toy}
    assert found.owner("toy") == "one"


def test_a_name_claimed_twice_names_both_plugins():
    plugins = [("one", plugin_returning({"toy": Toy})), ("two", plugin_returning({"toy": Toy}))]
    with pytest.raises(PluginError, match=r"plugin one|plugin two") as error:
        FamilyRegistry(plugins)
    assert "'toy'" in str(error.value)
    assert "one" in str(error.value)
    assert "two" in str(error.value)


class Abstract(HashFamily):
    """No hash."""

    similarity = "cosine"


class Lawless(Toy):
    """No similarity."""

    similarity = None


class BadSpec(Toy):
    """A spec that is none."""

    Spec = dict


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([("toy", Toy)], "returned list; wanted a dict"),
        (None, "returned NoneType; wanted a dict"),
        ({"toy": object}, "wanted a subclass of HashFamily"),
        ({"toy": Toy(FamilySpec(dim=3))}, "wanted a subclass of HashFamily"),
        ({"toy": Abstract}, "Abstract lacks collision_probability, hash"),
        ({"toy": Lawless}, "Lawless.similarity is missing"),
        ({"toy": BadSpec}, "BadSpec.Spec is"),
        ({"Toy Family": Toy}, "wanted a name of lower-case letters"),
        ({3: Toy}, "wanted a name"),
        (lambda: 1 // 0, "lshsample_hash_families raised ZeroDivisionError"),
    ],
)
def test_broken_plugins_are_named(found, problem):
    with pytest.raises(PluginError, match=problem) as error:
        FamilyRegistry([("good", plugin_returning({"fine": Toy})), ("broken-one", plugin_returning(found))])
    assert "plugin broken-one" in str(error.value)


def test_a_hook_of_the_wrong_signature():
    def lshsample_hash_families(config):
        return {}

    plugin = SimpleNamespace(lshsample_hash_families=hookimpl(lshsample_hash_families))
    with pytest.raises(PluginError, match=r"plugin crooked(.|\n)*config"):
        FamilyRegistry([("crooked", plugin)])


def test_an_unknown_hook():
    plugin = SimpleNamespace(lshsample_hash_famillies=hookimpl(lambda: {}))
    with pytest.raises(PluginError, match=r"plugin misspelt(.|\n)*famillies"):
        FamilyRegistry([("misspelt", plugin)])


def test_a_hook_wrapper():
    def lshsample_hash_families():
        return (yield)

    plugin = SimpleNamespace(lshsample_hash_families=hookimpl(lshsample_hash_families, wrapper=True))
    with pytest.raises(PluginError, match=r"plugin wrapping.*hook wrapper"):
        FamilyRegistry([("wrapping", plugin)])


def test_a_broken_installed_plugin_is_reported_and_can_be_repaired(monkeypatch):
    broken = metadata.EntryPoint("broken", "lshsample_no_such_module", "lshsample")
    real = metadata.entry_points(group="lshsample")
    registry.default_registry.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "entry_points", lambda group: [*real, broken])
        for call in (families, lambda: make_family("simhash", dim=3)):
            with pytest.raises(
                PluginError, match=r"plugin 'broken' \(lshsample_no_such_module\): cannot be imported"
            ):
                call()
    assert "simhash" in families()


def test_unknown_names_and_options():
    with pytest.raises(
        ArgumentError, match=r"name: given 'simhahs'; wanted the name of a family \(.*dwta, .*simhash"
    ):
        make_family("simhahs", dim=3)
    with pytest.raises(ArgumentError, match=r"SimHashSpec\.dims"):
        make_family("simhash", dims=3)
    with pytest.raises(ArgumentError, match=r"SimHashSpec.dim: given nothing"):
        make_family("simhash")
    with pytest.raises(ArgumentError, match="n_hashes: given 33"):
        make_family("simhash", dim=3, n_hashes=33)
    with pytest.raises(ArgumentError, match="a code of at most 32 bits"):
        make_family("dwta", dim=30, n_hashes=11, window=8)


class Exploding(Toy):
    """Cannot be made."""

    def __init__(self, spec):
        raise RuntimeError("no memory of it")


def test_a_family_that_cannot_be_made_is_named():
    found = FamilyRegistry([("fuse", plugin_returning({"exploding": Exploding}))])
    with pytest.raises(PluginError, match=r"plugin fuse: Exploding raised RuntimeError: no memory of it"):
        found.make("exploding", dim=3)


@pytest.mark.parametrize("name", sorted(set(builtin_families()) - {"function"}))
def test_round_trip_with_the_name(name):
    family = make_family(name, dim=20, n_hashes=3, n_tables=7, seed=5)
    data = registry.family_to_dict(family)
    assert data["family"] == name
    assert family_from_dict(data) == family
    assert registry.family_from_json(registry.family_to_json(family)) == family
    assert registry.family_from_toml(registry.family_to_toml(family)) == family


@pytest.mark.parametrize("data", [{}, {"family": 3}, [], {"dim": 3}])
def test_data_without_a_name(data):
    with pytest.raises(ArgumentError, match='the name of a family under "family"'):
        family_from_dict(data)


def test_a_family_that_is_not_registered_has_no_name():
    with pytest.raises(ArgumentError, match="a registered family"):
        registry.family_to_dict(Toy(FamilySpec(dim=3)))


@pytest.mark.parametrize("text", ["{", "= =", ""])
def test_text_that_is_neither_json_nor_toml(text):
    for read, form in ((registry.family_from_json, "JSON"), (registry.family_from_toml, "TOML")):
        with pytest.raises(
            ArgumentError, match=rf"text: given .*; wanted {form}|data: given \{{\}}; wanted a map"
        ):
            read(text)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_distances_of_near_rows_do_not_cancel(kind):
    """What a plugin of similarity "euclidean" gets without saying more."""

    class Far(Toy):
        similarity = "euclidean"

    x = np.full((1, 4), 1e6, np.float32)
    q = x + np.float32([[0, 0.0625, 0, 0]])
    family = Far(FamilySpec(dim=4))
    assert family.similarity_of(kind(q), x).tolist() == [0.0625]
    assert family.similarity_of(kind(x), kind(x)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("inner", "argument"),
    [
        ({"family": "simhahs"}, r"inner\.name: given 'simhahs'"),
        ({"family": "simhash", "density": 2.0}, r"inner\.density: given 2\.0"),
        ({"family": "simple-lsh", "inner": {"family": "e2lsh", "width": 0}}, r"inner\.inner\.width: given 0"),
    ],
)
def test_a_wrapped_familys_errors_say_where_it_stands(inner, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}; wanted"):
        make_family("multiprobe", dim=5, inner=inner)
