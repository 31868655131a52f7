"""What the parsers of several commands share: how a command is added, common options, and checks of numbers."""

import argparse
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

MODEL = """MODULE:FUNCTION or FILE.py:FUNCTION; the function returns (model, args) or (model, args, kwargs): a trained
nn.Module, a tuple of example inputs, and a dictionary of inputs by name. Or FILE.pt2, written by torch.export.save. Or
the folder of a Hugging Face model with config.json and safetensors; this needs transformers. l0compile runs a Python
file, and reading a .pt2 file can run code that is in it: give only files that you trust."""


def add_command(commands: "Commands", name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """Add a command with its help and the option ``--json``.

    Args:
        commands: Where it is added.
        name: Of the command, and of the module of ``l0compile.cli`` that runs it.
        summary: What it does, in one line without a full stop.
        examples: The end of its help text.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=textwrap.dedent(examples).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on standard output"
    )
    return parser


def add_size(parser: argparse.ArgumentParser, summary: str, metavar: str = "NAME=N") -> None:
    """Add the option ``--size``; ``summary`` says which sizes the command means."""
    parser.add_argument(
        "--size", action="append", default=[], metavar=metavar,
        help=f"{summary}; NAME is a dimension named by --dynamic, an argument of your function, or batch or tokens of "
        "a Hugging Face model",
    )  # fmt: skip


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--engine``."""
    parser.add_argument(
        "--engine", choices=("auto", "tvm", "torch"), default="auto",
        help="what runs the model: compiled code (tvm), PyTorch (torch), or the quicker of the two (auto)",
    )  # fmt: skip


def add_compile_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--target`` and ``--dynamic``."""
    parser.add_argument(
        "--target",
        default="native",
        metavar="TARGET",
        help="name of a target, or a .toml file (default: native)",
    )
    parser.add_argument(
        "--dynamic", action="append", default=[], metavar="INPUT:DIM=NAME",
        help="let a dimension vary; dimensions with the same name vary together",
    )  # fmt: skip


def share(text: str) -> float:
    """Return ``text`` as a number above 0 and up to 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, up to 1, got {text}")
    return number


def count(text: str) -> int:
    """Return ``text`` as a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number
