"""A row for each layer, a column for each fitted candidate, the chosen one first, and the cells they ask for."""

import dataclasses
import re

import pytest

from l0compile.report.pages.heat import common_prefix, heat_map, kept, percent
from l0compile.report.plots.colours import density_colour
from l0compile.studies.result import SearchResult


def rows(shown: str) -> list[list[str]]:
    found = re.findall(r"<tr>(.*?)</tr>", shown)
    bare = [re.sub(r"</?(span|wbr)[^>]*>", "", row) for row in found]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in bare]


def test_cells_are_where_layer_and_candidate_meet(search: SearchResult) -> None:
    head, *body = rows(str(heat_map(search)))
    numbers = [int(re.findall(r"#(\d+)", cell)[0]) for cell in head[1:]]
    assert numbers == [4, 6, 5, 7] and "chosen" in head[1] and "2.4 ms" in head[2]
    assert [row[0] for row in body] == [
        "0.query", "0.up", "0.down", "1.query", "1.up", "1.down",
    ]  # fmt: skip
    assert body[1][1:] == ["4×1 20 %", "4×1 12 %", "4×1 24 %", "4×1 40 %"]
    assert body[5][1:] == ["8×1 10 %", "8×1 6.0 %", "8×1 12 %", "8×1 20 %"]
    assert {*body[0][1:], *body[3][1:]} == {"dense"} and set(body[2][1:]) == {"none left"}


def test_colour_is_density(search: SearchResult) -> None:
    shown = re.sub(r"</?span[^>]*>", "", str(heat_map(search)))
    for words, density in (("4×1 20 %", 0.2), ("4×1 40 %", 0.4), ("dense", 1.0), ("none left", 0.0)):
        cells = re.findall(rf'background:(#\w+);color:#\w+">{words}<', shown)
        assert cells and set(cells) == {density_colour(density)}


def test_a_layer_that_one_candidate_lacks_is_a_dash(search: SearchResult) -> None:
    chosen = search.candidates[4]
    short = {name: layer for name, layer in chosen.layers.items() if not name.endswith("0.up")}
    items = (*search.candidates[:4], dataclasses.replace(chosen, layers=short), *search.candidates[5:])
    body = rows(str(heat_map(dataclasses.replace(search, candidates=items))))[1:]
    found = next(row for row in body if row[0].endswith("up") and row[0].startswith("0"))
    assert found[1] == "–" and found[2] == "4×1 12 %"


def test_trials_alone_are_no_heat_map(search: SearchResult, report: SearchResult) -> None:
    assert heat_map(report) is None
    assert heat_map(dataclasses.replace(search, candidates=search.candidates[:4])) is None


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
