"""Results as JSON lines, with the commit, the machine and the versions of the measurement."""

import importlib.metadata
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l0compile.hardware.targets import load_target, read_host

RESULTS = Path(__file__).parent.parent / "results"
_PACKAGES = ("torch", "apache-tvm", "onnxruntime", "openvino", "transformers")


def append(claim: str, row: dict[str, Any]) -> None:
    """Add ``row`` to ``results/<claim>.jsonl`` and print it."""
    RESULTS.mkdir(exist_ok=True)
    made = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "machine": machine()}
    line = json.dumps({**row, **made})
    with (RESULTS / f"{claim}.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(json.dumps(row), flush=True)


def last(claim: str, first_axis: str) -> list[dict[str, Any]]:
    """Read the rows of the newest run, which begins with the row whose ``axis`` is ``first_axis``."""
    text = (RESULTS / f"{claim}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    begin = max(place for place, row in enumerate(rows) if row["axis"] == first_axis)
    return rows[begin:]


def newest(claim: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Read the newest row of each combination of ``keys``, sorted by them."""
    text = (RESULTS / f"{claim}.jsonl").read_text(encoding="utf-8")
    found = {tuple(row[key] for key in keys): row for row in map(json.loads, text.splitlines())}
    return [found[values] for values in sorted(found)]


def commit() -> str | None:
    """Return the commit that was measured, with a + where the package differs from it; None outside a checkout."""

    def git(*command: str) -> str | None:
        done = subprocess.run(
            ["git", *command], cwd=RESULTS.parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    found = git("rev-parse", "--short", "HEAD")
    return found and found + ("+" if git("status", "--porcelain", "--", "../l0compile", "../targets") else "")


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores in use, load, and versions."""
    target, host = load_target("native"), read_host()
    return {
        **host.fingerprint(),
        "family": host.family,
        "cores": target.cores,
        "vector_bits": target.vector_bits,
        "load_1min": round(os.getloadavg()[0], 2),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
