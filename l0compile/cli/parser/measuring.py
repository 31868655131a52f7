"""The commands ``bench`` and ``tune``."""

from typing import TYPE_CHECKING

from l0compile.cli.parser.shared import MODEL, add_command, add_compile_options, add_size, count, share

if TYPE_CHECKING:
    from l0compile.cli.parser.shared import Commands

SWEPT = ("batch", "tokens")
"""Sizes that ``bench`` has an option of their own for."""

_BENCH = """
    examples:
      l0compile bench model.py:make               PyTorch, ONNX Runtime, OpenVINO and l0compile, side by side
      l0compile bench model.py:make --engines onnxruntime l0compile
      l0compile bench fast --size batch=1 --size tokens=128
      l0compile bench my_bert/ --batch 1,8,32 --tokens 128,512 --plot bench.png     one table, one picture

    Each engine runs in a process of its own; the processes take turns. Times are medians with 95 % intervals. An
    engine that is not installed is listed with the reason. At several sizes the model is compiled anew for each,
    unless --dynamic names the dimensions that vary."""

_TUNE = """
    examples:
      l0compile tune model.py:make                the kernels of a model, with the zeros that it has now
      l0compile tune model.py:make --blocks 4x1 4x4 --densities 0.5 0.2 0.1      also as pruning might leave it
      l0compile tune 768x768 3072x768 --tokens 64 512 --blocks 4x1               layers of given shapes
      l0compile tune model.py:make --target 'rpc://127.0.0.1:9190/box?target=x86-64-avx2'
                                                  on every free device `box` of a tracker of TVM's RPC
      l0compile tune 3072x768 --tokens 4096 --precision bfloat16 --blocks 64x64 --target cuda-sm90       on a GPU
      l0compile tune --export here.jsonl          everything measured so far, one record a line
      l0compile tune --merge here.jsonl there.jsonl    add what was measured elsewhere; the best time stays

    Compiling and searching use records of this machine and these versions as they are; other records help to
    predict. Ctrl-C loses nothing that is done: the same command goes on. Close other programs first, as they add to
    the times."""


def add_bench(commands: "Commands") -> None:
    """Add the command ``bench``."""
    parser = add_command(commands, "bench", "measure latency, each engine in its own process", _BENCH)
    parser.add_argument("model", metavar="MODEL", help=f"the folder of a saved model, or {MODEL}")
    parser.add_argument(
        "--engines",
        nargs="+",
        metavar="ENGINE",
        help="pytorch, torch.compile, onnxruntime, openvino, openvino-bf16, l0compile",
    )
    add_size(
        parser, "size to measure at, or several as NAME=N,N: every combination is measured", "NAME=N[,N...]"
    )
    for name in SWEPT:
        parser.add_argument(f"--{name}", metavar="N[,N...]", help=f"the same as --size {name}=N")
    parser.add_argument("--plot", metavar="FILE", help="draw what was measured as a .png, .svg or .pdf")
    parser.add_argument(
        "--threads", type=count, metavar="N", help="threads of every engine (default: all cores)"
    )
    parser.add_argument(
        "--percentile", type=float, default=50.0, metavar="P",
        help="percentile of calls to report; 95 shows stragglers (default: 50)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="take half a second an engine: enough to compare, not to publish"
    )
    add_compile_options(parser)
    parser.set_defaults(engine="auto")


def add_tune(commands: "Commands") -> None:
    """Add the command ``tune``."""
    parser = add_command(
        commands, "tune", "find the quickest code for each layer on this machine, and remember it", _TUNE
    )
    parser.add_argument(
        "what", nargs="*", metavar="MODEL|SHAPE", help=f"OUTxIN features of a linear layer, or {MODEL}"
    )
    parser.add_argument(
        "--tokens", nargs="+", type=count, metavar="N", help="numbers of tokens for shapes (default: 128)"
    )
    parser.add_argument(
        "--blocks",
        nargs="+",
        default=[],
        metavar="RxC",
        help="also tune for weights of such blocks (default: none)",
    )
    parser.add_argument(
        "--densities", nargs="+", type=share, metavar="D",
        help="densities of the weights of --blocks (default: 0.5 0.2 0.1 0.05)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", nargs="+", default=[], choices=("bfloat16", "float16", "int8"), metavar="P",
        help="also tune the linear layers in these: bfloat16, int8, on a GPU float16 (default: as the model has them)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="time only the default code of each kernel")
    parser.add_argument(
        "--db", metavar="FILE", help="database (default: L0COMPILE_COSTS, or one in the user's cache folder)"
    )
    parser.add_argument("--merge", nargs="+", default=[], metavar="FILE", help="add exported records")
    parser.add_argument("--export", metavar="FILE", help="write all records, one JSON object a line")
    add_size(parser, "size of a model's example inputs")
    add_compile_options(parser)
