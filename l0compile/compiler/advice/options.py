"""What could be gated in a model, and what it would buy, as data."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from l0compile.ir.codec import encode


@dataclass(frozen=True)
class Option:
    """One gate that ``attach`` accepts.

    Attributes:
        module: path of the module to gate.
        granularity: what to give ``attach``, as it is written in Python.
        units: how many gates it makes.
        cost: cost of what shrinks with it, in the unit of the Advice: all that closing every gate could buy.
        per_unit: cost that one closed gate buys; 0 if ``blocked``.
        shrinks: regions that shrink with it.
        blocked: why closed gates buy nothing of themselves; empty if they do.
    """

    module: str
    granularity: str
    units: int
    cost: float
    per_unit: float
    shrinks: tuple[str, ...]
    blocked: str = ""


@dataclass(frozen=True)
class OptionGroup:
    """The same option of similar modules, such as the layers of an encoder.

    Attributes:
        patterns: what to write in ``attach``; together they match exactly ``modules``.
        granularity: as of ``Option``.
        modules: paths of the modules.
        units: gates of all modules.
        cost: cost of all modules.
        per_unit: mean over the modules.
        blocked: as of the first module.
    """

    patterns: tuple[str, ...]
    granularity: str
    modules: tuple[str, ...]
    units: int
    cost: float
    per_unit: float
    blocked: str


@dataclass(frozen=True)
class Advice:
    """What gates could do for a model on one target.

    Attributes:
        target: its name.
        unit: ``ms`` of a call, measured; or ``multiplications`` of a call if the target is not this machine.
        sizes: of the dynamic dimensions, for both.
        total: cost of the whole model.
        regions: cost of each region, by name.
        options: every gate that fits, in the order of the model.
        obstacles: what keeps channels of some tensors from being removed -> number of axes that it holds.
        unknown: operators without rules; they hold all channels of what they read and make.
        rest: classes of work that gates on weights do not touch -> cost; empty for multiplications.
    """

    target: str
    unit: str
    sizes: Mapping[str, int]
    total: float
    regions: Mapping[str, float]
    options: tuple[Option, ...]
    obstacles: Mapping[str, int]
    unknown: tuple[str, ...]
    rest: Mapping[str, float]

    @property
    def groups(self) -> tuple[OptionGroup, ...]:
        """The options of similar modules together, the most useful first and blocked ones last."""
        modules = {option.module for option in self.options}
        found: dict[tuple[str, str, bool], list[Option]] = {}
        for option in self.options:
            key = (_starred(option.module), option.granularity, bool(option.blocked))
            found.setdefault(key, []).append(option)
        groups = [_group(options, modules) for options in found.values()]
        return tuple(sorted(groups, key=lambda group: (bool(group.blocked), -group.cost)))

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, and ``groups``, as JSON values."""
        return {**encode(self), "groups": encode(self.groups)}


def _group(options: list[Option], modules: Iterable[str]) -> OptionGroup:
    names = tuple(option.module for option in options)
    return OptionGroup(
        patterns_for(names, modules),
        options[0].granularity,
        names,
        sum(option.units for option in options),
        sum(option.cost for option in options),
        sum(option.per_unit for option in options) / len(options),
        options[0].blocked,
    )


def patterns_for(names: tuple[str, ...], modules: Iterable[str]) -> tuple[str, ...]:
    """Return the shortest patterns that match exactly ``names`` among ``modules``; ``*`` also crosses dots."""
    modules = set(modules)
    digits = (re.sub(r"\d", "[0-9]", name) for name in names)
    for patterns in (dict.fromkeys(map(_starred, names)), dict.fromkeys(digits)):
        matched = {name for name in modules for pattern in patterns if fnmatchcase(name, pattern)}
        if matched == set(names):
            return tuple(patterns)
    return names


def _starred(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
