"""Pipelines from unusual or invalid text and data: lines, brackets, wide characters, wrong types."""

import attrs
import pytest

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.sampling import Cap, Pipeline, Retrieve, SamplerStage, Top, Uniform, parse_pipeline


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
