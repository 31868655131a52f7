"""Layers and live weights are counted by the block shape that they took, for one target or for several."""

import dataclasses

import pytest

from l0compile.report.blocks import common_prefix, kept, layer_groups, percent, shape_shares, target_name
from l0compile.studies.result import SearchResult


def test_shares_are_of_the_live_weights(search: SearchResult) -> None:
    found = shape_shares(search)
    assert {shape: share.layers for shape, share in found.items()} == {
        "dense": 2, "4×1": 2, "8×1": 1, "none left": 1,
    }  # fmt: skip
    square, wide = 384 * 384, 1536 * 384
    total = 2 * square + 2 * 0.2 * wide + 0.1 * square
    assert found["dense"].live == pytest.approx(2 * square / total)
    assert found["4×1"].live == pytest.approx(0.4 * wide / total)
    assert sum(share.live or 0.0 for share in found.values()) == pytest.approx(1.0)


def test_order_is_from_dense_to_nothing(search: SearchResult) -> None:
    layers = {str(n): [shape, 0.5] for n, shape in enumerate(["16x1", "4x1", None, "odd", "8x1"])} | {
        "z": ["4x1", 0.0]
    }
    chosen = dataclasses.replace(search.candidates[4], layers=layers)
    found = shape_shares(dataclasses.replace(search, candidates=(chosen,)))
    assert list(found) == ["dense", "odd", "4×1", "8×1", "16×1", "none left"]
    assert all(share.live is None for share in found.values())


def test_precisions_are_told_beside_the_shape(search: SearchResult) -> None:
    layers = {
        "a": ["4x4", 0.5, "int8"],
        "b": ["4x4", 0.5],
        "c": [None, 1.0, "int8"],
        "d": [None, 1.0, "bfloat16"],
    }
    chosen = dataclasses.replace(search.candidates[4], layers=layers)
    found = shape_shares(dataclasses.replace(search, candidates=(chosen,)))
    assert list(found) == ["dense bfloat16", "dense int8", "4×4", "4×4 int8"]
    assert kept(["4x4", 0.0, "int8"]) == ("none left", 0.0)


def test_places_in_the_model_are_counted_together(search: SearchResult) -> None:
    found = {name: str(kind) for name, kind in layer_groups(search).items()}
    assert found == {
        "bert.layer.*.query": "dense in 2; 100 % left",
        "bert.layer.*.up": "4×1 in 2; 20 % left",
        "bert.layer.*.down": "8×1 in 1, none left in 1; 5.0 % left",
    }


def test_only_whole_numbers_in_names_are_cut(search: SearchResult) -> None:
    chosen = dataclasses.replace(
        search.candidates[4], layers={"fc1": [None, 1.0], "2.conv3x3.10": [None, 1.0]}
    )
    assert list(layer_groups(dataclasses.replace(search, candidates=(chosen,)))) == ["fc1", "*.conv3x3.*"]


@pytest.mark.parametrize("facts", [{}, {"machine": {"cpu": "EPYC"}}, {"machine": {"fingerprint": {}}}])
def test_a_machine_without_a_name(search: SearchResult, facts: dict[str, dict[str, object]]) -> None:
    assert target_name(dataclasses.replace(search, facts=facts)) == "this target"


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["a.b.0.x", "a.b.1.y"], "a.b."),
        (["layer.10.x", "layer.11.x"], "layer."),
        (["a.b", "a.b.c"], "a."),
        (["x", "y"], ""),
        (["a.b.c"], ""),
        ([], ""),
    ],
)
def test_only_whole_names_are_cut(names: list[str], prefix: str) -> None:
    assert common_prefix(names) == prefix


def test_words_for_shares() -> None:
    assert [percent(share) for share in (0.0, 0.004, 0.0994, 0.0996, 0.5, 1.0)] == [
        "0 %", "0.4 %", "9.9 %", "10 %", "50 %", "100 %",
    ]  # fmt: skip
    assert [kept(layer) for layer in ([None, 1.0], ["16x1", 0.25], ["4x1", 0.0])] == [
        ("dense", 1.0), ("16×1", 0.25), ("none left", 0.0),
    ]  # fmt: skip
