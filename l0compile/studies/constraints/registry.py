"""Every key that the table ``[limits]`` of a space may have.

To add a constraint, write a class like `SizeLimit` in a file of this folder and add a line to `LIMITS`.
"""

from collections.abc import Mapping
from typing import Any

from l0compile.errors import ConfigError
from l0compile.studies.constraints.constraint import Limit
from l0compile.studies.constraints.size import SizeLimit

LIMITS: Mapping[str, type[Limit]] = {
    "artifact_mb": SizeLimit,
}


def parse_limit(key: str, value: object, where: str) -> Limit:
    """Read one key of the table ``[limits]``; ``where`` names the file in messages.

    Raises:
        ConfigError: the key is unknown, or its value is not allowed.
    """
    if key not in LIMITS:
        raise ConfigError(
            f"{where}: limits.{key}: expected one of the keys {', '.join(sorted(LIMITS))}, got {{{key!r}: {value!r}}}"
        )
    return LIMITS[key].parse(value, f"{where}: limits.{key}")


def parse_limits(values: Mapping[str, Any], where: str) -> dict[str, float]:
    """Check the table ``[limits]``, and return the largest value allowed by key.

    Raises:
        ConfigError: a key is unknown, or its value is not allowed.
    """
    return {key: parse_limit(key, value, where).most for key, value in values.items()}
