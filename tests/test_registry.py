"""Finding families: plugins by entry point, names, plain data; broken plugins are named."""

from importlib import metadata
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import lshsample_hash_families as builtin_families

from lshsample import HashTables, registry
from lshsample.compare import ComparisonSettings, Contender, Workload, compare
from lshsample.config import TrainConfig, build_network
from lshsample.errors import ArgumentError, PluginError
from lshsample.estimates import GradientSampler
from lshsample.family_text import format_family, parse_family, split_families
from lshsample.nn import Input, Network, NetworkSpec, Sampled
from lshsample.plugin import FamilySpec, HashFamily, WrapperFamily, hookimpl
from lshsample.plugin_manager import Plugins, installed_plugins
from lshsample.registry import FamilyRegistry, families, family_from_dict, make_family
from lshsample.sampling import MaintainedSampler, stages
from lshsample.sampling.text import stage_registry
from lshsample.tuning import Goal, tune

FEW = ComparisonSettings(budgets=(20,), bits=(4,), n_tables=4, rounds=1)
TRAINED = TrainConfig(hidden=(4,), dropout=0.0, n_active=9)


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
    plugins = [("one", plugin_returning({"toy": Toy})), ("two", plugin_returning({"other": Toy}))]
    found = FamilyRegistry(plugins)
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


class Unnamed(Toy):
    """No similarity."""

    similarity = None


class BadSpec(Toy):
    """A spec that is none."""

    Spec = dict


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([("toy", Toy)], "returned list, expected a dict"),
        (None, "returned NoneType, expected a dict"),
        ({"toy": object}, "expected a subclass of HashFamily"),
        ({"toy": Toy(FamilySpec(dim=3))}, "expected a subclass of HashFamily"),
        ({"toy": Abstract}, "Abstract lacks collision_probability, hash"),
        ({"toy": Unnamed}, "Unnamed.similarity is missing"),
        ({"toy": BadSpec}, "BadSpec.Spec is"),
        ({"Toy Family": Toy}, "a name must consist of lower-case letters"),
        ({3: Toy}, "a name must consist of"),
        (lambda: 1 // 0, "lshsample_hash_families raised ZeroDivisionError"),
    ],
)
def test_broken_plugins_are_named(found, problem):
    with pytest.raises(PluginError, match=problem) as error:
        FamilyRegistry(
            Plugins([("good", plugin_returning({"fine": Toy})), ("broken-one", plugin_returning(found))])
        )
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


def test_one_manager_serves_both_hooks(monkeypatch):
    """Entry points are loaded once, whichever registry asks first; both hooks are checked together."""
    loaded = []
    real = metadata.EntryPoint.load
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: loaded.append(self.name) or real(self))
    for cache in (installed_plugins, registry.default_registry, stage_registry):
        cache.cache_clear()
    assert families()
    assert stages()
    assert families() == FamilyRegistry.installed().families()
    assert sorted(loaded) == sorted({point.name for point in metadata.entry_points(group="lshsample")})

    def lshsample_sampler_stages(config):
        return {}

    both = SimpleNamespace(
        lshsample_hash_families=hookimpl(lambda: {"toy": Toy}),
        lshsample_sampler_stages=hookimpl(lshsample_sampler_stages),
    )
    with pytest.raises(PluginError, match=r"plugin crooked(.|\n)*config"):
        Plugins([("crooked", both)])


def test_a_plugin_that_is_registered_twice_is_named():
    plugin = plugin_returning({"toy": Toy})
    with pytest.raises(PluginError, match="plugin again: "):
        Plugins([("once", plugin), ("again", plugin)])


def test_text_with_options_makes_a_family():
    family = make_family("simhash:projection=gaussian", dim=9, n_hashes=3)
    assert family == make_family("simhash", projection="gaussian", dim=9, n_hashes=3)
    assert family == make_family(" simhash: n_hashes = 3, dim = 9", projection="gaussian")
    assert family == make_family({"family": "simhash:projection=gaussian", "dim": 9}, n_hashes=3)
    assert registry.family_of_bits("dwta:window=4", 9, dim=32).n_hashes == 4
    assert registry.named_family("e2lsh:width=2") == ("e2lsh", {"width": 2})
    nested = "multiprobe:inner=simple-lsh:inner={'family': 'e2lsh:width=2.5', 'bits': 8},probes=3"
    data = {"family": "e2lsh", "width": 2.5, "bits": 8}
    assert make_family(nested, dim=5, n_hashes=2) == make_family(
        "multiprobe", dim=5, n_hashes=2, probes=3, inner={"family": "simple-lsh", "inner": data}
    )


