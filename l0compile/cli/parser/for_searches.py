"""The commands ``search``, ``worker`` and ``report``."""

from typing import TYPE_CHECKING

from l0compile.cli.parser.shared import add_command, count

if TYPE_CHECKING:
    from l0compile.cli.parser.shared import Commands

_SEARCH = """
    examples:
      l0compile search minilm                     the shipped space for all-MiniLM-L6-v2
      l0compile search my_space.toml --text docs  your space, your text (a folder of .txt, .jsonl, .jsonl.gz)
      l0compile search minilm --quick             two short trials: does everything work here?
      l0compile search minilm --resume            go on after Ctrl-C; trials, finalists and training are kept
      l0compile search minilm --storage postgresql+psycopg://me@db/studies
                                                  share the trials with every `l0compile worker` that joins
      torchrun --nproc-per-node 4 -m l0compile search minilm     four processes train the chosen model

    The search leaves in --out: model/ (the chosen model, for l0compile.load), study.sqlite (all trials), report.html,
    pareto.png and regions.png. Progress goes to standard error. Exit code 3 means that no model reached the quality
    target that the space sets."""

_WORKER = """
    examples:
      l0compile worker --storage postgresql+psycopg://me@db/studies   on each host, one for each device
      l0compile worker --storage sqlite:///out/study.sqlite           more processes on one machine
      l0compile worker --serve sqlite:///out/study.sqlite             a proxy, for hosts without a database
      l0compile worker --storage grpc://127.0.0.1:13000               through the proxy, from afar by ssh -L

    Start the search first: it makes the study. Workers may come and go at any time. If a worker dies, another one
    tries its trial again; Ctrl-C gives the running trial back; completed trials are kept. Don't put a password on a
    command line: PostgreSQL reads PGPASSWORD and ~/.pgpass."""

_REPORT = """
    examples:
      l0compile report out                        draw report.html and the pictures again from out/result.json
      l0compile report desktop phone              draw each, with the block shapes of both side by side"""

_PAPER = """
    examples:
      l0compile paper --quick                     everything once, far too short: does it work here?
      l0compile paper --task adult                one series: dense, 6 active fractions, 5 seeds
      l0compile paper --task adult cora --seeds 3 --fractions 0.5 0.25

    It trains, compiles, calibrates and times every model, and leaves paper.html, plots, paper.json and the models'
    logits in --out. Started again, it goes on where it was interrupted. The data sets are looked for in the folder that
    L0COMPILE_DATA names; a series without its data is left out, and the page says so."""


def add_search(commands: "Commands") -> None:
    """Add the command ``search``."""
    parser = add_command(
        commands, "search", "search gate budgets and block shapes against latency measured here", _SEARCH
    )
    parser.add_argument(
        "space", metavar="SPACE", help="a .toml file, or the name of a shipped space (minilm)"
    )
    parser.add_argument("--out", default="out", metavar="DIR", help="output folder (default: out)")
    parser.add_argument(
        "--text", metavar="PATH", help="text for training and evaluation, in place of the space's own"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run two trials of a few steps: this checks the set-up, not the idea",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the study in --out, or in --storage"
    )
    parser.add_argument(
        "--target", default="native", metavar="NAME",
        help="target to compile for; it has to run here. With rpc://HOST:PORT/KEY?target=NAME models are timed on a "
        "device behind a tracker of TVM's RPC",
    )  # fmt: skip
    parser.add_argument(
        "--storage", metavar="URL", help="where to keep the study, so that `l0compile worker` can join"
    )
    parser.add_argument(
        "--study",
        default="l0compile",
        metavar="NAME",
        help="name of the study in --storage (default: l0compile)",
    )


def add_worker(commands: "Commands") -> None:
    """Add the command ``worker``."""
    parser = add_command(
        commands, "worker", "run trials of a search beside other workers, on any machine", _WORKER
    )
    parser.add_argument(
        "--storage", metavar="URL",
        help="where the study is: sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or grpc://HOST:PORT",
    )  # fmt: skip
    parser.add_argument(
        "--study", default="l0compile", metavar="NAME", help="name of the study (default: l0compile)"
    )
    parser.add_argument(
        "--out", default="out", metavar="DIR", help="folder for what trials leave (default: out)"
    )
    parser.add_argument(
        "--serve",
        metavar="URL",
        help="run no trials, but a gRPC proxy for this storage; it asks for no password",
    )
    parser.add_argument(
        "--port", type=count, default=13000, metavar="N", help="port of the proxy (default: 13000)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST",
        help="address that the proxy listens on (default: 127.0.0.1, which only this machine reaches)",
    )  # fmt: skip


def add_report(commands: "Commands") -> None:
    """Add the command ``report``."""
    parser = add_command(commands, "report", "draw the report of a search again", _REPORT)
    parser.add_argument(
        "folders", nargs="+", metavar="DIR",
        help="output folder of `l0compile search`; of several folders the block shapes are compared",
    )  # fmt: skip


def add_paper(commands: "Commands") -> None:
    """Add the command ``paper``."""
    parser = add_command(
        commands,
        "paper",
        "sweep active fractions over tasks and seeds: quality, calibration and time",
        _PAPER,
    )
    parser.add_argument("--task", nargs="+", default=[], metavar="NAME", help="series to run (default: all)")
    parser.add_argument("--out", default="paper", metavar="DIR", help="output folder (default: paper)")
    parser.add_argument("--seeds", type=count, metavar="N", help="how many seeds (default: 5)")
    parser.add_argument(
        "--fractions", nargs="+", type=float, default=[], metavar="F", help="active fractions, each in (0, 1]"
    )
    parser.add_argument("--processes", type=count, metavar="N", help="how many models train side by side")
    parser.add_argument("--quick", action="store_true", help="few, short trainings: this checks the set-up")
