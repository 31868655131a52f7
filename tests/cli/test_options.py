"""Sizes and dynamic dimensions on the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.cli.options import dynamic_shapes, sizes, sweep
from l0compile.errors import ConfigError

names = st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,5}", fullmatch=True)


@given(
    st.dictionaries(
        names, st.dictionaries(st.integers(0, 5), names, min_size=1, max_size=3), min_size=1, max_size=3
    )
)
def test_dynamic_shapes_come_back(shapes: dict[str, dict[int, str]]) -> None:
    assert (
        dynamic_shapes(
            f"{name}:{dim}={label}" for name, dims in shapes.items() for dim, label in dims.items()
        )
        == shapes
    )


@given(st.dictionaries(names, st.integers(1, 10**6)))
def test_sizes_come_back(wanted: dict[str, int]) -> None:
    assert sizes(f"{name}={size}" for name, size in wanted.items()) == wanted


def test_no_option_means_all_fixed() -> None:
    assert dynamic_shapes([]) is None


@pytest.mark.parametrize(
    "text", ["", "ids", "ids:0", "ids=batch", "ids:x=batch", "ids:0=", "ids:-1=b", "ids:0=1"]
)
def test_a_malformed_dimension_is_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="INPUT:DIM=NAME"):
        dynamic_shapes([text])


@pytest.mark.parametrize("text", ["", "tokens", "tokens=", "tokens=0", "tokens=-4", "tokens=1.5"])
def test_a_malformed_size_is_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        sizes([text])


def test_a_sweep_is_every_combination_in_order() -> None:
    assert sweep([]) == [{}]
    points = sweep(["batch=1,8", "tokens=128,64,128"])
    assert [tuple(point.items()) for point in points] == [
        (("batch", batch), ("tokens", tokens)) for batch in (1, 8) for tokens in (128, 64)
    ]


@pytest.mark.parametrize("options", [["batch=1,"], ["batch=1,,2"], ["batch=1", "batch=2"], ["batch=,1"]])
def test_a_malformed_sweep_is_shown(options: list[str]) -> None:
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        sweep(options)


def test_where_one_size_is_wanted_several_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch: expected one number, got 2; bench takes several"):
        sizes(["batch=1,2"])
