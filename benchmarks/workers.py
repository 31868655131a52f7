"""Claim: N workers run N times as many trials, and no trial is lost when workers are killed. On a simulated device.

    python benchmarks/workers.py [--trials 128] [--seconds 0.5]     1, 2 and 4 workers against one
    python benchmarks/workers.py --kills 50                        kill -9 of 4 workers, 50 times

The device sleeps for `--seconds` per trial, so workers share nothing but the storage and the choice of trials, and the
figure is the cost of coordination. Workers are processes that run the command ``l0compile worker``; time counts from
the start of the first trial to the completion of the last one wanted. The storage is a PostgreSQL server that the
script starts, or SQLite where PostgreSQL is not installed. With `--kills` it counts completed trials that were lost or
changed, and candidates that were completed twice; there must be none of either. Appends to
``benchmarks/results/workers.jsonl``.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import record

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "studies" / "workers")]

import fleet  # noqa: E402
import postgres  # noqa: E402

COUNTS = (1, 2, 4)
WANTED_SHARE = 0.9


@contextlib.contextmanager
def storage() -> Iterator[tuple[str, str]]:
    """Return the name and the URL of an empty storage."""
    if postgres.missing() is None:
        with postgres.running() as server:
            yield "postgresql", server.url
        return
    print(f"SQLite: {postgres.missing()}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        yield "sqlite", f"sqlite:///{folder}/study.sqlite"


def seconds_taken(workers: int, job: dict[str, Any]) -> tuple[str, float]:
    """Return the seconds that `workers` take from the start of the first trial of `job` to the end of the last."""
    with storage() as (name, url):
        study = fleet.new_study(url, job)
        with fleet.fleet(url, workers) as crew:
            while crew.alive():
                time.sleep(0.2)
            assert crew.codes() == [0] * workers
        done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
        ends = sorted(trial.datetime_complete for trial in done if trial.datetime_complete)
        begin = min(trial.datetime_start for trial in done if trial.datetime_start)
        return name, (ends[job["trials"] - 1] - begin).total_seconds()


def scale(job: dict[str, Any]) -> None:
    """Append one row for each number of workers."""
    alone = 0.0
    for workers in COUNTS:
        name, taken = seconds_taken(workers, job)
        alone = alone or taken
        row = {
            "axis": "workers",
            "workers": workers,
            "storage": name,
            "trials": job["trials"],
            "trial_s": job["seconds"],
            "taken_s": round(taken, 3),
            "overhead_ms_per_trial": round((taken * workers / job["trials"] - job["seconds"]) * 1e3, 1),
            "speedup": round(alone / taken, 3),
            "share_of_linear": round(alone / taken / workers, 3),
        }
        record.append("workers", row | {"wanted": WANTED_SHARE})


def survive(job: dict[str, Any], kills: int) -> None:
    """Append one row about a study whose workers were killed."""
    with storage() as (name, url):
        begin = time.monotonic()
        account = fleet.run_with_kills(url, job, workers=COUNTS[-1], kills=kills, timeout_s=900)
        taken = round(time.monotonic() - begin, 1)
    row = {"axis": "kills", "workers": COUNTS[-1], "storage": name, "wanted": job["trials"], "taken_s": taken}
    record.append("workers", row | account)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trials", type=int, help="completed trials a study wants (default: 128; 500 with --kills)"
    )
    parser.add_argument("--seconds", type=float, help="length of a trial (default: 0.5; 0.4 with --kills)")
    parser.add_argument(
        "--kills", type=int, default=0, help="kill workers so many times, instead of timing them"
    )
    args = parser.parse_args()
    if args.kills:
        job = {"kind": "simulated", "trials": args.trials or 500, "seconds": args.seconds or 0.4}
        survive(job | {"heartbeat_s": 0.15}, args.kills)
        return
    scale({"kind": "simulated", "trials": args.trials or 128, "seconds": args.seconds or 0.5})


if __name__ == "__main__":
    main()
