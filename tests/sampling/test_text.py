"""Pipelines from unusual or invalid text and data: lines, brackets, wide characters, wrong types."""

import attrs
import pytest

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.sampling import (
    Cap,
    Pipeline,
    Rehash,
    Retrieve,
    SamplerStage,
    Top,
    Uniform,
    make_pipeline,
    parse_pipeline,
)


@attrs.frozen
class Named(SamplerStage):
    """A stage with a text parameter."""

    text: str = ""

    def apply(self, active, batch):
        return active


CUSTOM = {"Named": Named}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Retrieve()\n| Topp(4)", r"'Topp\(4\)' at line 2, column 3"),
        ("Retrieve() |\r\n  Cap(0)", r"'Cap\(0\)' at line 2, column 3: k must be"),
        ("Named('äöü') | Topp(4)", r"'Topp\(4\)' at column 16"),
        ("Retrieve() | (Cap(3) | Topp(2))", r"'Topp\(2\)' at column 24"),
        ("Cap(k=3, k=4)", r"with each argument once \(got 'k' twice at column 10\)"),
        ("Cap(3)) | (Cap(4)", "stages joined"),
        ("Cap(3)] | [Cap(4)", "one sequence of stages"),
        ("Cap(3), Cap(4)", "one sequence of stages"),
        ("Retrieve(tables=4)", r"tables must be omitted: use \.bind\(tables=\.\.\.\).* \(got 4\)"),
        ("Retrieve(4)", r"tables must be omitted: use \.bind\(tables=\.\.\.\).* \(got 4\)"),
        ("Cap(3) for x in y", "one sequence of stages"),
    ],
)
def test_errors_point_to_the_line_and_the_column_in_characters(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_pipeline(text, CUSTOM)


def test_brackets_and_lines_group_as_in_python():
    expected = Retrieve() | Cap(3) | Top(2) | Uniform(1)
    assert parse_pipeline("Retrieve() | (Cap(3) | (Top(2) | Uniform(1)))") == expected
    assert parse_pipeline("(Retrieve()  # all\n | Cap(3)) | \n Top(2) | Uniform(1)  # some") == expected
    assert len(parse_pipeline(" | ".join(["Cap(3)"] * 1000))) == 1000


@pytest.mark.parametrize(
    "data", [None, 3, "x", [], {"stages": [{"stage": []}]}, {"stages": [{"stage": None}]}]
)
def test_data_of_the_wrong_type_is_refused(data):
    with pytest.raises(ArgumentError):
        Pipeline.from_dict(data)


@pytest.mark.parametrize(
    "text", [None, 3, b"stages = []", "stages = [", "", "stages = 3", "a." * 9000 + "b = 1"]
)
def test_text_that_is_not_toml_is_refused(text):
    with pytest.raises(ArgumentError):
        Pipeline.from_toml(text)


@pytest.mark.parametrize("text", [None, 3, "[" * 100_000])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ArgumentError, match="JSON"):
        specs.parsed_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Retrieve() | Top(5", r"'\)' is missing, for the '\(' at column 17\)"),
        ("Retrieve()\n| (Top(5) | Uniform(3)", r"'\)' is missing, for the '\(' at line 2, column 3\)"),
        ("Retrieve() | Top(5))", r"'\)' at column 20 without an opening one"),
        ("Retrieve() | Top(5]", r"'\]' at column 19, where '\)' is missing"),
        ("Retrieve() | Top('('", r"'\)' is missing, for the '\(' at column 17\)"),
    ],
)
def test_the_missing_bracket_is_named(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_pipeline(text)


def test_brackets_in_quotes_and_comments_do_not_count():
    pipeline = parse_pipeline("Retrieve()  # it's (one\n | Top(5)")
    assert str(pipeline) == "Retrieve() | Top(5)"


@pytest.mark.parametrize("name", ["lsh", "exact-top", "lhs", "slide-vanilla"])
def test_a_named_pipeline_points_to_its_function(name):
    with pytest.raises(ArgumentError, match=r"made by lshsample\.sampling\.make_pipeline\(name, n_active"):
        parse_pipeline(name)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: parse_pipeline("Retreive()"), "'Retrieve'"),
        (lambda: parse_pipeline("Retrieve(probe=3)"), "'probes'"),
        (lambda: Pipeline.from_dict({"stages": [{"stage": "retrieve"}]}), "'Retrieve'"),
        (lambda: make_pipeline("unifrom", n_active=3, n_items=9), "'uniform'"),
        (lambda: Rehash(strategy="drfit"), "'drift'"),
    ],
)
def test_misspelt_names_are_suggested(call, meant):
    with pytest.raises(ArgumentError, match=f"did you mean {meant}\\?"):
        call()


def test_a_stage_without_brackets_is_told_them():
    for call in (parse_pipeline, lambda text: make_pipeline(text, n_active=3, n_items=9)):
        with pytest.raises(ArgumentError, match=r"sampler must be Full\(\) \(got 'Full' at column 1\)"):
            call("Full")
    with pytest.raises(ArgumentError, match="sampler must be the name of a pipeline"):
        make_pipeline(3, n_active=3, n_items=9)


def test_stages_as_text_in_toml_say_what_reads_them():
    with pytest.raises(ArgumentError, match=r"stages must be a list of tables.* parse_pipeline reads text"):
        Pipeline.from_toml('stages = "Retrieve() | Top(3)"')
    with pytest.raises(ArgumentError, match=r"stages must be a list of tables.* \(got int\)"):
        Pipeline.from_toml("stages = 3")


def test_a_custom_stage_cannot_take_the_name_of_another():
    with pytest.raises(ArgumentError, match=r"stages must be .* \(got 'Top', which a built-in stage has\)"):
        parse_pipeline("Top(3)", stages={"Top": Named})
    with pytest.raises(ArgumentError, match=r"stages must be a mapping of names to classes"):
        parse_pipeline("Top(3)", stages={"Mine": 3})
    assert str(parse_pipeline("Top(3)", stages={"Top": Top})) == "Top(3)"
