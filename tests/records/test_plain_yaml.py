"""YAML that two versions read differently, names twice, values inside themselves: refused, with what to write."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.records.plain_yaml import DEEPEST, MOST, YamlError, dump_yaml, load_yaml, parse_yaml

TWO_MEANINGS = [
    ("010", "010 is 8 in YAML 1.1 and 10 in 1.2; write 10 or 8, or '010' in quotes for a text"),
    ("-010", "-010 is -8 in YAML 1.1 and -10 in 1.2; write -10 or -8, or"),
    ("007", "007 begins with a zero that means nothing; write 7, or"),
    ("08", "08 is a text in YAML 1.1 and a number in 1.2; write 8, or"),
    ("0o10", "0o10 is a text in YAML 1.1 and a number in 1.2; write 8, or"),
    ("0b101", "0b101 is a number in YAML 1.1 and a text in 1.2; write 5, or"),
    ("-0x10", "-0x10 is a number in YAML 1.1 and a text in 1.2; write -16, or"),
    ("1_000", "1_000 is a number in YAML 1.1 and a text in 1.2; write 1000, or"),
    ("1_0.5", "write 10.5, or"),
    ("0b__", "is a number in YAML 1.1 and a text in 1.2; write '0b__' in quotes"),
    ("1:30", "1:30 is 90 in YAML 1.1 and a text in 1.2; write 90, or '1:30' in quotes for a text"),
    ("-1:30.5", "-1:30.5 is -90.5 in YAML 1.1 and a text in 1.2; write -90.5, or"),
    ("yes", "yes is true in YAML 1.1 and a text in 1.2; write true, or 'yes' in quotes for a text"),
    ("Off", "Off is false in YAML 1.1 and a text in 1.2; write false, or 'Off' in quotes for a text"),
    ("2026-11-30", "2026-11-30 is a date in YAML 1.1 and a text in 1.2; write '2026-11-30' in quotes for a text"),
    (".NaN", ".NaN is no number; write one, or '.NaN' in quotes for a text"),
    ("=", "= is not read; write the values out, or '=' in quotes"),
]


@pytest.mark.parametrize(("text", "says"), TWO_MEANINGS, ids=[text for text, _ in TWO_MEANINGS])
def test_what_two_versions_read_differently_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(YamlError) as refused:
        parse_yaml(f"a: 1\nb: [2, {text}]\n")
    assert str(refused.value).startswith("line 2: ")
    assert says in str(refused.value)
    assert parse_yaml(f"b: '{text}'") == {"b": text}


WRONG = [
    ("a: 1\nb: 2\na: 3", "line 3: a is there twice, in line 1 too; leave one of them out"),
    ("net_args: {y: &x {z: *x}}", "line 1: anchors and aliases (&name, *name) are not read; write the value out"),
    ("a: &b 1", "anchors and aliases"),
    ("<<: {lr: 1}", "line 1: << is not read"),
    (
        "a: !!python/object/apply:os.system [ls]",
        "the tag tag:yaml.org,2002:python/object/apply... in line 1 is not read",
    ),
    ("a: !!float 1", "is not read; write the value without it"),
    ("1: 2", "line 1: a name is needed before the colon, not 1; put it in quotes"),
    ("? [1]\n: 2", "a name is needed before the colon, not [1]"),
    ("a: 1\n---\na: 2", "line 2: a second document begins"),
    (f"a: {'[' * 40_000}", f"lists and mappings are nested deeper than {DEEPEST}"),
    (f"a: {'9' * 5000}", "a number has 5000 digits; 40 are allowed"),
    ("a: 1e400", "1e400 is too large for a number"),
    ("a: -1e-400", "-1e-400 is too small for a number; write 0"),
    ('a: "x\\0"', "a text holds the character NUL"),
    ("a:\n\t- 1", "'\\t'"),
    ("a: \x1b[31m", "special characters are not allowed"),
    ("a: [1", "while parsing"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text[:20] for text, _ in WRONG])
def test_what_is_not_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(YamlError) as refused:
        parse_yaml(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("", None), ("# nothing", None), ("~", None), ("hello", "hello"), ("[1, 2]", [1, 2])],
        *[("12", 12), ("-3", -3), ("+3", 3), ("0", 0), ("0x10", 16), ("1e3", 1000.0), ("1E-3", 0.001), (".5", 0.5)],
        *[
            ("1.", 1.0),
            (".inf", float("inf")),
            ("-.INF", -float("inf")),
            ("010.5", 10.5),
            ("-1.5e+3", -1500.0),
            ("0.0e-400", 0.0),
        ],
        *[("true", True), ("FALSE", False), ("n", "n"), ("1-2", "1-2"), ("1.2.3", "1.2.3"), ("0xg", "0xg")],
        ("a:\n  b: [1, {c: null}]\n  d: |\n    x\n    y\n", {"a": {"b": [1, {"c": None}], "d": "x\ny\n"}}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
    ids=repr,
)
def test_the_rest_is_read_as_people_mean_it(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


texts = st.text(st.characters(exclude_characters="\0"), max_size=8) | st.sampled_from(
    [
        "1e3",
        "08",
        "010",
        "0o10",
        "1:30",
        "1_0",
        "no",
        "null",
        "",
        "=",
        "<<",
        "2026-11-30",
        ".inf",
        "a: b",
        "\udcff",
        "é\x1b",
    ]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(plain)
def test_what_is_written_comes_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value
    assert yaml.safe_load(dump_yaml(value)) == value
    assert parse_yaml(dump_yaml(value, letters_too=True)) == value


def test_what_is_there_twice_is_written_twice() -> None:
    twice = [1]
    assert parse_yaml(dump_yaml({"a": twice, "b": twice})) == {"a": [1], "b": [1]}


def test_a_file_must_be_small_plain_and_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("a: é".encode("utf-16"))
    with pytest.raises(YamlError, match=r"it is no text in UTF-8 \(invalid start byte at byte 0\); save it as UTF-8"):
        load_yaml(path)
    path.write_text("# " + "x" * MOST)
    with pytest.raises(UserError, match=r"a.yaml has over 64 KiB, which no such file of qtrain's has"):
        load_yaml(path)
