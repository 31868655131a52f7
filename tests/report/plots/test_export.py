"""A figure in a page is plain SVG that follows the theme; in a file it is a PNG; odd text does no harm in either."""

import struct
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from l0compile.report.plots.colours import CHOSEN, PAPER, dark_twin
from l0compile.report.plots.export import DPI, png, set_tip, svg
from l0compile.report.plots.figure import HALF, canvas, set_titles
from tests.report.page import HOSTILE

ODD = [HOSTILE, "$x_{", "_hidden", "a\nb", "\\frac", "名前", "x" * 300, "", "\x00\x1b\ud800"]


def figure(name: str = "name") -> Figure:
    made, axes = canvas(HALF)
    set_titles(axes, name, name)
    (line,) = axes.plot([1, 2], [1, 2], marker="o", color=CHOSEN, label=name)
    set_tip(line, name)
    axes.annotate(name, (1.5, 1.5), color=CHOSEN).set_in_layout(False)
    made.legend(handles=[line], frameon=False)
    return made


def parsed(name: str = "name") -> ElementTree.Element:
    return ElementTree.fromstring(svg(figure(name), "a label", "wide"))


def test_a_tip_is_the_title_of_its_mark() -> None:
    titled = [group for group in parsed("#4, chosen").iter("g") if group.find("title") is not None]
    (group,) = titled
    assert group[0].text == "#4, chosen"
    assert any("#c2410c" in path.attrib.get("style", "") for path in group.iter("path"))


def test_text_stays_text_and_nothing_is_fetched() -> None:
    root = parsed()
    assert [text.text for text in root.iter("text")].count("name") == 4
    assert {element.tag for element in root.iter()} <= {
        "svg",
        "g",
        "path",
        "use",
        "defs",
        "text",
        "clipPath",
        "rect",
        "title",
    }
    made = str(svg(figure(), "a label", "wide"))
    assert "font-family" not in made and "http" not in made and "xmlns" not in made and "<style" not in made
    links = [value for element in root.iter() for key, value in element.attrib.items() if key == "href"]
    assert links and all(link.startswith("#") for link in links)


def test_what_is_referred_to_is_there_and_differs_between_pictures() -> None:
    one, other = (ElementTree.fromstring(svg(figure(), label, "wide")) for label in ("one", "other"))
    names = [{e.attrib["id"] for e in root.iter() if "id" in e.attrib} for root in (one, other)]
    assert names[0] and not names[0] & names[1]
    assert {e.attrib["href"][1:] for e in one.iter("use")} <= names[0]
    assert svg(figure(), "one", "wide") == svg(figure(), "one", "wide")


def test_colours_follow_the_theme() -> None:
    made = str(svg(figure(), "a label", "wide"))
    assert f"stroke:{CHOSEN};stroke:light-dark({CHOSEN},{dark_twin(CHOSEN)})" in made
    assert f"fill:{CHOSEN};fill:light-dark({CHOSEN},{dark_twin(CHOSEN)})" in made
    assert PAPER not in made  # what lies behind shows


def test_it_has_a_size_a_class_and_a_label() -> None:
    root = parsed()
    assert root.attrib["viewBox"] == "0 0 430 380" and root.attrib["class"] == "wide"
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == "a label"


@pytest.mark.parametrize("name", ODD)
def test_odd_text_does_no_harm(name: str) -> None:
    root = parsed(name)
    plain = parsed()
    assert {element.tag for element in root.iter()} <= {element.tag for element in plain.iter()}
    if name.isprintable() and 0 < len(name) < 50:
        assert name in [text.text for text in root.iter("text")]
    assert png(figure(name)).startswith(b"\x89PNG")


def test_a_png_has_the_size_of_the_figure_and_the_same_bytes_each_time() -> None:
    data = png(figure())
    assert struct.unpack(">II", data[16:24]) == (HALF.width * DPI // 72, HALF.height * DPI // 72)
    assert png(figure()) == data


def test_powers_of_ten_beside_an_axis_are_drawn_as_such() -> None:
    made, axes = canvas(HALF)
    axes.loglog([1, 1000], [1, 1000])
    texts = [
        "".join(text.itertext()) for text in ElementTree.fromstring(svg(made, "a label", "fits")).iter("text")
    ]
    assert "102" in texts  # a 10 with a small 2
    assert not [text for text in texts if "math" in text]
