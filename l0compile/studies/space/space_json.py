"""A search space as JSON values, for the study that workers read it from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from l0compile.errors import ConfigError
from l0compile.ir.codec import decode, encode
from l0compile.studies.constraints.registry import parse_limits
from l0compile.studies.space.space import Space
from l0compile.tasks import task_options


def space_to_json(space: Space) -> dict[str, Any]:
    """Return JSON values for ``space``."""
    found: dict[str, Any] = encode(space)
    return found


def space_from_json(data: Mapping[str, Any]) -> Space:
    """Return the space that ``space_to_json`` wrote.

    Raises:
        ConfigError: the values make no space, or one of another version.
    """
    given = dict(data)
    if isinstance(given.get("limits"), Mapping):  # an earlier version wrote null for what has no limit
        given["limits"] = {key: most for key, most in given["limits"].items() if most is not None}
    found = decode(given, Space, "job: space", ConfigError, advice="install the same version everywhere")
    options = task_options(found.task, found.options, where="job: space: options")
    return replace(found, options=options, limits=parse_limits(found.limits, "job: space"))
