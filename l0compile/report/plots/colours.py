"""Colours that carry numbers, told apart by people who see few colours because they also differ in lightness."""

from l0compile.report.pages.markup import Markup, tag

CHOSEN, FRONT, OTHER, TRIAL = "#c2410c", "#1d4ed8", "#52606d", "#7b8794"
_DENSITY = ("#f3f7fc", "#6aaed6", "#08306b")
_QUALITY = ("#c26a3d", "#8f7d94", "#173f8a")


def density_colour(density: float) -> str:
    """Of a density in 0..1, the darker the more is left; outside of that, the colour of the nearest end."""
    # Most layers are sparse: the root spreads the small densities over more of the colours.
    return _between(_DENSITY, max(0.0, density) ** 0.5)


def quality_colour(share: float) -> str:
    """From the worst quality, 0, to the best one, 1. Every colour stands out from white by 3:1 at least."""
    return _between(_QUALITY, share)


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on ``colour``."""
    return max("#000000", "#ffffff", key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, in 1..21; text wants 4.5."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def swatch(colour: str) -> Markup:
    """A small square for a legend."""
    return tag("span", class_="key", style=f"background:{colour}")


def _between(stops: tuple[str, ...], share: float) -> str:
    place = min(1.0, max(0.0, share)) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    pairs = zip(_channels(stops[index]), _channels(stops[index + 1]), strict=True)
    mixed = [round(a + (b - a) * (place - index)) for a, b in pairs]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
