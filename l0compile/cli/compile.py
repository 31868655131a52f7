"""``l0compile compile``: compile a model and save it as an artifact."""

import argparse

from l0compile.cli.models.example import compiled, load_example
from l0compile.cli.options import sizes
from l0compile.cli.output import print_json, print_rich
from l0compile.runtime.artifact import check_destination, read_manifest


def run(args: argparse.Namespace) -> int:
    """Compile the model, compare it with the original, save it, and say what was saved."""
    check_destination(args.out)
    compiled(args, load_example(args.model, sizes(args.size), args.dynamic)).save(args.out)
    manifest = read_manifest(args.out)
    explanation = manifest["explanation"]
    if args.json:
        keys = ("target", "versions", "inputs", "outputs")
        print_json({"path": args.out, **explanation} | {key: manifest[key] for key in keys})
        return 0
    regions = explanation["regions"]
    formats = [region["format"] for region in regions]
    counts = ", ".join(f"{formats.count(name)} {name}" for name in dict.fromkeys(formats))
    target = manifest["target"]["name"]
    print_rich(f"saved {args.out} for target {target}: {len(regions)} regions ({counts or 'none'})")
    print_rich(f"see why with: l0compile explain {args.out}")
    return 0
