"""The command line: every command, its options, and help that teaches by example. Imports nothing heavy."""

import argparse
import textwrap

import l0compile
from l0compile.cli.kinds import is_shape

SWEPT = ("batch", "tokens")

_MODEL = """MODULE:FUNCTION, or FILE.py:FUNCTION; the function returns (model, args) or (model, args, kwargs): a trained
nn.Module, a tuple of example inputs, and a dictionary of inputs by name. FILE.pt2, of torch.export.save. Or a folder of
a Hugging Face model: config.json and safetensors; needs transformers. A Python file is your own code and is run; a .pt2
file can hold code that reading it runs: give only files of your own."""

_EXAMPLES = {
    "": """
        examples:
          l0compile search minilm --out out           find which zeros to have, under a latency budget
          l0compile compile model.py:make --out fast  compile a model you trained; zeros in it become speed
          l0compile explain fast                      what became of each layer, and why
          l0compile bench fast --size tokens=128      measure it

        exit codes: 0 done, 1 an error (told on standard error), 2 wrong usage, 3 a search whose model is below its
        floor of quality, 130 interrupted""",
    "search": """
        examples:
          l0compile search minilm                     the shipped space for all-MiniLM-L6-v2
          l0compile search my_space.toml --text docs  your space, your text (a folder of .txt, .jsonl, .jsonl.gz)
          l0compile search minilm --quick             two short trials: does everything work here?
          l0compile search minilm --resume            go on after Ctrl-C; trials, finalists and training are kept
          l0compile search minilm --storage postgresql+psycopg://me@db/studies
                                                      trials by every `l0compile worker` that joins, too
          torchrun --nproc-per-node 4 -m l0compile search minilm     four processes train the chosen model

        What it leaves in --out: model/ (the chosen model, for l0compile.load), study.sqlite (all trials),
        report.html, pareto.png, regions.png. Progress goes to standard error. Exit code 3: no model kept the floor of
        quality that the space sets.""",
    "compile": """
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

        The result is compared with the model on its example inputs before it is saved.""",
    "explain": """
        examples:
          l0compile explain fast                      a model saved by `l0compile compile` or CompiledModel.save
          l0compile explain model.py:make             compiles it first, saves nothing
          l0compile explain model.py:make --measure-dense   and measures what each layer took before
          l0compile explain fast --html fast.html     as a page
          l0compile explain model.py:make --gates     before training: what to gate, and what it would buy
          l0compile explain fast --size tokens=128    at other sizes than those it was compiled with
          l0compile explain fast --json | jq '.regions[] | select(.format == "dense") | .reason'""",
    "bench": """
        examples:
          l0compile bench model.py:make               PyTorch, ONNX Runtime, OpenVINO and l0compile, side by side
          l0compile bench model.py:make --engines onnxruntime l0compile
          l0compile bench fast --size batch=1 --size tokens=128
          l0compile bench my_bert/ --batch 1,8,32 --tokens 128,512 --plot bench.png     one table, one picture

        Each engine runs in a process of its own, block by block in turns. Times are medians with 95 % intervals.
        An engine that is not installed is listed with the reason. At several sizes, models are compiled anew for each,
        unless --dynamic names the dimensions that vary.""",
    "tune": """
        examples:
          l0compile tune model.py:make                the kernels of a model, as its zeros are now
          l0compile tune model.py:make --blocks 4x1 4x4 --densities 0.5 0.2 0.1      and as pruning might leave them
          l0compile tune 768x768 3072x768 --tokens 64 512 --blocks 4x1               layers of given shapes
          l0compile tune model.py:make --target 'rpc://127.0.0.1:9190/box?target=x86-64-avx2'
                                                      on every free device `box` of a tracker of TVM's RPC
          l0compile tune --export here.jsonl          everything measured so far, one record a line
          l0compile tune --merge here.jsonl there.jsonl    take over what was measured elsewhere; the best time stays

        Compiling and searching use what is found, on this machine and with the same versions; other records predict.
        Ctrl-C loses nothing that is done: the same command goes on. Close other programs first: they add to times.""",
    "targets": """
        examples:
          l0compile targets                           names
          l0compile targets show native               what was detected here
          l0compile targets show my_board.toml        check a file of your own""",
    "worker": """
        examples:
          l0compile worker --storage postgresql+psycopg://me@db/studies   on each host; as many as there are devices
          l0compile worker --storage sqlite:///out/study.sqlite           more processes on one machine
          l0compile worker --serve sqlite:///out/study.sqlite             a proxy, for hosts without a database
          l0compile worker --storage grpc://127.0.0.1:13000               through it, from afar by ssh -L

        Start the search that makes the study first. Workers may come and go at any time: a trial whose worker died is
        tried again by another one, Ctrl-C gives the running trial back, and completed trials are kept. A password does
        not belong on a command line: PostgreSQL reads PGPASSWORD and ~/.pgpass.""",
    "report": """
        examples:
          l0compile report out                        draw report.html and the pictures again from out/result.json
          l0compile report desktop phone              each, with the block shapes that both took side by side""",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser; ``args.command`` names the module of ``l0compile.cli`` that runs it."""
    parser = argparse.ArgumentParser(
        prog="l0compile",
        description="Make a trained PyTorch model as much faster as the zeros in it allow, with the same answers.",
        epilog=_examples(""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"l0compile {l0compile.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (_search, _compile, _explain, _bench, _tune, _targets, _worker, _report):
        add(commands)
    return parser


def _search(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands, "search", "search gate budgets and block shapes against latency measured here"
    )
    parser.add_argument(
        "space", metavar="SPACE", help="a .toml file, or the name of a shipped space (minilm)"
    )
    parser.add_argument("--out", default="out", metavar="DIR", help="output folder (default: out)")
    parser.add_argument(
        "--text", metavar="PATH", help="text to train and evaluate on, in place of the space's own"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two trials of a few steps: checks the set-up, not the idea"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the study in --out, or in --storage"
    )
    parser.add_argument(
        "--target",
        default="native",
        metavar="NAME",
        help="compile for it; has to run here. rpc://HOST:PORT/KEY?target=NAME: timed on a device behind TVM's tracker",
    )
    parser.add_argument(
        "--storage", metavar="URL", help="keep the study there, for `l0compile worker` to join"
    )
    parser.add_argument("--study", default="l0compile", metavar="NAME", help="its name in --storage")


def _compile(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "compile", "compile a model and save it")
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to save to; an older model there is replaced"
    )
    _size(parser, "sizes of the example inputs")
    _engine(parser)
    _compile_options(parser)


def _explain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "explain", "say what became of each region of a model, and why")
    parser.add_argument("model", metavar="MODEL", help=f"a saved model's folder, or {_MODEL}")
    parser.add_argument(
        "--gates",
        action="store_true",
        help="before training: what could be gated, and what it would buy here",
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page that needs nothing beside it")
    parser.add_argument("--no-measure", action="store_true", help="only what is on record: nothing is run")
    parser.add_argument(
        "--measure-dense",
        action="store_true",
        help="compile the model once more with its zeros ignored, and measure what each region took before",
    )
    _size(parser, "sizes to measure at (default: the example's)")
    _engine(parser)
    _compile_options(parser)


def _bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "bench", "measure latency, each engine in its own process")
    parser.add_argument("model", metavar="MODEL", help=f"a saved model's folder, or {_MODEL}")
    parser.add_argument(
        "--engines",
        nargs="+",
        metavar="ENGINE",
        help="pytorch, torch.compile, onnxruntime, openvino, l0compile",
    )
    _size(parser, "sizes to measure at, several as NAME=N,N: every combination is measured", "NAME=N[,N...]")
    for name in SWEPT:
        parser.add_argument(f"--{name}", metavar="N[,N...]", help=f"the same as --size {name}=N")
    parser.add_argument("--plot", metavar="FILE", help="draw what was measured as a .png, .svg or .pdf")
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="threads of every engine (default: all cores)"
    )
    parser.add_argument(
        "--percentile",
        type=float,
        default=50.0,
        metavar="P",
        help="of calls; 95 tells of stragglers (default: 50)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="half a second an engine: enough to compare, not to publish"
    )
    _compile_options(parser)
    parser.set_defaults(engine="auto")


def _tune(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands, "tune", "find the quickest code for each layer on this machine, and remember it"
    )
    parser.add_argument(
        "what", nargs="*", metavar="MODEL|SHAPE", help=f"OUTxIN features of a linear layer, or {_MODEL}"
    )
    parser.add_argument("--tokens", nargs="+", type=_count, metavar="N", help="for shapes (default: 128)")
    parser.add_argument(
        "--blocks",
        nargs="+",
        default=[],
        metavar="RxC",
        help="also with weights of such blocks (default: none)",
    )
    parser.add_argument(
        "--densities", nargs="+", type=_share, metavar="D", help="of these blocks (default: 0.5 0.2 0.1 0.05)"
    )
    parser.add_argument("--quick", action="store_true", help="time the default code of each kernel only")
    parser.add_argument(
        "--db", metavar="FILE", help="database (default: L0COMPILE_COSTS, or one in the user's cache folder)"
    )
    parser.add_argument("--merge", nargs="+", default=[], metavar="FILE", help="take over exported records")
    parser.add_argument("--export", metavar="FILE", help="write all records, one JSON object a line")
    _size(parser, "sizes of a model's example inputs")
    _compile_options(parser)


def _targets(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "targets", "list the machines that models can be compiled for, or show one")
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list", help="default: list")
    parser.add_argument(
        "name", nargs="?", default="native", metavar="TARGET", help="name or .toml file (default: native)"
    )


def _worker(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "worker", "run trials of a search beside other workers, on any machine")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="where the study is: sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or grpc://HOST:PORT",
    )
    parser.add_argument("--study", default="l0compile", metavar="NAME", help="its name (default: l0compile)")
    parser.add_argument(
        "--out", default="out", metavar="DIR", help="folder for what trials leave (default: out)"
    )
    parser.add_argument(
        "--serve",
        metavar="URL",
        help="instead of working: a gRPC proxy for this storage, without any password",
    )
    parser.add_argument(
        "--port", type=_count, default=13000, metavar="N", help="of the proxy (default: 13000)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="address that the proxy listens on (default: 127.0.0.1, this machine only)",
    )


def _report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "report", "draw a search's report again")
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="DIR",
        help="output folder of `l0compile search`; of several, block shapes are compared",
    )


def _size(parser: argparse.ArgumentParser, summary: str, metavar: str = "NAME=N") -> None:
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar=metavar,
        help=f"{summary}: of a dimension named by --dynamic, of an argument of your function, or batch and tokens of a "
        "Hugging Face model",
    )


def named_models(args: argparse.Namespace) -> list[str]:
    """What the command line says about models, to be looked at before anything is loaded."""
    if args.command in ("compile", "explain", "bench"):
        return [args.model]
    return [text for text in args.what if not is_shape(text)] if args.command == "tune" else []


def _engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("auto", "tvm", "torch"),
        default="auto",
        help="what runs the model: compiled, PyTorch, or (auto) the quicker of the two",
    )


def _compile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", default="native", metavar="TARGET", help="name or .toml file (default: native)"
    )
    parser.add_argument(
        "--dynamic",
        action="append",
        default=[],
        metavar="INPUT:DIM=NAME",
        help="let a dimension vary; equal names vary together",
    )


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_examples(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output, and nothing else there"
    )
    return parser


def _examples(name: str) -> str:
    return textwrap.dedent(_EXAMPLES[name]).strip()


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, up to 1, got {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number
