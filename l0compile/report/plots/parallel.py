"""Trials as lines across one axis for each searched value: which values good trials have in common."""

from dataclasses import dataclass

from l0compile.report.pages.fitted import note, origin, searched, trials
from l0compile.report.pages.markup import Markup
from l0compile.report.plots.canvas import shortened
from l0compile.report.plots.colours import quality_colour, swatch
from l0compile.report.plots.scale import Scale, spread
from l0compile.report.plots.svg import Size, figure, line, path, text
from l0compile.studies.result import Candidate, SearchResult


@dataclass(frozen=True)
class Axis:
    """A searched value, or the quality, with what each trial has of it; ``log``: equal steps are equal factors."""

    name: str
    values: tuple[float, ...]
    log: bool

    def scale(self, start: float, end: float) -> Scale:
        """From the smallest to the largest value."""
        return Scale.around(self.values, start, end, log=self.log, margin=0.0)


def parallel(result: SearchResult) -> Markup | None:
    """One line a trial, coloured by quality, the last axis; None where fewer than two trials have searched values."""
    known = [(trial, searched(trial.choices), trial.quality) for trial in trials(result)]
    # Without one of the values there is no line to draw; spaces of one study name the same ones.
    names = list(dict.fromkeys(name for _, values, _ in known for name in values))
    full = [(t, v, q) for t, v, q in known if q is not None and len(v) == len(names)]
    if len(full) < 2 or not names:
        return None
    axes = [
        Axis(name, found := tuple(v[name] for _, v, _ in full), name.startswith("weight.") and min(found) > 0)
        for name in names
    ]
    axes.append(Axis("quality", tuple(q for _, _, q in full), False))
    items = [trial for trial, _, _ in full]
    fitted = {number for c in result.candidates if (number := origin(result, c)) is not None}
    low, high = min(axes[-1].values), max(axes[-1].values)
    best = max(range(len(items)), key=lambda index: axes[-1].values[index])
    traits = ", ".join(f"{axis.name} {axis.values[best]:.3g}" for axis in axes[:-1])
    label = f"{len(items)} trials, quality {low:.4g} to {high:.4g}. The best one is #{items[best].number}: {traits}."
    caption = (
        swatch(quality_colour(0.0)), f"quality {low:.4g}, the worst, to ", swatch(quality_colour(1.0)),
        f"{high:.4g}, the best. ",
        "Thick lines, with numbers, went on to be fitted to a latency. Axes of weights are logarithmic.",
    )  # fmt: skip
    sizes = (Size(880, 400), Size(360, 52 * len(axes) + 20))
    return figure(lambda size: _drawing(axes, items, fitted, size), label, *caption, sizes=sizes)


def _drawing(axes: list[Axis], items: list[Candidate], fitted: set[int], size: Size) -> list[Markup]:
    # Upright axes side by side have no room for their names on a telephone: there they lie on top of each other.
    lying = size.narrow
    step = (size.height - 50) / (len(axes) - 1) if lying else (size.width - 120) / (len(axes) - 1)
    scales = [axis.scale(14, size.width - 14) if lying else axis.scale(size.height - 30, 58) for axis in axes]
    places = [30 + step * index if lying else 50 + step * index for index in range(len(axes))]
    parts: list[Markup] = []
    quality = axes[-1].scale(0.0, 1.0)
    order = sorted(range(len(items)), key=lambda i: (items[i].number in fitted, axes[-1].values[i]))
    for index in order:
        ends = [scale(axis.values[index]) for scale, axis in zip(scales, axes, strict=True)]
        points = list(zip(ends, places, strict=True)) if lying else list(zip(places, ends, strict=True))
        colour = quality_colour(quality(axes[-1].values[index]))
        kind = "trial thick" if items[index].number in fitted else "trial"
        parts.append(path(points, class_=kind, style=f"stroke:{colour}", words=note(items[index])))
    last, chosen = scales[-1], [index for index in order if items[index].number in fitted]
    ends = [last(axes[-1].values[index]) for index in chosen]
    gap, edges = (32, (last.start, last.end)) if lying else (14, (last.end, last.start))
    for index, end in zip(chosen, spread(ends, gap, *edges), strict=True):
        words = f"#{items[index].number}"
        where = (end, places[-1] + 18, words, "middle") if lying else (places[-1] + 8, end + 4, words)
        parts.append(text(*where, class_="halo"))
    for axis, scale, place in zip(axes, scales, places, strict=True):
        parts += _lying(axis, scale, place) if lying else _upright(axis, scale, place, step)
    return parts


def _upright(axis: Axis, scale: Scale, x: float, step: float) -> list[Markup]:
    kind, _, name = axis.name.partition(".")
    room = max(4, int(step / 7.5))
    titles = [kind, name] if name else ["", kind]
    return [
        line(x, scale.start, x, scale.end, class_="axis"),
        *(text(x, 14 + 15 * i, shortened(t, room), "middle", class_="title") for i, t in enumerate(titles)),
        text(x, scale.end - 4, f"{max(axis.values):.3g}", "middle", class_="end"),
        text(x, scale.start + 18, f"{min(axis.values):.3g}", "middle", class_="end"),
    ]


def _lying(axis: Axis, scale: Scale, y: float) -> list[Markup]:
    middle = (scale.start + scale.end) / 2
    return [
        line(scale.start, y, scale.end, y, class_="axis"),
        text(middle, y - 7, shortened(axis.name, 28), "middle", class_="title halo"),
        text(scale.start - 10, y - 7, f"{min(axis.values):.3g}", class_="end"),
        text(scale.end + 10, y - 7, f"{max(axis.values):.3g}", "end", class_="end"),
    ]
