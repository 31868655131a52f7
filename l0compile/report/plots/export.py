"""From a figure to SVG in a page or to a file.

Each plot has one drawing function, which makes a matplotlib figure. matplotlib, and not plotly: a page must stay one
file that opens offline under a strict content security policy. plotly.js would add four megabytes and code to each
page, and plotly writes PNG only with a browser beside it. Here the SVG is a part of the page: its text stays text, its
colours follow the theme of the reader, and a mark has a ``<title>``, which a browser shows where the mouse rests.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from l0compile.report.plots.colours import PAPER, themed

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

DPI = 150
_TIP = "tip:"
_SVG = "{http://www.w3.org/2000/svg}"
# What matplotlib writes for an SVG file of its own; in a page a style would hold for everything.
_NOT_IN_A_PAGE = ("metadata", "style")


def set_tip(artist: "Artist", words: str) -> None:
    """Show ``words`` where a mouse rests on ``artist`` in a page."""
    artist.set_gid(_TIP + _printable(words))


def settle(figure: "Figure") -> None:
    """Lay ``figure`` out, so that places on it are known."""
    with _ready(figure):
        figure.draw_without_rendering()


def png(figure: "Figure") -> bytes:
    """Return ``figure`` as a PNG file; the same figure gives the same bytes."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    # The style sheet of a page does the same for the text of an SVG.
    for text in figure.findobj(Text):
        text.set_path_effects([withStroke(linewidth=3, foreground=PAPER)])
    return saved(figure, "png", metadata={"Software": None})


def saved(figure: "Figure", kind: str, **options: Any) -> bytes:
    """Return ``figure`` as a file of the type ``kind``: "png", "svg" or "pdf"."""
    buffer = io.BytesIO()
    with _ready(figure):
        figure.savefig(buffer, format=kind, dpi=DPI if kind == "png" else 72, **options)
    return buffer.getvalue()


def svg(figure: "Figure", label: str, kind: str) -> "Markup":
    """Return ``figure`` as an ``<svg>`` for a page.

    Args:
        figure: What is drawn.
        label: A sentence that says what can be seen.
        kind: Class of the element: "wide", "narrow" or "fits".
    """
    import matplotlib
    from markupsafe import Markup

    # The salt keeps the ids of the pictures of a page apart, and makes those of one picture the same each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label + kind}):
        root = ElementTree.fromstring(saved(figure, "svg", transparent=True))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _NOT_IN_A_PAGE:
                parent.remove(child)
    for element in list(root.iter()):
        _adapt(element)
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}", "class": kind, "role": "img", "aria-label": label,
        "style": f"max-width:{width if kind != 'narrow' else 480:g}px",
    }  # fmt: skip
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _adapt(element: ElementTree.Element) -> None:
    """Drop namespaces, which HTML has none of; turn a tip into a title; let colours follow the theme."""
    element.tag = element.tag.removeprefix(_SVG)
    element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    element.text, element.tail = (element.text or "").strip(), ""
    if element.tag == "g" and (name := element.attrib.pop("id", "")).startswith(_TIP):
        title = ElementTree.Element("title")
        title.text = name.removeprefix(_TIP)
        element.insert(0, title)
    if style := element.attrib.get("style"):
        style = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda found: themed(found[1], found[2]), style)
        # The page gives all its text one family.
        element.attrib["style"] = re.sub(r"font-family: [^;]*(; |$)", "", style)


@contextmanager
def _ready(figure: "Figure") -> Iterator[None]:
    """Lay out or save ``figure`` in this: its texts are shown as they are, and no font is missed aloud."""
    from matplotlib.text import Text

    # Numbers beside an axis are matplotlib's own, and may be formulas: powers of ten.
    own = {
        id(text)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.get_ticklabels(which="both")
    }
    for text in figure.findobj(Text):
        if id(text) not in own:
            text.set_parse_math(False)
            text.set_text(_printable(text.get_text()))
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes in a PNG; the page has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _printable(text: str) -> str:
    """Return ``text`` with a space in place of what XML has no character for."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
