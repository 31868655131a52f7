"""Where the time of a call goes, before and after zeros were used, and the speed-up that Amdahl's law leaves."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

from l0compile.ir.codec import encode
from l0compile.ir.records import Region
from l0compile.runtime.account.profile import FunctionTime, Profile

ATTENTION = "attention"


@dataclass(frozen=True)
class RegionTime:
    """The time of one region.

    Attributes:
        name: as in its Region.
        kind: as in its Region.
        kernels: functions that compute it, one entry for each launch.
        before_ms: dense; None if nothing tells.
        after_ms: as compiled; None if ordinary operators compute it.
        share: before_ms over the dense time of the whole model.
    """

    name: str
    kind: str
    kernels: tuple[str, ...]
    before_ms: float | None
    after_ms: float | None
    share: float | None


@dataclass(frozen=True)
class AccountPart:
    """A class of work.

    Attributes:
        name: ``weights`` (regions that have them), ``attention``, ``other kernels`` (norms, packing), ``ordinary
            operators``, ``islands`` (PyTorch) or ``between kernels`` (memory, the virtual machine, input checks).
        before_ms: dense.
        after_ms: as compiled.
        share: before_ms over the dense time of the whole model.
    """

    name: str
    before_ms: float
    after_ms: float
    share: float


@dataclass(frozen=True)
class Account:
    """Times of one call, in milliseconds.

    Attributes:
        before: ``measured`` on the dense compile of the same model, or ``predicted`` from shapes and block
            efficiency.
        sizes: of the measurement.
        threads: of the measurement.
        dense_ms: the whole model before.
        now_ms: the whole model after.
        speedup: their ratio.
        regions: in the order of the model.
        parts: what the whole is made of.
        ordinary: function -> (launches, ms) of operators outside our kernels, slowest first.
        islands: (function, where, ms) of each stage that PyTorch runs.
        shrinkable: share of the dense time that regions with weights take.
        bound: the speed-up if they took no time, 1 / (1 - shrinkable).
        bound_here: the speed-up if every region took the live share of its dense time and the rest stayed dense; live
            is the smaller of its density and of what is left of its shape.
    """

    before: str
    sizes: Mapping[str, int]
    threads: int
    dense_ms: float
    now_ms: float
    speedup: float
    regions: tuple[RegionTime, ...]
    parts: tuple[AccountPart, ...]
    ordinary: Mapping[str, tuple[int, float]]
    islands: tuple[tuple[str, str, float], ...]
    shrinkable: float
    bound: float
    bound_here: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, and ``sentence``, as JSON values."""
        return {**encode(self), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """The bound in words: what zeros can do at most, what they did, and what is in the way."""
        if self.islands and not any(region.kernels for region in self.regions):
            return (
                f"PyTorch runs this model, in {self.now_ms:.3g} ms a call; its layers are not timed one by one "
                "(compile with engine='tvm' to see them)."
            )
        others = [part for part in self.parts if part.name != "weights" and part.share >= 0.005]
        rest = ", ".join(
            f"{part.name} {part.share:.0%}" for part in sorted(others, key=lambda part: -part.share)
        )
        return (
            f"Layers with weights take {self.shrinkable:.0%} of the dense time, so zeros in them can make this model "
            f"at most {_times(self.bound)} as fast, and those that it has at most {_times(self.bound_here)}; it is "
            f"{_times(self.speedup)} as fast ({self.now_ms:.3g} ms for {self.dense_ms:.3g} ms dense, {self.before})."
            + (f" What zeros in weights do not touch: {rest} of the dense time." if rest else "")
        )


def account(regions: Iterable[Region], profile: Profile, dense: Profile | None) -> Account:
    """Join what was decided with what was measured.

    Args:
        regions: what became of each layer.
        profile: of the compiled model.
        dense: of the same model compiled with its zeros ignored, on the same inputs. Without it the time before is
            predicted: the time after over ``Region.predicted``, or over the ratio of shapes; for a dropped region
            ``Region.dense_ms``, or the mean time for each element of those of its kind that are left.
    """
    regions = tuple(regions)
    after = _by_region(profile)
    before = _measured(_by_region(dense)) if dense else _predicted(regions, after)
    gained = sum(
        before.get(region.name, 0.0) - _ms(after.get(region.name, ()))
        for region in regions
        if region.name in before
    )
    dense_ms = dense.total_ms if dense else profile.total_ms + gained
    times = tuple(_region_time(region, before, after, dense_ms) for region in regions)
    parts = _parts(times, profile, dense, dense_ms)
    saved = sum((1 - _live(region)) * before.get(region.name, 0.0) for region in regions)
    shrinkable = sum(t.share or 0.0 for t in times if t.kind != ATTENTION)
    return Account(
        before="measured" if dense else "predicted",
        sizes=profile.sizes,
        threads=profile.threads,
        dense_ms=dense_ms,
        now_ms=profile.total_ms,
        speedup=dense_ms / profile.total_ms,
        regions=times,
        parts=parts,
        ordinary=_ordinary(profile),
        islands=tuple((f.function, f.where or "", f.ms) for f in profile.functions if f.kind == "island"),
        shrinkable=shrinkable,
        bound=1 / max(1 - shrinkable, 1e-9),
        bound_here=dense_ms / max(dense_ms - saved, 1e-9),
    )


def _live(region: Region) -> float:
    left = prod(region.shape_after) / max(1, prod(region.shape_before))
    return 0.0 if region.format == "dropped" else min(region.density, left, 1.0)


def _by_region(profile: Profile) -> dict[str, list[FunctionTime]]:
    found: defaultdict[str, list[FunctionTime]] = defaultdict(list)
    for item in profile.functions:
        if item.region is not None:
            found[item.region].append(item)
    return dict(found)


def _ms(functions: Iterable[FunctionTime]) -> float:
    return sum(item.ms for item in functions)


def _measured(dense: Mapping[str, list[FunctionTime]]) -> dict[str, float]:
    return {name: _ms(functions) for name, functions in dense.items()}


def _predicted(regions: Iterable[Region], after: Mapping[str, list[FunctionTime]]) -> dict[str, float]:
    found: dict[str, float] = {}
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for region in regions:
        ratio = _predicted_ratio(region)
        if region.name in after:
            # A ratio of nothing says nothing: the time is taken as it is.
            found[region.name] = _ms(after[region.name]) / (ratio or 1.0)
            rates[region.kind].append(found[region.name] / max(1, prod(region.shape_before)))
    # The sizes, and the machine, may not be those that the costs were looked up for: they tell proportions.
    pace = [found[r.name] / r.dense_ms for r in regions if r.name in found and r.dense_ms]
    for region in regions:
        if region.format != "dropped" or region.name in found:
            continue
        if region.dense_ms and pace:
            found[region.name] = region.dense_ms * median(pace)
        elif rates[region.kind]:
            found[region.name] = median(rates[region.kind]) * prod(region.shape_before)
    return found


def _predicted_ratio(region: Region) -> float:
    if region.format == "dense":
        return 1.0
    if region.predicted is not None:
        return region.predicted
    if region.format == "bsr":
        return region.density
    return prod(region.shape_after) / max(1, prod(region.shape_before))


def _region_time(
    region: Region, before: Mapping[str, float], after: Mapping[str, list[FunctionTime]], dense_ms: float
) -> RegionTime:
    functions = after.get(region.name, [])
    gone = region.format == "dropped"
    then = before.get(region.name)
    return RegionTime(
        region.name,
        region.kind,
        tuple(item.function for item in functions),
        then,
        _ms(functions) if functions or gone else None,
        None if then is None else then / dense_ms,
    )


def _parts(
    times: tuple[RegionTime, ...], profile: Profile, dense: Profile | None, dense_ms: float
) -> tuple[AccountPart, ...]:
    weights = [t for t in times if t.kind != ATTENTION]
    attention = [t for t in times if t.kind == ATTENTION]
    known = {t.name for t in times}
    now, then = _rest(profile, known), _rest(dense or profile, known)
    rows = [
        ("weights", sum(t.before_ms or 0.0 for t in weights), sum(t.after_ms or 0.0 for t in weights)),
        ("attention", sum(t.before_ms or 0.0 for t in attention), sum(t.after_ms or 0.0 for t in attention)),
        *((name, then[name], now[name]) for name in now),
    ]
    return tuple(
        AccountPart(name, before, after, before / dense_ms) for name, before, after in rows if before or after
    )


def _rest(profile: Profile, regions: set[str]) -> dict[str, float]:
    names = {"kernel": "other kernels", "ordinary": "ordinary operators", "island": "islands"}
    found = dict.fromkeys(names.values(), 0.0)
    for item in profile.functions:
        if item.region not in regions:
            found[names[item.kind]] += item.ms
    return {**found, "between kernels": profile.between_ms}


def _ordinary(profile: Profile) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for item in profile.functions:
        if item.kind == "ordinary":
            count, ms = found.get(item.function, (0, 0.0))
            found[item.function] = (count + 1, ms + item.ms)
    return dict(sorted(found.items(), key=lambda pair: -pair[1][1]))


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if ratio < 10 else f"{ratio:.0f} times"
