"""Training with several processes on one machine: sentences per second of a torchrun team over those of one process.

    python benchmarks/team.py [--processes 2] [--seconds 40]

MiniLM with half of its 4x1 blocks zero is trained towards the dense one, with 32 sentences per process and step; the
processes share the machine's cores. On one machine a team is not faster if one process uses all cores well, because
gradients have to be exchanged. It is meant for several machines, or sockets. Appends to
``benchmarks/results/team.jsonl``.
"""

import argparse
import json
import subprocess
import sys
import time

from harness import record

from l0compile.gates import Block, attach, harden
from l0compile.tasks import Schedule, assist, joined, make_task, task_options, train

OPTIONS = {"train_sentences": 1024}


def main() -> None:
    """Measure each number of processes, then append one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        member(options.seconds)
        return
    one, team = (launch(count, options.seconds) for count in (1, options.processes))
    row = {"processes": options.processes, "one": one, "team": team, "ratio": round(team / one, 3)}
    record.append("team", row)


def launch(processes: int, seconds: float) -> float:
    """Measure the sentences per second of some number of processes."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    ended = subprocess.run(
        [*command, __file__, "--member", "--seconds", str(seconds)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(json.loads(ended.stdout.splitlines()[-1]))


def member(seconds: float) -> None:
    """Train in one process of a team; the first process prints the sentences per second of all."""
    name = "sentence-embedding"
    task = make_task(name, task_options(name, OPTIONS))
    with joined() as team:
        if team is not None and team.rank > 0:
            assist(task, team)
            return
        model = attach(task.dense(), {"bert.encoder.layer.*.dense": Block(4, 1)})
        harden(model, 0.5, values="binary")
        schedule = Schedule(1_000_000, products="bfloat16")
        # One pass over all sentences first: the dense model answers each when it is first used.
        train(task, model, Schedule(OPTIONS["train_sentences"] // schedule.batch), team=team)
        done = train(task, model, schedule, deadline=time.monotonic() + seconds, team=team)
        print(round(done.steps * schedule.batch * (1 if team is None else team.count) / done.seconds, 1))


if __name__ == "__main__":
    main()
