"""Claim: any model, exactly, faster where the zeros allow. Every model of tests/zoo checked and timed.

    python benchmarks/zoo.py [bert gpt2 ...] [--check-only] [--blocks 12] [--checks FILE]

Each model is checked in a process of its own, so that a crash becomes a line of the table. Then it is compiled dense
and pruned, each in a process, and timed in turns with PyTorch, block by block. Appends to
``benchmarks/results/zoo.jsonl`` and writes ``docs/zoo.md`` from the latest line of each model.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import record, zoo_table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from l0compile.measurement import Protocol, Workload, measure_engines  # noqa: E402
from tests.zoo import MODELS  # noqa: E402
from tests.zoo.check import SETTINGS  # noqa: E402

TIMED = ("dense", "90% structured", "90% block")
TIMEOUT_S = 900


def main() -> None:
    """Check and time the chosen models, append a line for each, and render the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--check-only", action="store_true", help="no timing")
    parser.add_argument(
        "--checks", type=Path, help="output of `python -m tests.zoo.check`, instead of a new check"
    )
    parser.add_argument("--blocks", type=int, default=12, help="measured blocks an engine (default 12)")
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    for name in options.models or MODELS:
        printed = options.checks.read_text(encoding="utf-8").splitlines() if options.checks else None
        row: dict[str, Any] = {"name": name, "settings": checked(name, printed)}
        if not options.check_only:
            row |= timed(name, options.blocks)
        record.append("zoo", row)
        zoo_table.write(record.RESULTS / "zoo.jsonl", ROOT / "docs" / "zoo.md")


def checked(name: str, printed: list[str] | None) -> dict[str, Any]:
    """Check a model, or read the lines ``printed`` by an earlier check: setting -> result.

    A crash or timeout is an error of the settings that have no result.
    """
    if printed is None:
        lines, ending = run("tests.zoo.check", name)
    else:
        lines, ending = [line for line in map(json.loads, printed) if line["name"] == name], "not checked"
    found = {fact.pop("setting"): fact for fact in lines}
    crash = {"error": {"type": "crash", "message": ending, "where": []}}
    return {str(setting): found.get(str(setting), crash) for setting in SETTINGS}


def timed(name: str, blocks: int) -> dict[str, Any]:
    """Time a model: the engines that ``l0.compile`` chose, and the ratios; a failure is an error in the row."""
    factory = "tests.zoo.timed:make"
    dense = Workload(factory=factory, factory_kwargs={"name": name})
    jobs = {engine: (engine, dense) for engine in ("pytorch", "torch.compile")}
    engines, errors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for setting in TIMED:
            path = str(Path(folder) / setting.replace("% ", "-"))
            lines, ending = run("tests.zoo.timed", name, setting, path)
            if not lines:
                errors[setting] = ending
                continue
            engines[setting] = lines[-1]["engine"]
            inputs = {"name": name, "setting": setting}
            jobs[setting] = ("l0compile", Workload(factory=factory, factory_kwargs=inputs, artifact=path))
        measured = measure_engines(jobs, Protocol(blocks=blocks))
    return {"engines": engines, "compile_errors": errors, "timing": zoo_table.timing(measured)}


def run(module: str, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Run a module of this repository; return the lines of JSON that it prints, and how its process ended."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        return parsed(text), f"no end within {TIMEOUT_S} s"
    return parsed(ran.stdout), f"process ended with {ran.returncode}: {ran.stderr[-500:]}"


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    main()
