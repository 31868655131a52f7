"""Layers and live weights are counted by the block shape that they took, for one target or for several."""

import dataclasses
import re

import pytest

from l0compile.report.pages.blocks import blocks_tables, kinds, shares, target_name
from l0compile.studies.result import SearchResult


def test_shares_are_of_the_live_weights(search: SearchResult) -> None:
    found = shares(search)
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
    found = shares(dataclasses.replace(search, candidates=(chosen,)))
    assert list(found) == ["dense", "odd", "4×1", "8×1", "16×1", "none left"]
    assert all(share.live is None for share in found.values())


def test_places_in_the_model_are_counted_together(search: SearchResult) -> None:
    found = {name: str(kind) for name, kind in kinds(search).items()}
    assert found == {
        "bert.layer.*.query": "dense in 2; 100 % left",
        "bert.layer.*.up": "4×1 in 2; 20 % left",
        "bert.layer.*.down": "8×1 in 1, none left in 1; 5.0 % left",
    }


def test_only_whole_numbers_in_names_are_cut(search: SearchResult) -> None:
    chosen = dataclasses.replace(
        search.candidates[4], layers={"fc1": [None, 1.0], "2.conv3x3.10": [None, 1.0]}
    )
    assert list(kinds(dataclasses.replace(search, candidates=(chosen,)))) == ["fc1", "*.conv3x3.*"]


def test_targets_stand_side_by_side(search: SearchResult, report: SearchResult) -> None:
    layers = {"bert.layer.0.up": ["16x1", 0.5]}
    other = dataclasses.replace(
        search, candidates=(dataclasses.replace(search.candidates[4], layers=layers),), facts={}
    )
    shown = str(blocks_tables({"desk": search, "old": report, "phone": other}))
    heads = re.findall(r'<th scope="col" colspan="2">(.*?)</th>', shown)
    assert heads == ["desk (EPYC, x86-64-v4, 2 cores)", "phone (this target)"]
    row = next(row for row in re.findall(r"<tr>(.*?)</tr>", shown) if ">16×1<" in row)
    assert re.findall(r"<td[^>]*>([^<]*)", row)[:3] == ["–", "–", "1"] and "100 %" in row
    assert "sizes unknown" in str(blocks_tables({"x": dataclasses.replace(search, regions=())}))


def test_nothing_known_is_no_table(search: SearchResult, report: SearchResult) -> None:
    unchosen = tuple(dataclasses.replace(item, chosen=False) for item in search.candidates)
    assert blocks_tables({"a": report, "b": dataclasses.replace(search, candidates=unchosen)}) is None


@pytest.mark.parametrize("facts", [{}, {"machine": {"cpu": "EPYC"}}, {"machine": {"fingerprint": {}}}])
def test_a_machine_without_a_name(search: SearchResult, facts: dict[str, dict[str, object]]) -> None:
    assert target_name(dataclasses.replace(search, facts=facts)) == "this target"
