"""What a space asks of the chosen model, against what the final measurement says.

A budget that is a share of another engine's latency can be missed in the end by a model that was fitted to it: what
else uses the machine slows engines down by different factors.
"""

from collections.abc import Mapping

from l0compile.measurement import Measurement, ratio
from l0compile.studies.fit.budgeted import Budgeted
from l0compile.studies.fit.latency import CHOSEN, ROW_OF
from l0compile.studies.result import BAND, Asked
from l0compile.studies.space.space import Space


def asked_of(
    space: Space,
    budget: Budgeted,
    measured: Mapping[str, Measurement],
    quality: float,
    dense: float,
    size_mb: float,
) -> tuple[Asked, ...]:
    """Everything that ``space`` asks for. quality, dense: of the chosen and the dense model, on held-out data."""
    floor, limit = space.quality, space.limits.artifact_mb
    if floor is None:
        found = [_latency(budget, measured)]
    else:
        what = f"quality of at least {floor.least(dense):.4g}, of {dense:.4g} of the dense model"
        found = [Asked(what, f"{quality:.4f} on held-out data", quality >= floor.least(dense), "quality")]
    if limit is not None:
        found.append(Asked(f"at most {limit:g} MB on disk", f"{size_mb:.1f} MB", size_mb <= limit, "size"))
    return tuple(found)


def _latency(budget: Budgeted, measured: Mapping[str, Measurement]) -> Asked:
    """Where the budget's reference failed, against what it took when the search began, and saying so."""
    chosen = measured[CHOSEN]
    reference = measured.get(ROW_OF[budget.reference[0]]) if budget.reference else None
    what = f"latency of at most {budget.ms:.4g} ms"
    if not chosen.ok:
        return Asked(what, f"not measured: {chosen.error}", met=False, kind="latency")
    load, low, high = (ms / budget.ms for ms in (chosen.median_ms, chosen.low_ms, chosen.high_ms))
    if budget.ratio is not None and budget.reference is not None:
        what = f"latency of at most {budget.ratio:.3g} × {ROW_OF[budget.reference[0]]}"
    if budget.ratio is not None and reference is not None and reference.ok:
        found = ratio(reference, chosen, paired=True)
        load, low, high = (1.0 / (speedup * budget.ratio) for speedup in (found.value, found.high, found.low))
    elif budget.ratio is not None:
        what += f" when the search began ({budget.ms:.4g} ms): in the end it could not be measured"
    words = ", quicker than needed" if load < BAND[0] else ""
    return Asked(what, f"{load:.3f} of the budget [{low:.3f}, {high:.3f}]{words}", load <= BAND[1], "latency")
