"""Reading YAML: plain data only, with the line of every value."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InputError, StudyFileError
from assay.recipe.reading import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Document, dump, parse, read_document


def read(tmp_path: Path, content: str | bytes) -> Document:
    file = tmp_path / "study.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-1.5E+2", -150.0),
        (".5", 0.5),
        ("12", 12),
        ("-0", 0),
        ("0o17", 15),
        ("0x1f", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        ("12:30", "12:30"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    data, _ = parse(f"key: {text}", "x")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_every_value_has_its_line(tmp_path):
    document = read(
        tmp_path, "base:\n  model:\n    name: mlp\narms:\n  a: {}\n  b:\n    model.widths:\n    - 1\n    - 2\n"
    )
    assert document.place(("base", "model", "name")).endswith("line 3")
    assert document.place(("arms", "b", "model.widths", 1)).endswith("line 9")
    assert document.place(("base", "model", "missing")).endswith("line 2")
    assert document.place(()).endswith("line 1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "line 1: must be a mapping"),
        (b"just text", "line 1: must be a mapping"),
        (b"a: 1\na: 2\n", "line 2: a is given twice, first on line 1"),
        (b"a:\n  b: [1, 2\n", "line 3: is not valid YAML"),
        (b"a: &anchor 1\nb: *anchor\n", "line 1: uses an anchor or alias"),
        (b"a: 1\nb: *unknown\n", "line 2: uses an anchor or alias"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1: uses the tag"),
        (b"a: !custom 1\n", "line 1: uses the tag"),
        (b"1: 2\n", "line 1: has the key 1, which is not text"),
        (b"? [a, b]\n: 1\n", "line 1: has a list or mapping as a key"),
        (b"a: 1\n---\nb: 2\n", "line 2: holds a second document"),
        (b"a: caf\xe9\n", "line 1: must be UTF-8 text; byte 0xe9 is not."),
        (b"\x00\x01\x02", "is not valid YAML"),
        (b"a: " + b"9" * 5000, "line 1: has a number of 5,000 characters"),
        (b"a: " + b"[" * 10_000, "must be at most 20 levels deep"),
        (b"a: " + b"{a: " * 10_000, "must be at most 20 levels deep"),
        (b"a: [" + b"1," * (MAX_VALUES + 1) + b"]", "holds more than 50,000 values"),
        (b"a" * (MAX_BYTES + 1), "must be at most 1,048,576 bytes"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 5


def test_billion_laughs_are_refused_before_they_grow(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    with pytest.raises(StudyFileError, match="line 1: uses an anchor or alias"):
        read(tmp_path, "\n".join(lines))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_document(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="is a folder"):
        read_document(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    assert read(tmp_path, "\ufeffa: 1\n".encode()).data == {"a": 1}


_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
_scalars = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | _text
_keys = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=10)
_plain = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_keys, _plain, max_size=5))
def test_what_is_dumped_is_read_back(data):
    def depth(value: object) -> int:
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + max(map(depth, below), default=0)

    if depth(data) < MAX_DEPTH and data:
        assert parse(dump(data), "x")[0] == data
