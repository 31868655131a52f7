"""Colours of pages and plots: readable on white, and with a twin of the same contrast on the dark page."""

import colorsys
import functools

CHOSEN, FRONT, OTHER, TRIAL = "#c2410c", "#1d4ed8", "#52606d", "#7b8794"
INK, FAINT, GRID, PAPER, DARK_PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#14181d"
BUDGET, WITHIN_BUDGET = "#0f766e", "#d3eee1"
FORMAT_COLOURS = {
    "bsr": "#1d4ed8",
    "2:4": "#6d28d9",
    "compact": "#0f766e",
    "dropped": "#9aa5b1",
    "dense": "#a16207",
}
_DENSITY = ("#f3f7fc", "#6aaed6", "#08306b")
_QUALITY = ("#c26a3d", "#8f7d94", "#173f8a")


def density_colour(density: float) -> str:
    """Return the colour of a density in 0..1: the more is left, the darker."""
    # Most layers are sparse: the square root spreads small densities over more of the colours.
    return _between(_DENSITY, max(0.0, density) ** 0.5)


def quality_colour(share: float) -> str:
    """Return the colour of a quality, from the worst (0) to the best (1); contrast with white is at least 3:1."""
    return _between(_QUALITY, share)


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on ``colour``."""
    return max("#000000", "#ffffff", key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2, in 1..21; text needs 4.5, lines need 3."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@functools.cache
def dark_twin(colour: str) -> str:
    """Return the colour of the same hue that contrasts with the dark page as ``colour`` does with the white one."""
    hue, _, saturation = colorsys.rgb_to_hls(*_channels(colour))
    wanted, low, high = contrast(colour, PAPER), 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        found = _hex(colorsys.hls_to_rgb(hue, middle, saturation))
        lighter = _luminance(found) >= _luminance(DARK_PAPER)
        low, high = (low, middle) if lighter and contrast(found, DARK_PAPER) >= wanted else (middle, high)
    return _hex(colorsys.hls_to_rgb(hue, high, saturation))


def themed(name: str, colour: str) -> str:
    """Return a CSS declaration of the property ``name`` that follows the theme of the reader."""
    # A browser that does not know light-dark() keeps the first declaration.
    return f"{name}:{colour};{name}:light-dark({colour},{dark_twin(colour)})"


def _between(stops: tuple[str, ...], share: float) -> str:
    place = min(1.0, max(0.0, share)) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    pairs = zip(_channels(stops[index]), _channels(stops[index + 1]), strict=True)
    red, green, blue = (a + (b - a) * (place - index) for a, b in pairs)
    return _hex((red, green, blue))


def _channels(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255


def _hex(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in channels)


def _luminance(colour: str) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _channels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
