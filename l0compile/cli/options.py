"""Turn options that several commands share into values."""

import re
from collections.abc import Iterable
from itertools import product

from l0compile.errors import ConfigError


def dynamic_shapes(options: Iterable[str]) -> dict[str, dict[int, str]] | None:
    """Return ``["ids:0=batch", "ids:1=tokens"]`` as ``{"ids": {0: "batch", 1: "tokens"}}``; None for no options.

    Raises:
        ConfigError: An option has another form.
    """
    shapes: dict[str, dict[int, str]] = {}
    for text in options:
        match = re.fullmatch(r"(\w+):(\d+)=([A-Za-z_]\w*)", text)
        if match is None:
            raise ConfigError(f"--dynamic: expected INPUT:DIM=NAME such as input_ids:1=tokens, got {text!r}")
        shapes.setdefault(match[1], {})[int(match[2])] = match[3]
    return shapes or None


def sizes(options: Iterable[str]) -> dict[str, int]:
    """Return ``["tokens=128"]`` as ``{"tokens": 128}``.

    Raises:
        ConfigError: An option has another form, or gives several numbers.
    """
    found = {}
    for name, numbers in _read_sizes(options):
        if len(numbers) > 1:
            raise ConfigError(f"--size: {name}: expected one number, got {len(numbers)}; bench takes several")
        found[name] = numbers[0]
    return found


def sweep(options: Iterable[str]) -> list[dict[str, int]]:
    """Return all combinations of sizes such as ``["batch=1,8", "tokens=128,512"]``; one empty one for no options.

    Raises:
        ConfigError: An option has another form.
    """
    read = _read_sizes(options)
    names = [name for name, _ in read]
    return [dict(zip(names, point, strict=True)) for point in product(*(numbers for _, numbers in read))]


def _read_sizes(options: Iterable[str]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for text in options:
        match = re.fullmatch(r"([A-Za-z_]\w*)=([1-9]\d*(?:,[1-9]\d*)*)", text)
        if match is None or match[1] in found:
            raise ConfigError(
                f"--size: expected NAME=NUMBER such as tokens=128, each name once, got {text!r}"
            )
        found[match[1]] = list(dict.fromkeys(int(number) for number in match[2].split(",")))
    return [*found.items()]
