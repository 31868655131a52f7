"""The ``l0compile`` command: parse, run one command, turn errors into a message and an exit code."""

import importlib
import json
import os
import sys
from collections.abc import Sequence

from l0compile.cli.models.kinds import kind_of
from l0compile.cli.parser import build_parser, named_models
from l0compile.errors import L0CompileError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; an error of ours, told on standard error; a wrong command line; stopped by Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code.

    An error that is not one of ours passes through with its traceback: it is a defect to be reported.

    Args:
        argv: The words after the program's name; default: those of this process.
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed help or its complaint
        return stop.code if isinstance(stop.code, int) else USAGE
    if args.command is None:
        parser.print_help()
        return USAGE
    try:
        for model in named_models(args):
            kind_of(model, saved=args.command in ("explain", "bench"))
        # A command's module is loaded only when it runs: help and misspelt names must not wait for PyTorch.
        command = importlib.import_module(f"l0compile.cli.{args.command}")
        code: int = command.run(args)
        sys.stdout.flush()
        return code
    except L0CompileError as error:
        return _tell(error, args.json)
    except KeyboardInterrupt:
        print("l0compile: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (such as `head`) has left. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _tell(error: L0CompileError, as_json: bool) -> int:
    print(f"l0compile: error: {error}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
    return FAILED
