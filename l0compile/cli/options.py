"""Options that several commands share, turned into values."""

import argparse
import re
from collections.abc import Iterable
from typing import Any

import l0compile as l0
from l0compile.cli.factory import make
from l0compile.errors import ConfigError


def compiled(args: argparse.Namespace) -> Any:
    """The ``CompiledModel`` of the function ``args.model``, made with the options of a command that compiles."""
    model, inputs = make(args.model)
    shapes = dynamic_shapes(args.dynamic)
    return l0.compile(model, inputs, target=args.target, dynamic_shapes=shapes, engine=args.engine)


def dynamic_shapes(options: Iterable[str]) -> dict[str, dict[int, str]] | None:
    """``["ids:0=batch", "ids:1=tokens"]`` as ``{"ids": {0: "batch", 1: "tokens"}}``; None for no options."""
    shapes: dict[str, dict[int, str]] = {}
    for text in options:
        match = re.fullmatch(r"(\w+):(\d+)=([A-Za-z_]\w*)", text)
        if match is None:
            raise ConfigError(f"--dynamic: expected INPUT:DIM=NAME such as input_ids:1=tokens, got {text!r}")
        shapes.setdefault(match[1], {})[int(match[2])] = match[3]
    return shapes or None


def sizes(options: Iterable[str]) -> dict[str, int]:
    """``["tokens=128"]`` as ``{"tokens": 128}``."""
    found = {}
    for text in options:
        match = re.fullmatch(r"([A-Za-z_]\w*)=([1-9]\d*)", text)
        if match is None:
            raise ConfigError(f"--size: expected NAME=NUMBER such as tokens=128, got {text!r}")
        found[match[1]] = int(match[2])
    return found
