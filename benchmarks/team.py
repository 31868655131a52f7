"""Training over the processes of one machine: sentences a second of a torchrun's team over those of one process.

    python benchmarks/team.py [--processes 2] [--seconds 40]

MiniLM with half of its 4x1 blocks zero, trained towards the dense one, 32 sentences a process and step; all of them
together have the machine's cores. On one machine a team is no quicker where a process uses its cores well: gradients
have to be exchanged. It is for several machines, or sockets. Appends to ``benchmarks/results/team.jsonl``.
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
    """Each number of processes by itself, then one row."""
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
    """Sentences a second of so many processes."""
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
    """What each process does; the first prints the sentences a second of all."""
    name = "sentence-embedding"
    task = make_task(name, task_options(name, OPTIONS))
    with joined() as team:
        if team is not None and team.rank > 0:
            assist(task, team)
            return
        model = attach(task.dense(), {"bert.encoder.layer.*.dense": Block(4, 1)})
        harden(model, 0.5, values="binary")
        schedule = Schedule(1_000_000, products="bfloat16")
        # Once over all sentences: the dense model is asked about each when it is first used.
        train(task, model, Schedule(OPTIONS["train_sentences"] // schedule.batch), team=team)
        done = train(task, model, schedule, deadline=time.monotonic() + seconds, team=team)
        print(round(done.steps * schedule.batch * (1 if team is None else team.count) / done.seconds, 1))


if __name__ == "__main__":
    main()
