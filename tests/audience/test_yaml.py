"""The header as text: where it is found, how its YAML is read, what its schema promises."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.audience import yaml as header_yaml
from tailrace.audience.yaml import HEADER_BYTES_MAX, check, read_header, schema, split
from tailrace.errors import HeaderInvalid, TailraceError


def read(text: str) -> dict[str, Any]:
    return dict(read_header(text, file="a.sql").values)


@pytest.mark.parametrize(
    "text",
    [
        "/* ---\nkey: id\n--- */ SELECT 1",
        "/*---\nkey: id\n---*/ SELECT 1",
        "/* --- key: id --- */ SELECT 1",
        "/* --- key: id\n--- */ SELECT 1",
        "\n\n/* ---\r\nkey: id\r\n--- */\r\nSELECT 1",
        "-- By nobody\n/* License\n   --- of kinds --- */\n/* ---\nkey: id\n--- */\nSELECT 1",
    ],
)
def test_the_header_is_the_comment_between_dashes_before_the_select(text: str) -> None:
    taken = split(text, file="a.sql")
    assert taken.yaml is not None
    assert {"key": "id"} == read(taken.yaml)
    assert "SELECT 1" == taken.sql.strip().splitlines()[-1].strip()


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "/* a comment */ SELECT 1", "SELECT 1 /* ---\nkey: id\n--- */", "/*----- x */ S"],
)
def test_other_comments_are_no_header(text: str) -> None:
    taken = split(text, file="a.sql")
    assert (None, text) == (taken.yaml, taken.sql)


def test_the_sql_keeps_its_lines_and_columns() -> None:
    """A parser that reads what is left over reports the lines of the file."""
    text = "-- one\n/* ---\nkey: id\n--- */ SELECT\n  1"
    taken = split(text, file="a.sql")
    assert text.index("SELECT") == taken.sql.index("SELECT")
    assert text.count("\n") == taken.sql.count("\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("007", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-22", "2026-11-22"),
        ("0x1F", "0x1F"),
        ("20%", "20%"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert {"a": value} == read(f"a: {text}")


def test_keys_are_text_whatever_they_look_like() -> None:
    assert {"NO": "a", "1": "b", "null": "c"} == read("NO: a\n1: b\nnull: c")


def test_every_value_knows_its_line() -> None:
    header = read_header("a:\n  b: 1\n  c: [x,\n    y]\nd: 2", file="a.sql", first_line=10)
    lines = {".".join(path): line for path, line in header.lines.items()}
    assert {"": 10, "a": 10, "a.b": 11, "a.c": 12, "a.c.0": 12, "a.c.1": 13, "d": 14} == lines
    assert 12 == header.line(("a", "c", "missing"))


def test_a_header_that_would_exhaust_the_reader_is_refused() -> None:
    with pytest.raises(HeaderInvalid, match="larger"):
        read("a: " + "x" * HEADER_BYTES_MAX)
    with pytest.raises(HeaderInvalid, match="nested too deep"):
        read("a: " + "[" * 20_000)


@given(st.text(alphabet=st.sampled_from("abk:{}[]-#&*!|>'\"%@`,\n\t ?01.<~\\é\x00"), max_size=60))
def test_no_text_whatever_breaks_the_reader(text: str) -> None:
    """Any text gives values or one of our errors with a line."""
    try:
        header = read_header(text, file="a.sql")
        check(header, "audience")
    except TailraceError as error:
        assert all(each.line for each in error.flattened())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda k: k != "<<"), PLAIN))
def test_json_is_read_as_it_is(values: dict[str, Any]) -> None:
    """A JSON object is a header too, and says the same in both languages."""
    text = json.dumps(values)
    if any(mark in text for mark in ("{{", "{%", "{#")) or '"<<"' in text:
        return
    assert values == read(text)


@pytest.mark.parametrize("name", ["audience", "model"])
def test_the_schemas_are_valid_and_explain_every_key(name: str) -> None:
    """Editors show the descriptions; error messages are made of the comments."""
    found = schema(name)
    assert "http://json-schema.org/draft-07/schema#" == found["$schema"]
    assert jsonschema_rs.meta.is_valid(dict(found))
    assert [] == [key for key, each in found["properties"].items() if not described(found, each)]


def described(whole: Any, node: Any) -> bool:
    target = whole["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return bool(node.get("description") or target.get("description"))


def test_the_headers_of_models_are_a_part_of_those_of_audiences() -> None:
    """What both have, such as tags, means the same in both."""
    of_model, of_audience = schema("model"), schema("audience")
    shared = of_model["properties"].keys() & of_audience["properties"].keys()
    assert {"description", "owner", "tags", "dialect", "model"} == shared
    assert of_model["properties"]["tags"] == of_audience["definitions"]["tags"]


def test_reading_models_imports_nothing_that_talks_to_a_network(tmp_path: Any) -> None:
    """`tailrace validate` works offline and does not pay for importing dlt."""
    (tmp_path / "a.sql").write_text("/* --- tags: [a] --- */ SELECT 1 AS a")
    code = (
        "import sys, pathlib, tailrace.models.loader, tailrace.models.lineage;"
        f"tailrace.models.loader.read_models(pathlib.Path({str(tmp_path)!r}));"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    network = {"dlt", "requests", "urllib3", "http", "ssl", "pyarrow", "segment", "click"}
    assert set() == loaded & network


FULL_HEADER = """audience: people
description: "Live: contacts"
key: [id, region]
tags: [a, 'b']
track:
  entered: Entered
  properties: {city: city, plan: {column: tier, on_null: keep}}
guards: {max_exited: null, share: 0.5}
# A comment.
consent: {suppress_when: opted_out}
"""


@given(
    st.lists(
        st.tuples(st.integers(0, 250), st.sampled_from(" :-{}[],'\"#|>!%@`\n\\=.~0a<")), max_size=4
    )
)
@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
@example(edits=[(127, "!")])
def test_both_parsers_read_a_header_alike(edits: list[tuple[int, str]]) -> None:
    text = FULL_HEADER
    for at, character in edits:
        text = text[:at] + character + text[at:]
    try:
        fast = header_yaml._composed(text)
    except yaml.YAMLError:
        return
    assert serialized(yaml.compose(text, Loader=header_yaml._Loader)) == serialized(fast)


def serialized(node: yaml.Node | None) -> Any:
    """A node with the lines, the kinds and the values of all nodes in it."""
    if node is None:
        return None
    if isinstance(node.value, list):
        parts = [
            part
            for parts in node.value
            for part in (parts if isinstance(parts, tuple) else [parts])
        ]
        return (type(node), node.tag, node.start_mark.line, [serialized(part) for part in parts])
    return (type(node), node.tag, node.start_mark.line, node.value, bool(node.style))
