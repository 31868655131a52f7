"""``l0compile targets``: list the machines that models can be compiled for, or show one."""

import argparse
import dataclasses
from typing import Any

from l0compile.cli.output import print_json, print_rich
from l0compile.hardware.targets import Target, host_supports, list_targets, load_target


def run(args: argparse.Namespace) -> int:
    """List all targets, or show every field of one."""
    if args.action == "show":
        return _show(load_target(args.name), args.json)
    targets = [load_target(name) for name in list_targets()]
    if args.json:
        print_json({"targets": [_facts(target) for target in targets]})
        return 0
    width = max(len(target.name) for target in targets)
    for target in targets:
        here = "runs here" if host_supports(target) is None else ""
        here = here if target.kind == "llvm" else "no models yet: single kernels are generated, nothing more"
        print(f"{target.name:{width}}  {target.cpu:12}  {target.vector_bits:5} bits  {here}".rstrip())
    return 0


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
        "compiles_models": target.kind == "llvm",
        "runs_here": reason is None,
        "reason": reason,
    }
