"""``l0compile explain``: what became of each region, and why."""

import argparse
from collections.abc import Mapping
from typing import Any

from l0compile.artifact import read_manifest
from l0compile.cli.factory import is_artifact
from l0compile.cli.options import compiled
from l0compile.cli.output import print_json, print_rich
from l0compile.report import region_table, restore_regions


def run(args: argparse.Namespace) -> int:
    """Print the regions of a saved model, or of one compiled for the purpose."""
    # A manifest is enough for a saved model: it can be explained on a machine that could not run it.
    manifest: dict[str, Any] = (
        read_manifest(args.model) if is_artifact(args.model) else compiled(args).manifest
    )
    explanation = manifest["explanation"]
    if args.json:
        print_json({"model": args.model, "target": manifest["target"], **explanation})
        return 0
    title = f"{args.model}, for target {manifest['target']['name']}"
    print_rich(
        region_table(restore_regions(explanation["regions"]), title), _checked(explanation["verification"])
    )
    return 0


def _checked(verification: Mapping[str, Any]) -> str:
    if not verification.get("checked"):
        return "not compared with the original model"
    return (
        f"compiled = original within {verification['max_difference']:.1e} of the largest value "
        f"(tolerance {verification['tolerance']:.0e}), on {verification['inputs']} inputs"
    )