def test_the_text_of_a_layer_is_kept():
    text = "simhash:projection=gaussian"
    last = Sampled(300, family=text, sampler="Retrieve() | Uniform(9)")
    assert Network([Input(8), last], seed=0).spec.layers[1].family == text
    for sampler in ("Retrieve() | Uniform(9)", "Uniform(9)"):
        with pytest.raises(ArgumentError, match=r"family must be one of .* \(got 'simhahs.*\)"):
            Network([Input(8), Sampled(300, family="simhahs", sampler=sampler)], seed=0)


@pytest.mark.parametrize(
    "family", ["simhash:projection=gaussian", {"family": "simhash", "projection": "gaussian"}]
)
def test_every_place_takes_every_way_to_name_a_family(family):
    """Without its dim, which the place knows."""
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    sampler = MaintainedSampler(8, 300, family=family, pipeline="Retrieve() | Uniform(9)")
    sampler.refresh(rows, 0)
    layer = Sampled(300, family=family, sampler="Retrieve() | Uniform(9)")
    network = Network([Input(8), layer], seed=0)
    again = NetworkSpec.from_toml(network.spec.to_toml())
    assert again == network.spec
    tables = HashTables(family)
    assert "not built" in repr(tables)
    with pytest.raises(ArgumentError, match="built: call build"):
        _ = tables.family
    figures, _ = compare([family], Workload.synthetic(200, 8, 5), FEW)
    made = [
        sampler.tables.family.spec.projection,
        network.layers[1].functions().spec.projection,
        Network.from_spec(again).layers[1].functions().spec.projection,
        tables.build(rows).rebuild(rows, family).family.spec.projection,
        tune(rows, rows[:40], Goal(recall=0.5), family=family, threads=1).family.spec.projection,
        GradientSampler(rows, rows[:, 0], family).sampler.tables.family.spec.projection,
        build_network(TRAINED.merged({"family": family}), 8, 90).layers[2].functions().spec.projection,
        figures[-1].spec["projection"],
        make_family(family, dim=8).spec.projection,
        make_family("multiprobe", dim=8, inner=family).inner.spec.projection,
    ]
    assert made == ["gaussian"] * 10


def test_every_place_takes_a_family_its_spec_its_data_and_text_with_all_options():
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    family = make_family("simhash:projection=gaussian", dim=8, n_hashes=3, n_tables=5, seed=7)
    text = "simhash:projection=gaussian,dim=8,n_hashes=3,n_tables=5,seed=7"
    for given in (family, family.spec, registry.family_to_dict(family), text):
        sampler = MaintainedSampler(8, 300, family=given, pipeline="Retrieve() | Uniform(9)")
        sampler.refresh(rows, 0)
        assert sampler.tables.family == family
        network = Network([Input(8), Sampled(300, family=given, sampler="Retrieve() | Uniform(9)")])
        assert network.layers[1].functions() == family
        assert NetworkSpec.from_json(network.spec.to_json()) == network.spec
        assert HashTables(given).build(rows).family == family
        assert HashTables.memory_needed(given, 300) == HashTables.memory_needed(family, 300)
        if given is not text:  # whose shape a comparison would have to ignore
            assert ("projection", "gaussian") in Contender.parse(given).options
        assert make_family(given) == family
    assert tune(rows, rows[:40], Goal(recall=0.5), family=family, threads=1).family.seed == 7
    for call in (
        lambda: Network([Input(9), Sampled(300, family=family, sampler="Retrieve() | Uniform(9)")]),
        lambda: MaintainedSampler(9, 300, family=text, pipeline="Retrieve()"),
        lambda: tune(rows[:, :7], rows[:40, :7], family=family),
        lambda: GradientSampler(rows[:, :5], rows[:, 0], family),
    ):
        with pytest.raises(ArgumentError, match=r"family must be .* \(got dim 8\)"):
            call()


