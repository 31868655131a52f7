"""Read a search space from TOML; every error names the file, the key, what was expected and what came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from l0compile.errors import ConfigError
from l0compile.ir.codec import Meta, Share, Text, decode, read_toml
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.constraints.registry import parse_limits
from l0compile.studies.pruning.level import Numbers
from l0compile.studies.space.space import FLOAT, Effort, GateGroup, GateKind, Space, TrainingPlan
from l0compile.tasks import list_tasks, task_options

_EDGE = r"([1-9]\d?|1\d\d|2[0-4]\d|25[0-6])"
_ShapeText = Annotated[
    str, Meta(pattern=rf"^{_EDGE}x{_EDGE}\Z", description='a block shape such as "4x1", up to 256x256')
]


@dataclass(frozen=True)
class _Group:
    """A table ``[[gates]]``; blocks have shapes, heads have their number."""

    kind: GateKind
    name: Text
    patterns: Annotated[tuple[Text, ...], Meta(min_length=1, description="a list of module-name patterns")]
    density: tuple[Share, Share] = (0.0, 1.0)
    shapes: tuple[_ShapeText, ...] | None = None
    heads: Annotated[int, Meta(ge=1, le=1024)] | None = None

    def __post_init__(self) -> None:
        low, high = self.density
        if not 0 <= low <= high or high == 0:
            raise ValueError(
                "density: expected [low, high] with 0 <= low <= high <= 1, high above 0, got "
                f"{list(self.density)}"
            )
        for key, kind in (("shapes", "block"), ("heads", "head")):
            value = getattr(self, key)
            if self.kind == kind and value is None:
                raise ValueError(f"{key}: is missing; expected {_OF_KIND[key]}")
            if self.kind != kind and value is not None:
                raise ValueError(
                    f"{key}: expected no such key for gates of kind {self.kind!r}, got {value!r}"
                )
        if self.shapes is not None and len(set(self.shapes)) != max(1, len(self.shapes)):
            raise ValueError(f"shapes: expected at least one block shape, each once, got {list(self.shapes)}")

    def group(self) -> GateGroup:
        shapes = tuple(
            (int(rows), int(cols)) for rows, cols in (text.split("x") for text in self.shapes or ())
        )
        return GateGroup(self.name, self.kind, self.patterns, self.density, shapes, self.heads or 0)


_OF_KIND = {"shapes": 'block shapes such as "4x1"', "heads": "a whole number from 1 to 1024"}


@dataclass(frozen=True)
class _SpaceFile:
    """A search space as TOML writes it."""

    gates: Annotated[tuple[_Group, ...], Meta(min_length=1, description="at least one [[gates]] table")]
    task: dict[str, Any] = field(default_factory=dict)
    latency: LatencyBudget = field(default_factory=LatencyBudget)
    feeds: dict[str, Annotated[Text, Meta(description="the pattern of the layers that read it")]] = field(
        default_factory=dict
    )
    search: Effort = field(default_factory=Effort)
    training: TrainingPlan = field(default_factory=TrainingPlan)
    quality: QualityTarget | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    precision: tuple[Numbers, ...] = FLOAT

    def __post_init__(self) -> None:
        if len(set(self.precision)) != max(1, len(self.precision)):
            raise ValueError(f"precision: expected at least one, each once, got {list(self.precision)}")
        names = [group.name for group in self.gates]
        if len(set(names)) < len(names):
            raise ValueError(f"gates: expected a different name for each group, got {names}")
        if all(group.kind != "block" for group in self.gates):
            raise ValueError(
                f"gates: expected one group of blocks at least: budgets are met by what blocks take, got {names}"
            )
        given = {key: value for key in ("ratio", "ms") if (value := getattr(self.latency, key)) is not None}
        if self.quality is not None and given:
            raise ValueError(
                "latency: expected no ratio or ms beside quality.drop: one of the two is searched for, got "
                f"{given}"
            )
        if self.quality is None and len(given) != 1:
            raise ValueError(
                "latency: expected either ratio (of the reference engine's dense latency) or ms, or drop in a table "
                f"quality, got {given}"
            )
        if self.training.stages > 1 and self.training.gate_steps:
            raise ValueError(
                "training.stages: expected 1 beside gate_steps: zeros come in stages or are trained, got "
                f"{self.training.stages}"
            )


def read_space(path: str | Path) -> Space:
    """Return the space in the TOML file ``path``.

    Raises:
        ConfigError: it cannot be read, or is malformed.
    """
    file = Path(path)
    try:
        data = read_toml(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: can't be read as a search space: {error.strerror}") from error
    return parse_space(data, file=str(file))


def parse_space(data: Mapping[str, Any], *, file: str = "space") -> Space:
    """Return the space in parsed TOML.

    Args:
        data: the tables of the file.
        file: what errors name; a task's own file is looked for beside it.

    Raises:
        ConfigError: a key is missing, unknown or malformed.
    """
    found = decode(data, _SpaceFile, file, ConfigError)
    if "thorough" in data.get("search", {}):
        raise ConfigError(f"{file}: search.thorough: unknown key; a search decides this by itself")
    options = dict(found.task)
    name = _task(options.pop("name", None), Path(file))
    return Space(
        Path(file).stem,
        name,
        task_options(name, options, where=f"{file}: task"),
        tuple(table.group() for table in found.gates),
        found.latency,
        found.feeds,
        found.search,
        found.training,
        found.quality,
        parse_limits(found.limits, file),
        found.precision,
    )


def _task(name: Any, file: Path) -> str:
    """Return the name of a task of ours, or of a function that makes one, whose file lies beside the space's own."""
    expected = f"one of {', '.join(list_tasks())}, or FILE.py:FUNCTION of your own"
    if name is None:
        raise ConfigError(f"{file}: task.name: is missing; expected {expected}")
    where, _, function = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    if where and function:
        return f"{file.parent / where}:{function}" if where.endswith(".py") else str(name)
    if name not in list_tasks():
        raise ConfigError(f"{file}: task.name: expected {expected}, got {name!r}")
    return str(name)
