"""The commands ``compile``, ``explain`` and ``targets``."""

from typing import TYPE_CHECKING

from l0compile.cli.parser.shared import MODEL, add_command, add_compile_options, add_engine, add_size

if TYPE_CHECKING:
    from l0compile.cli.parser.shared import Commands

_COMPILE = """
    examples:
      l0compile compile model.py:make --out fast
      l0compile compile my_package.models:encoder --out fast --dynamic ids:0=batch --dynamic ids:1=tokens
      l0compile compile model.py:make --out fast --target x86-64-avx2     for another machine
      l0compile compile exported.pt2 --out fast
      l0compile compile my_bert/ --out fast --size tokens=256             a folder of save_pretrained

    where model.py holds, for example:
      def make():
          model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
          model.load_state_dict(load_file("weights.safetensors"))
          return model, (torch.randn(1, 64),)                  # or: model, (), {"input": torch.randn(1, 64)}

    Before it saves the result, the command compares it with the model on its example inputs."""

_EXPLAIN = """
    examples:
      l0compile explain fast                      a model saved by `l0compile compile` or CompiledModel.save
      l0compile explain model.py:make             compiles the model first, saves nothing
      l0compile explain model.py:make --measure-dense   also measures what each layer took before
      l0compile explain fast --html fast.html     as a page
      l0compile explain model.py:make --gates     before training: what to gate, and what it would buy
      l0compile explain fast --size tokens=128    at other sizes than the model was compiled with
      l0compile explain fast --json | jq '.regions[] | select(.format == "dense") | .reason'"""

_TARGETS = """
    examples:
      l0compile targets                           names
      l0compile targets show native               what was detected here
      l0compile targets cuda-sm90                 what is assumed of a card
      l0compile targets show my_board.toml        check a file of your own"""


def add_compile(commands: "Commands") -> None:
    """Add the command ``compile``."""
    parser = add_command(commands, "compile", "compile a model and save it", _COMPILE)
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to save to; it replaces an older model there"
    )
    add_size(parser, "size of the example inputs")
    add_engine(parser)
    add_compile_options(parser)


def add_explain(commands: "Commands") -> None:
    """Add the command ``explain``."""
    parser = add_command(commands, "explain", "say what became of each region of a model, and why", _EXPLAIN)
    parser.add_argument("model", metavar="MODEL", help=f"the folder of a saved model, or {MODEL}")
    parser.add_argument(
        "--gates",
        action="store_true",
        help="before training: say what could be gated, and what it would buy here",
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page, as one file that needs no other")
    parser.add_argument(
        "--no-measure", action="store_true", help="tell only what is on record, and run nothing"
    )
    parser.add_argument(
        "--measure-dense", action="store_true",
        help="also compile the model with its zeros ignored, and measure what each region took before",
    )  # fmt: skip
    add_size(parser, "size to measure at (default: that of the example inputs)")
    add_engine(parser)
    add_compile_options(parser)


def add_targets(commands: "Commands") -> None:
    """Add the command ``targets``."""
    parser = add_command(
        commands, "targets", "list the machines that models can be compiled for, or show one", _TARGETS
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        metavar="list|show",
        help="what to do (default: list); before a TARGET, show may be left out",
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="TARGET",
        help="name of a target, or a .toml file (default: native)",
    )
