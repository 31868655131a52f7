"""What is encoded comes back equal, and anything else is refused by a message with file, key, expected and got."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ArtifactError, ConfigError, StorageError
from l0compile.ir.codec import Count, Meta, Natural, Positive, Text, decode, decode_json, encode, read_toml


@dataclass(frozen=True)
class Inner:
    bits: Annotated[int, Meta(ge=8, description="a multiple of 8")]
    name: str = ""

    def __post_init__(self) -> None:
        if self.bits % 8:
            raise ValueError(f"bits: expected a multiple of 8, got {self.bits}")


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    pair: tuple[int, float]
    inner: Inner
    rest: tuple[Inner, ...] = ()
    by_name: Mapping[str, tuple[Count, Natural]] = field(default_factory=dict)
    maybe: Inner | None = None
    either: int | str = 0
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    trials: Annotated[int, Meta(ge=1, le=16)] = 1
    flag: bool = False
    anything: Any = None


GOOD: dict[str, Any] = {"kind": "a", "pair": [1, 2.5], "inner": {"bits": 8}}

inners = st.builds(Inner, st.integers(1, 99).map(lambda n: 8 * n), st.text())
outers = st.builds(
    Outer,
    st.sampled_from(["a", "b"]),
    st.tuples(st.integers(-(2**60), 2**60), st.floats(allow_nan=False)),
    inners,
    st.lists(inners, max_size=3).map(tuple),
    st.dictionaries(st.text(), st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=3),
    st.none() | inners,
    st.integers(-9, 9) | st.text(),
    st.floats(0, 1, exclude_min=True),
    st.integers(1, 16),
    st.booleans(),
    st.none() | st.lists(st.integers()),
)


@given(outers)
def test_what_is_encoded_comes_back_equal(value: Outer) -> None:
    assert decode(json.loads(json.dumps(encode(value))), Outer, "here") == value
    assert decode(encode(value), Outer, "here") == value


def test_defaults_are_fields_of_the_value_itself() -> None:
    found = decode({**GOOD, "rest": [{"bits": 8}], "by_name": {}}, Outer, "here")
    assert vars(found) == vars(Outer("a", (1, 2.5), Inner(8), (Inner(8),)))
    assert vars(found.rest[0]) == {"bits": 8, "name": ""} == vars(found.inner)


def test_fields_with_a_default_may_be_missing_and_whole_numbers_are_numbers() -> None:
    found = decode({**GOOD, "pair": [1, 2], "share": 1}, Outer, "here")
    assert found == Outer("a", (1, 2.0), Inner(8), share=1.0)
    assert type(found.pair[1]) is type(found.share) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "c"}, "kind: expected one of 'a', 'b', got 'c'"),
        ({"kind": 3}, "kind: expected one of 'a', 'b', got 3"),
        ({"kind": ...}, "kind: is missing; expected one of 'a', 'b'"),
        ({"pair": [1]}, "pair: expected a list of 2, got [1]"),
        ({"pair": ["1", 2]}, "pair[0]: expected a whole number, got '1'"),
        ({"pair": [True, 2]}, "pair[0]: expected a whole number, got True"),
        ({"pair": [1.0, 2]}, "pair[0]: expected a whole number, got 1.0"),
        ({"pair": [1, "2"]}, "pair[1]: expected a number, got '2'"),
        ({"inner": 8}, "inner: expected a table with bits, name, got 8"),
        ({"inner": {"bits": 9}}, "inner.bits: expected a multiple of 8, got 9"),
        ({"inner": {"bits": 0}}, "inner.bits: expected a multiple of 8, got 0"),
        ({"inner": {"bits": None}}, "inner.bits: expected a multiple of 8, got None"),
        ({"inner": {"bit": 8}}, "inner.bit: unknown key; expected one of bits, name; did you mean bits?"),
        ({"inner": {}}, "inner.bits: is missing; expected a multiple of 8"),
        ({"rest": [{"bits": 8}, {"bits": 8, "size": 1}]}, "rest[1].size: unknown key; expected one of bits, name"),
        ({"rest": {"bits": 8}}, "rest: expected a list, got {'bits': 8}"),
        ({"by_name": {"x": [1, 0], "y": [0, 0]}}, "by_name.y[0]: expected a whole number of at least 1, got 0"),
        ({"by_name": {"x": [1, -1]}}, "by_name.x[1]: expected a whole number of at least 0, got -1"),
        ({"by_name": {3: [1, 1]}}, "by_name.3: expected text, got 3"),
        ({"by_name": []}, "by_name: expected a table, got []"),
        ({"maybe": {"bits": "8"}}, "maybe.bits: expected a multiple of 8, got '8'"),
        ({"either": 1.5}, "either: expected a whole number or text, got 1.5"),
        ({"share": 0}, "share: expected a number above 0 to 1, got 0"),
        ({"share": math.nan}, "share: expected a number above 0 to 1, got nan"),
        ({"trials": 17}, "trials: expected a whole number from 1 to 16, got 17"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"flagg": True}, "flagg: unknown key; "),
    ],
)  # fmt: skip
def test_messages_name_file_key_expected_and_got(change: dict[str, Any], message: str) -> None:
    data = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    with pytest.raises(ConfigError) as caught:
        decode(data, Outer, "my.toml", ConfigError)
    assert str(caught.value).startswith(f"my.toml: {message}")
    with pytest.raises(ArtifactError) as caught_at:
        decode(data, Outer, "my.toml", ArtifactError, path="top[2]", advice="write it again")
    said = str(caught_at.value)
    assert said.startswith(f"my.toml: top[2].{message}") and said.endswith("; write it again")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, "rest", "by_name", "x"]) | st.integers(), inner)
)))  # fmt: skip
def test_any_value_is_a_typed_error_or_right(data: Any) -> None:
    try:
        found = decode(data, Outer, "here")
    except StorageError as error:
        assert str(error).startswith("here: ")
    else:
        assert isinstance(found, Outer)


def test_values_of_other_libraries_are_encoded_as_python_s_own() -> None:
    value = Outer("a", (1, np.float64(2)), Inner(8), by_name=MappingProxyType({"x": (1, 2)}))
    assert json.loads(json.dumps(encode(value)))["by_name"] == {"x": [1, 2]}
    with pytest.raises(TypeError, match="expected JSON values, got object"):
        encode(Outer("a", (1, 2.0), Inner(8), anything=object()))


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 100_000, "1e999", '{"a": 1} 2'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match=r"^here: expected JSON: "):
        decode_json(text, dict[str, int], "here")


def test_scalars_and_lists_have_no_key() -> None:
    assert decode_json("[1, 2]", tuple[int, ...], "here") == (1, 2)
    with pytest.raises(StorageError, match=r"^here: \[1\]: expected a positive number, got 0$"):
        decode([1, 0], tuple[Positive, ...], "here")
    with pytest.raises(StorageError, match=r"^here: expected text that is not empty, got ''$"):
        decode("", Text, "here")  # type: ignore[arg-type]  # an annotated type is one too


def test_a_long_value_is_cut() -> None:
    with pytest.raises(StorageError) as caught:
        decode("x" * 10_000, int, "here")
    assert len(str(caught.value)) < 300


def test_toml_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    with pytest.raises(FileNotFoundError):
        read_toml(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"a\.toml: can't be read as text"):
        read_toml(file)
    file.write_text("[a\nb = 1")
    with pytest.raises(ConfigError, match=r"a\.toml: is not valid TOML: .*line 1"):
        read_toml(file)
    file.write_text("[a]\nb = 1")
    assert read_toml(file) == {"a": {"b": 1}}
