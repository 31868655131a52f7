"""Tables of layers on the page: a row for each layer or shape, a column for each candidate or target."""

import dataclasses
import re

from l0compile.report.pages.search_page import render_search
from l0compile.report.plots.colours import density_colour
from l0compile.studies.result import SearchResult

LAYERS, SHAPES = "Densities and block shapes of each layer", "Block shapes"


def section(page: str, title: str) -> str:
    """What is between a title and the next one; nothing where there is no such title."""
    return page.partition(f"<h2>{title}")[2].partition("<h2>")[0]


def rows(shown: str) -> list[list[str]]:
    found = re.findall(r"<tr>(.*?)</tr>", shown, re.DOTALL)
    bare = [re.sub(r"</?(span|wbr)[^>]*>", "", row) for row in found]
    return [[cell.strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in bare]


def test_cells_are_where_layer_and_candidate_meet(search: SearchResult) -> None:
    head, *body = rows(section(render_search(search), LAYERS))
    numbers = [int(re.findall(r"#(\d+)", cell)[0]) for cell in head[1:]]
    assert numbers == [4, 6, 5, 7] and "chosen" in head[1] and "2.4 ms" in head[2]
    assert [row[0] for row in body] == [
        "0.query", "0.up", "0.down", "1.query", "1.up", "1.down",
    ]  # fmt: skip
    assert body[1][1:] == ["4×1 20 %", "4×1 12 %", "4×1 24 %", "4×1 40 %"]
    assert body[5][1:] == ["8×1 10 %", "8×1 6.0 %", "8×1 12 %", "8×1 20 %"]
    assert {*body[0][1:], *body[3][1:]} == {"dense"} and set(body[2][1:]) == {"none left"}


def test_cells_tell_the_precision(search: SearchResult) -> None:
    layers = {"up": ["4x4", 0.5, "int8"], "down": [None, 1.0, "bfloat16"]}
    chosen = dataclasses.replace(
        search, candidates=(dataclasses.replace(search.candidates[4], layers=layers),)
    )
    body = rows(section(render_search(chosen), LAYERS))[1:]
    assert body == [["up", "4×4 int8 50 %"], ["down", "dense bfloat16"]]


def test_colour_is_density(search: SearchResult) -> None:
    shown = re.sub(r"</?span[^>]*>", "", section(render_search(search), LAYERS))
    for words, density in (("4×1 20 %", 0.2), ("4×1 40 %", 0.4), ("dense", 1.0), ("none left", 0.0)):
        cells = re.findall(rf'background:(#\w+);[^>]*">{words}<', shown)
        assert cells and set(cells) == {density_colour(density)}


def test_a_layer_that_one_candidate_lacks_is_a_dash(search: SearchResult) -> None:
    chosen = search.candidates[4]
    short = {name: layer for name, layer in chosen.layers.items() if not name.endswith("0.up")}
    items = (*search.candidates[:4], dataclasses.replace(chosen, layers=short), *search.candidates[5:])
    body = rows(section(render_search(dataclasses.replace(search, candidates=items)), LAYERS))[1:]
    found = next(row for row in body if row[0] == "0.up")
    assert found[1] == "–" and found[2] == "4×1 12 %"


def test_trials_alone_have_no_table_of_layers(search: SearchResult, report: SearchResult) -> None:
    assert not section(render_search(report), LAYERS)
    trials = dataclasses.replace(search, candidates=search.candidates[:4])
    assert not section(render_search(trials), LAYERS)


def test_targets_stand_side_by_side(search: SearchResult, report: SearchResult) -> None:
    layers = {"bert.layer.0.up": ["16x1", 0.5]}
    changed = (dataclasses.replace(search.candidates[4], layers=layers),)
    other = dataclasses.replace(search, candidates=changed, facts={})
    shown = section(
        render_search(search, {"desk": search, "old": report, "phone": other}), "Block shapes by target"
    )
    heads = re.findall(r'<th scope="col" colspan="2">(.*?)</th>', shown)
    assert heads == ["desk (EPYC, x86-64-v4, 2 cores)", "phone (this target)"]
    found = {row[0]: row[1:] for row in rows(shown)}
    assert found["16×1"] == ["–", "–", "1", "100 %"]
    assert found["none left"] == ["1", "0 %", "–", "–"]
    assert found["up"] == ["4×1 in 2; 20 % left", "16×1 in 1; 50 % left"]


def test_without_sizes_there_are_no_shares_of_weights(search: SearchResult) -> None:
    shown = section(render_search(dataclasses.replace(search, regions=())), SHAPES)
    assert "sizes unknown" in shown and ">EPYC, x86-64-v4, 2 cores</th>" in shown


def test_nothing_known_is_no_table_of_shapes(search: SearchResult, report: SearchResult) -> None:
    unchosen = tuple(dataclasses.replace(item, chosen=False) for item in search.candidates)
    for result in (report, dataclasses.replace(search, candidates=unchosen)):
        assert not section(render_search(result), SHAPES)