@pytest.mark.parametrize(
    ("family", "problem"),
    [
        (
            "simhash:projecton=gaussian",
            r"SimHashSpec\.projecton must be .* mean 'projection'\?",
        ),
        ("simhash:projection=gausian", r"projection must be .* did you mean 'gaussian'\? \(got 'gausian'\)"),
        ("simhahs", r"must be one of .*; did you mean 'simhash'\? \(got 'simhahs'\)"),
        ("e2lsh:width=-1", r"width must be a finite number in .* \(got -1\)"),
        ("multiprobe:inner=simhash:densty=1", r"inner\.SimHashSpec\.densty must be .* mean 'density'"),
        ({"family": "e2lsh", "widht": 2}, r"E2LSHSpec\.widht must be left out: .*did you mean 'width'\?"),
        (3, r"family must be text"),
        (FamilySpec(dim=8), r"must be a family, its text, or a spec of one family alone \(got a FamilySpec"),
    ],
)
def test_every_place_refuses_a_misspelt_family_at_once(family, problem):
    rows = np.ones((40, 8), np.float32)
    for call in (
        make_family,
        registry.resolve_family,
        Contender.parse,
        HashTables,
        lambda family: Sampled(300, family=family, sampler="uniform"),
        lambda family: TrainConfig(family=family),
        lambda family: MaintainedSampler(8, 300, family=family, pipeline="Uniform(9)"),
        lambda family: tune(rows, rows, family=family),
        lambda family: compare([family], None, None),
        lambda family: GradientSampler(rows, rows[:, 0], family),
        lambda family: HashTables("simhash").build(rows).rebuild(rows, family),
    ):
        with pytest.raises(ArgumentError, match=problem):
            call(family)


@pytest.mark.parametrize(
    "options",
    [
        {"projection": "gaussian", "density": 0.5},
        {"inner": {"family": "e2lsh", "width": 2.5, "bits": 8}, "probes": 3},
        {"planes": "a,b=(c'd/e=="},
        {"planes": "17"},
        {"edges": (1.0, 2.5)},
        {},
    ],
)
def test_options_survive_their_text(options):
    assert parse_family(format_family("name", options)) == ("name", options)
    texts = [format_family("one", options), format_family("two", options)]
    assert split_families(", ".join(texts)) == texts
    with pytest.raises(ArgumentError, match="function must be a plain value"):
        format_family("function", {"function": print})


def test_files_of_earlier_versions_have_options_of_the_family_beside_it():
    spec = NetworkSpec([Input(8), Sampled(300, family="e2lsh:width=2.5", sampler="Retrieve() | Uniform(9)")])
    data = spec.to_dict()
    data["layers"][1] |= {"family": "e2lsh", "family_options": {"width": 2.5}}
    assert NetworkSpec.from_dict(data) == spec
    for bad in ({"family_options": 3}, {"family_options": {"widht": 2.5}}, {"family": None}):
        with pytest.raises(ArgumentError, match=r"family|widht"):
            NetworkSpec.from_dict({**data, "layers": [data["layers"][0], {**data["layers"][1], **bad}]})


def test_bad_text_of_a_family_is_refused():
    with pytest.raises(ArgumentError, match=r"dim must be given once \(got 3 and 4\)"):
        make_family("simhash:dim=3", dim=4)
    with pytest.raises(ArgumentError, match=r"projection must be given once \(got 'gaussian' and 'sparse'\)"):
        family_from_dict({"family": "simhash:projection=gaussian", "projection": "sparse", "dim": 4})
    for text in ("simhash:", "simhash"):
        assert make_family(text, dim=3).spec.projection == "hadamard"
    for text in ("simhash:gaussian", "simhash:=3", "simhash:density=0.5,density=0.25"):
        with pytest.raises(
            ArgumentError,
            match=r"family must be text .* family:option=value.*, with each option once \(got .*\)",
        ):
            make_family(text, dim=3)
    for text in ("", ":projection=gaussian", "simhahs:projection=gaussian"):
        with pytest.raises(
            ArgumentError, match=r"family must be one of .*simhash.*family:option.* \(got .*\)"
        ):
            make_family(text, dim=3)
    for thing in (None, 3, ["simhash"], b"simhash"):
        with pytest.raises(ArgumentError, match=r"family must be text of the form family.* \(got .*\)"):
            make_family(thing, dim=3)


