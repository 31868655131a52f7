"""Kernels built as shared libraries, by several processes at once; one that fails to build is noted and kept out."""

import hashlib
import json
import queue
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.costs.text import work_fields
from l0compile.hardware.targets import Target, available_cores
from l0compile.ir.codec import encode
from l0compile.kernels import TokenTile, kind_of
from l0compile.kernels.costs import costed_kernel, spec_of, versions
from l0compile.kernels.definition import schedule_data
from l0compile.measurement.json_process import JsonProcess
from l0compile.measurement.tune.job import TuningJob
from l0compile.measurement.tune.space import promise

# Registers stored to the stack (of a GPU: bytes) that are no fault: those that a called function keeps for its caller.
_SPILLS_ALLOWED = {"llvm": 8, "cuda": 0}
# Two for each of the four parts of a multiprocessor: one waits while the other multiplies.
_BUSY_WARPS = 8
_START_S = 120.0

Variant = tuple[KernelWorkload, Any]
"""A workload, and a schedule of its kernel."""


def worker(
    target: Target, threads: int, *, pinned: bool = False, device: str | None = None
) -> tuple[JsonProcess, Mapping[str, Any]]:
    """Start a process that builds and times kernels.

    Args:
        target: what it builds for.
        threads: that it runs kernels on.
        pinned: each thread stays on a core of its own.
        device: ``rpc://`` address of the device to time on; None: here.

    Returns:
        The process and its first answer.
    """
    process = JsonProcess("l0compile.measurement.tune.worker", "tune", threads, pinned=pinned)
    return process, process.ask({"target": encode(target), "device": device}, _START_S)


def default_of(work: KernelWorkload, machine: TokenTile | Target) -> Any:
    """The schedule that a workload gets when nothing is known; None for a kernel that has only one."""
    return costed_kernel(work.op, kind_of(machine)).default_schedule(spec_of(work, machine), machine)


class Libraries:
    """The libraries in one folder. Workloads that differ only in density or in tokens share one.

    Args:
        folder: where the libraries lie, or will.
        target: what they are built for.
        machine: what its kernels are emitted for.
        limit_s: seconds that one build may take.
    """

    def __init__(self, folder: Path, target: Target, machine: TokenTile | Target, limit_s: float) -> None:
        self._folder, self._target, self._machine, self._limit_s = folder, target, machine, limit_s
        self._idle: list[JsonProcess] = []

    def close(self) -> None:
        """End the processes."""
        for process in self._idle:
            process.close()
        self._idle = []

    def path(self, variant: Variant) -> Path:
        """Where the library of a workload and schedule is, or would be."""
        work, schedule = variant
        stamp = versions(costed_kernel(work.op, self._target.kind), self._target.core)
        what = repr((self._target, self._machine, spec_of(work, self._machine), schedule, stamp))
        return self._folder / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.so"

    def failure(self, variant: Variant) -> str | None:
        """Why there is no library to time; None where there is one.

        What is compiled when nothing is known is timed however it came out.
        """
        answer = self._verdict(variant)
        if "error" in answer:
            return str(answer["error"])
        spilled, allowed = int(answer["spills"]), _SPILLS_ALLOWED[self._target.kind]
        too_many = spilled > allowed and variant[1] != default_of(variant[0], self._machine)
        what = "registers" if self._target.kind == "llvm" else "bytes of registers"
        return f"stores {spilled} {what} to the stack" if too_many else None

    def worth_timing(self, job: TuningJob, most: int) -> TuningJob:
        """The job with no more than ``most`` of its schedules: of what was built for a GPU those that promise most.

        A schedule for a GPU is compiled in seconds and timed in a second, and hundreds fit. What the compiler tells of
        each stands for what was not timed: numbers that a warp reads for each product, times what is missing of the
        warps that keep a multiprocessor busy, and of the thread blocks that keep all of them busy. The first schedule
        is always among them, and so is what failed.
        """
        default, *others = job.schedules
        variants = {schedule: (job.key.work, schedule) for schedule in others}
        works = [s for s, v in variants.items() if self.failure(v) is None and "warps" in self._verdict(v)]
        if self._target.kind != "cuda" or len(works) < most:
            return job
        best = sorted(works, key=lambda schedule: self._promise(variants[schedule]))[: most - 1]
        return replace(job, schedules=(default, *(s for s in others if s in best or s not in works)))

    def _promise(self, variant: Variant) -> tuple[float, int]:
        """Orders schedules for a GPU, best first."""
        facts, machine = self._verdict(variant), self._machine
        assert isinstance(machine, Target)
        missing = max(1.0, _BUSY_WARPS / max(1, int(facts["warps"])))
        at_once = machine.cores * max(1, int(facts["blocks"]))
        return missing * promise(*variant, machine, at_once), int(facts["registers"])

    def _verdict(self, variant: Variant) -> dict[str, Any]:
        """What building a schedule said."""
        file = self.path(variant).with_suffix(".json")
        found: dict[str, Any] = (
            json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"error": "not built"}
        )
        return found

    def build(self, variants: list[Variant]) -> None:
        """Build those that are not there, as many at a time as there are cores."""
        wanted = {self.path(v): v for v in variants if not self.path(v).with_suffix(".json").exists()}
        todo: queue.SimpleQueue[Variant] = queue.SimpleQueue()
        for variant in wanted.values():
            todo.put(variant)
        threads = [
            threading.Thread(target=self._build_some, args=(todo,), daemon=True)
            for _ in range(min(available_cores(), len(wanted)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _build_some(self, todo: "queue.SimpleQueue[Variant]") -> None:
        process = self._idle.pop() if self._idle else worker(self._target, 1)[0]
        while not todo.empty():
            try:
                variant = todo.get_nowait()
            except queue.Empty:
                break
            if not process.alive:
                process.close()
                process = worker(self._target, 1)[0]
            self._build(process, variant)
        self._idle.append(process)

    def _build(self, process: JsonProcess, variant: Variant) -> None:
        path = self.path(variant)
        request: Mapping[str, Any] = {
            "do": "build",
            "work": work_fields(variant[0]),
            "schedule": dict(schedule_data(variant[1])),
            "library": str(path),
        }
        answer = process.ask(request, self._limit_s)
        path.with_suffix(".json").write_text(json.dumps(answer), encoding="utf-8")
