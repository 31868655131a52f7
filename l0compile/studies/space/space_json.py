"""A search space as JSON values, for the study that workers read it from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from l0compile.errors import ConfigError
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.constraints.registry import parse_limits
from l0compile.studies.space.space import (
    Effort,
    GateGroup,
    Space,
    TrainingPlan,
)
from l0compile.tasks import task_options


def space_to_json(space: Space) -> dict[str, Any]:
    """Plain JSON types."""
    return dataclasses.asdict(space)


def space_from_json(data: Mapping[str, Any]) -> Space:
    """Inverse of `space_to_json`. Raises ConfigError for values that make no space."""
    try:
        values = dict(data)
        values["options"] = task_options(values["task"], values["options"], where="job: space: options")
        values["gates"] = tuple(_group(group) for group in values["gates"])
        values["latency"] = LatencyBudget(**values["latency"])
        values["effort"] = Effort(**{**values["effort"], "sweep": tuple(values["effort"]["sweep"])})
        values["training"] = TrainingPlan(**values["training"])
        limits = {key: most for key, most in values["limits"].items() if most is not None}
        values["limits"] = parse_limits(limits, "job: space")
        values["quality"] = values["quality"] and QualityTarget(**values["quality"])
        return Space(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"job: space: does not fit this version of l0compile: {error}; install the same one everywhere"
        ) from error


def _group(data: Mapping[str, Any]) -> GateGroup:
    pairs = {name: tuple(data[name]) for name in ("patterns", "density")}
    return GateGroup(**{**data, **pairs, "shapes": tuple((rows, cols) for rows, cols in data["shapes"])})
