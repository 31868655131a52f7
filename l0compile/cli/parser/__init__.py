"""The command line: every command, its options, and help that teaches by example. Imports nothing heavy."""

import argparse
import textwrap

import l0compile
from l0compile.cli.models.kinds import is_shape
from l0compile.cli.parser import for_models, for_searches, measuring

_EXAMPLES = """
    examples:
      l0compile search minilm --out out           find which zeros to have, under a latency budget
      l0compile compile model.py:make --out fast  compile a model that you trained; its zeros become speed
      l0compile explain fast                      what became of each layer, and why
      l0compile bench fast --size tokens=128      measure it

    exit codes: 0 done; 1 an error, which is told on standard error; 2 wrong usage; 3 the model that a search chose is
    below the quality target; 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``args.command`` names the module of ``l0compile.cli`` that runs it."""
    parser = argparse.ArgumentParser(
        prog="l0compile",
        description="Make a trained PyTorch model as much faster as the zeros in it allow, with the same answers.",
        epilog=textwrap.dedent(_EXAMPLES).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"l0compile {l0compile.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (
        for_searches.add_search, for_models.add_compile, for_models.add_explain, measuring.add_bench,
        measuring.add_tune, for_models.add_targets, for_searches.add_worker, for_searches.add_report,
        for_searches.add_paper,
    ):  # fmt: skip
        add(commands)
    return parser


def named_models(args: argparse.Namespace) -> list[str]:
    """Return the models that the command line names; they are checked before anything heavy is loaded."""
    if args.command in ("compile", "explain", "bench"):
        return [args.model]
    return [text for text in args.what if not is_shape(text)] if args.command == "tune" else []
