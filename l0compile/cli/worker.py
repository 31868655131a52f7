"""``l0compile worker``: run trials of a study beside other workers, or serve its storage."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l0compile.cli.output import print_json, print_lines
from l0compile.errors import ConfigError
from l0compile.studies.fit.search_job import objective_of, read_job
from l0compile.studies.workers.jobs import heartbeat_of, join_study, wanted_of
from l0compile.studies.workers.proxy import LOOPBACK, serve_storage
from l0compile.studies.workers.storage import hidden, open_storage
from l0compile.studies.workers.worker import work

if TYPE_CHECKING:
    import optuna


def run(args: argparse.Namespace) -> int:
    """Run trials until the study has all it wants, or serve its storage until interrupted."""
    if (args.storage is None) == (args.serve is None):
        raise ConfigError("worker: expected either --storage URL to run trials for, or --serve URL to serve")
    with _terminated_like_interrupted():
        return _serve(args) if args.serve else _work(args)


def _work(args: argparse.Namespace) -> int:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = join_study(open_storage(args.storage, create=False), args.study)
    job = read_job(study)
    wanted = wanted_of(job)
    objective = objective_of(job, Path(args.out))
    done = work(study, objective, wanted, on_trial=_tell, heartbeat_s=heartbeat_of(job))
    facts = {"storage": hidden(args.storage), "study": args.study, "completed": done, "wanted": wanted}
    if args.json:
        print_json(facts)
    else:
        print_lines(f"completed {done} of the {wanted} trials of study {args.study!r}")
    return 0


def _tell(trial: "optuna.trial.FrozenTrial") -> None:
    what = trial.user_attrs.get("error") if trial.value is None else f"{trial.value:.4f}"
    print(f"  trial {trial.number}: {what}", file=sys.stderr)


def _serve(args: argparse.Namespace) -> int:
    if args.host not in LOOPBACK:
        print(
            f"l0compile: warning: everyone who reaches {args.host}:{args.port} can read and write all studies: "
            "Optuna's gRPC asks for no password and encrypts nothing. Use it only in a network that you trust, or "
            "stay on 127.0.0.1 behind an SSH tunnel",
            file=sys.stderr,
        )
    print(f"serving {hidden(args.serve)} at grpc://{args.host}:{args.port}; Ctrl-C ends it", file=sys.stderr)
    serve_storage(args.serve, host=args.host, port=args.port)
    return 0


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Treat SIGTERM, which a batch system sends to end a job, as Ctrl-C: the running trial is given back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