def test_a_family_with_other_options():
    family = make_family("simhash:projection=gaussian", dim=9, n_hashes=3, n_tables=5)
    assert make_family(family) == family
    assert make_family(family, seed=4) == family.with_seed(4)
    wider = make_family(family, dim=20, n_tables=2, seed=1)
    assert wider == make_family("simhash:projection=gaussian", dim=20, n_hashes=3, n_tables=2, seed=1)
    assert registry.family_of_bits(family, 12).n_hashes == 12
    assert make_family(Toy(FamilySpec(dim=3)), dim=4).dim == 4, "a class that no plugin brings"
    with pytest.raises(
        ArgumentError, match=r"SimHashSpec\.window must be left out: the keys are .* \(got 8\)"
    ):
        make_family(family, window=8)
    with pytest.raises(ArgumentError, match=r"n_hashes must be .* \(got 40\)"):
        make_family(family, n_hashes=40)


class Unwrapping(WrapperFamily):
    """Its spec has no family inside."""


def test_a_wrapper_needs_a_family_inside():
    with pytest.raises(PluginError, match=r"plugin empty: .*Unwrapping\.Spec lacks the field inner"):
        FamilyRegistry([("empty", plugin_returning({"unwrapping": Unwrapping}))])


def test_unknown_names_and_options():
    with pytest.raises(ArgumentError, match=r"family must be one of .*dwta, .*simhash.* \(got 'simhahs'\)"):
        make_family("simhahs", dim=3)
    with pytest.raises(ArgumentError, match=r"SimHashSpec\.dims"):
        make_family("simhash", dims=3)
    with pytest.raises(ArgumentError, match=r"SimHashSpec.dim must be given, .* \(got nothing\)"):
        make_family("simhash")
    with pytest.raises(ArgumentError, match=r"n_hashes must be .* \(got 33\)"):
        make_family("simhash", dim=3, n_hashes=33)
    with pytest.raises(ArgumentError, match="such that a code has at most 32 bits"):
        make_family("dwta", dim=30, n_hashes=11, window=8)
    with pytest.raises(ArgumentError, match=r"LearnedSpec must be a spec of valid values .*'planes' must be"):
        make_family("learned-simhash:planes=17", dim=3)


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
    with pytest.raises(ArgumentError, match="family must be one of "):
        registry.family_to_dict(Toy(FamilySpec(dim=3)))


@pytest.mark.parametrize("text", ["{", "= =", ""])
def test_text_that_is_neither_json_nor_toml(text):
    for read, form in ((registry.family_from_json, "JSON"), (registry.family_from_toml, "TOML")):
        with pytest.raises(
            ArgumentError, match=rf"text must be {form} \(got .*\)|data must be a map.* \(got \{{\}}\)"
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
        ({"family": "simhahs"}, r"inner\.family must be .* \(got 'simhahs'\)"),
        ({"family": "simhash", "density": 2.0}, r"inner\.density must be .* \(got 2\.0\)"),
        (
            {"family": "simple-lsh", "inner": {"family": "e2lsh", "width": 0}},
            r"inner\.inner\.width must be .* \(got 0\)",
        ),
    ],
)
def test_a_wrapped_familys_errors_say_where_it_stands(inner, argument):
    with pytest.raises(ArgumentError, match=f"^{argument}$"):
        make_family("multiprobe", dim=5, inner=inner)


@attrs.frozen(kw_only=True)
class WidthSpec(FamilySpec):
    """One option."""

    width: float = 2.0


class Wide(HashFamily[WidthSpec]):
    """Its spec is its type argument."""

    similarity = "euclidean"

    def hash(self, x):
        return np.zeros((x.shape[0], self.n_tables), np.uint32)

    def collision_probability(self, similarity):
        return np.ones_like(np.asarray(similarity, np.float64))


class Wider(Wide):
    """It inherits the spec."""


def test_the_type_argument_is_the_spec():
    registry = FamilyRegistry([("wide", plugin_returning({"wide": Wide, "wider": Wider}))])
    for name, cls in registry.families().items():
        family = registry.make(f"{name}:width=3.5", dim=4)
        assert type(family) is cls
        assert cls.Spec is WidthSpec
        assert family.spec.width == 3.5
    with pytest.raises(ArgumentError, match=r"spec must be a WidthSpec \(got FamilySpec\("):
        Wide(FamilySpec(dim=4))


def test_a_spec_beside_another_type_argument_is_refused():
    with pytest.raises(
        PluginError, match=r"Other.Spec is .*FamilySpec.*, expected .* type argument, .*WidthSpec"
    ):

        class Other(HashFamily[WidthSpec]):
            Spec = FamilySpec
