"""``l0compile targets``: list the machines that models can be compiled for, or show one."""

import argparse
import dataclasses
import difflib
from typing import Any

from l0compile.cli.output import print_json, print_rich
from l0compile.errors import ConfigError
from l0compile.hardware.targets import (
    Card,
    Target,
    host_supports,
    list_targets,
    load_target,
    read_cards,
    target_of_card,
)
from l0compile.kernels.cuda.toolchain import has_nvcc

_ACTIONS = ("list", "show")


def run(args: argparse.Namespace) -> int:
    """List all targets, or show every field of one.

    Raises:
        ConfigError: there are two names, or a word that is neither an action nor a target.
    """
    if args.action == "show":
        return _show(load_target(args.name or "native"), args.json)
    if args.action != "list":
        return _show(load_target(_only_name(args.action, args.name)), args.json)
    if args.name is not None:
        raise ConfigError(
            f"targets list: expected no name, got {args.name!r}; run: l0compile targets {args.name}"
        )
    return _list(args.json)


def _only_name(word: str, name: str | None) -> str:
    """The word after ``targets`` as the name of a target: ``show`` may be left out."""
    if name is not None or difflib.get_close_matches(word, _ACTIONS, n=1, cutoff=0.7):
        raise ConfigError(
            f"targets: expected {' or '.join(_ACTIONS)} before {name!r}, got {word!r}"
            if name is not None
            else f"targets: expected {', '.join(_ACTIONS)} or the name of a target, got {word!r}"
        )
    return word


def _list(as_json: bool) -> int:
    targets = [load_target(name) for name in list_targets()]
    if as_json:
        cards = [{**dataclasses.asdict(card), "target": _target_of(card)} for card in read_cards()]
        print_json({"targets": [_facts(target) for target in targets], "cards": cards})
        return 0
    width = max(len(target.name) for target in targets)
    for target in targets:
        here = "runs here" if host_supports(target) is None else ""
        notes = (
            target.gpu.card if target.gpu else "",
            here,
            "" if _compiles(target) else "needs nvcc to compile",
        )
        here = "; ".join(note for note in notes if note)
        print(f"{target.name:{width}}  {target.cpu:12}  {target.vector_bits:5} bits  {here}".rstrip())
    for card in read_cards():
        found = _target_of(card)
        advice = f"use {found}" if found else "no shipped target is for it"
        print(f"here: {card.name}, {card.cpu}, {card.memory_mib} MiB, driver {card.driver}: {advice}")
    return 0


def _compiles(target: Target) -> bool:
    """Whether this machine has what compiling a model for ``target`` takes."""
    return target.kind == "llvm" or has_nvcc()


def _target_of(card: Card) -> str | None:
    """The name of the shipped target for a card."""
    found = target_of_card(card)
    return found.name if found else None


def _show(target: Target, as_json: bool) -> int:
    facts = _facts(target)
    if as_json:
        print_json(facts)
        return 0
    from rich.markup import escape

    for name, value in facts.items():
        print_rich(escape(f"{name:12} {value}"))
    return 0


def _facts(target: Target) -> dict[str, Any]:
    speeds = {f"{rows}x{cols}": speed for (rows, cols), speed in target.efficiency}
    reason = host_supports(target)
    return {
        **dataclasses.asdict(target),
        "blocks": list(speeds),
        "efficiency": speeds,
        "compiles_models": _compiles(target),
        "runs_here": reason is None,
        "reason": reason,
    }
