"""Text on every colour can be read, lines stand out from the page, and more is darker."""

from hypothesis import given
from hypothesis import strategies as st

from l0compile.report.plots.colours import (
    CHOSEN,
    DARK_PAPER,
    FRONT,
    OTHER,
    PAPER,
    TRIAL,
    contrast,
    dark_twin,
    density_colour,
    ink_on,
    quality_colour,
    themed,
)

SHARES = st.floats(0.0, 1.0)


def test_contrast_is_that_of_wcag() -> None:
    assert round(contrast("#000000", "#ffffff"), 1) == 21.0
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54
    assert contrast("#123456", "#123456") == 1.0


@given(SHARES)
def test_text_on_a_density_can_be_read(density: float) -> None:
    colour = density_colour(density)
    assert contrast(ink_on(colour), colour) >= 4.5


@given(SHARES)
def test_lines_of_every_quality_stand_out(share: float) -> None:
    assert contrast(quality_colour(share), "#ffffff") >= 3.0


@given(SHARES, SHARES)
def test_more_is_darker_for_those_who_see_no_hue(one: float, other: float) -> None:
    low, high = sorted((one, other))
    for colour in (density_colour, quality_colour):
        # A channel is a whole number, so that neighbours may differ by rounding.
        assert contrast(colour(high), "#ffffff") >= contrast(colour(low), "#ffffff") - 0.1


def test_ends_and_marks() -> None:
    assert density_colour(-1.0) == density_colour(0.0) != density_colour(0.01)
    # Half of the colours are for densities below a quarter, where most layers are.
    assert density_colour(0.25) == "#6aaed6"
    assert density_colour(2.0) == density_colour(1.0) == "#08306b"
    assert all(contrast(colour, "#ffffff") >= 3.0 for colour in (CHOSEN, FRONT, OTHER, TRIAL))


@given(st.integers(0, 0xFFFFFF))
def test_a_dark_twin_stands_out_as_its_colour_does(number: int) -> None:
    colour = f"#{number:06x}"
    twin = dark_twin(colour)
    # White and black are no further apart than this on the dark page.
    wanted = min(contrast(colour, PAPER), contrast("#ffffff", DARK_PAPER))
    assert contrast(twin, DARK_PAPER) >= 0.97 * wanted
    assert contrast(ink_on(twin), twin) >= 4.5


def test_twins_of_paper_and_ink() -> None:
    assert contrast(dark_twin(PAPER), DARK_PAPER) < 1.1
    assert contrast(dark_twin("#000000"), "#ffffff") < 1.1
    assert themed("fill", CHOSEN) == f"fill:{CHOSEN};fill:light-dark({CHOSEN},{dark_twin(CHOSEN)})"
