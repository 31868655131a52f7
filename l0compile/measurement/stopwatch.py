"""Engines in processes that stay alive: starting one takes seconds, a measurement often less.

A search compares many models with one engine: it starts a process for each seat, and keeps it.
"""

import dataclasses
import random
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from l0compile.hardware.targets import available_cores
from l0compile.measurement.json_process import JsonProcess
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.result import FEWEST_BLOCKS, Measurement
from l0compile.measurement.workload import Workload

TIMEOUT_S = 600.0
# Threads of the engine that just ran may spin this long before they sleep; the next should not pay for it.
_PAUSE_S = 0.1

Job = tuple[str, Workload]
Enough = Callable[[Mapping[str, Measurement]], bool]


class Stopwatch:
    """Time jobs, each name in a process of its own that stays until ``close``. Use it in a ``with`` block.

    The process of a name loads another workload if the engine is the same. It reads a model once: a model that
    changes has to change its path.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        told: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> None:
        """Prepare to time jobs; no process starts yet.

        Args:
            threads: default: those of a protocol, else the cores that this process may use.
            timeout_s: limit of loading a workload, and of a block.
            told: called with the name of a process that is ready for the first time, and the seconds it took.
        """
        self._threads, self._timeout_s, self._told = threads, timeout_s, told
        self._seats: dict[str, tuple[str, int, JsonProcess]] = {}
        self.starts: list[float] = []

    def measure(
        self,
        jobs: Mapping[str, Job],
        protocol: Protocol | None = None,
        *,
        enough: Enough | None = None,
        until: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure all jobs side by side, taking turns block by block in random order.

        Block i of every job runs within the same short round, so ``ratio(a, b, paired=True)`` does not depend on what
        else the machine was doing. Jobs on devices run first, one after another, since a device serves one at a time.
        Whatever an engine does wrong is a failed measurement.

        Args:
            jobs: name -> (engine, workload).
            protocol: how to measure; default: ``Protocol()``.
            enough: called with what is known after each round from the fifth on; True ends the measurement early.
            until: moment (``time.monotonic`` seconds) at which the measurement ends early.

        Raises:
            ConfigError: a workload does not fit its engine; nothing has started then.
        """
        protocol = protocol or Protocol()
        threads = self._threads or protocol.threads or available_cores()
        protocol = dataclasses.replace(protocol, threads=threads)
        for engine, workload in jobs.values():
            workload.check(engine)
        away = {name: job for name, job in jobs.items() if job[1].device is not None}
        here = {name: job for name, job in jobs.items() if name not in away}
        found: dict[str, Measurement] = {}
        for name, job in away.items():
            found |= self._in_turns({name: job}, protocol, None, until)
        found |= self._in_turns(here, protocol, enough, until)
        return {name: found[name] for name in jobs}

    def start_seconds(self) -> float:
        """The longest that a process has taken to start so far."""
        return max(self.starts, default=0.0)

    def is_late(self, jobs: int, until: float) -> bool:
        """Whether processes for ``jobs`` jobs would not be ready at ``until`` (``time.monotonic`` seconds)."""
        missing = max(0, jobs - len(self._seats))
        return time.monotonic() + missing * self.start_seconds() > until

    @property
    def running(self) -> int:
        """The number of processes."""
        return len(self._seats)

    def has(self, name: str) -> bool:
        """Whether jobs of this name have a process already."""
        return name in self._seats

    def close(self, name: str | None = None) -> None:
        """End the process of one name, or all of them."""
        for seat in [*self._seats] if name is None else [name]:
            if seat in self._seats:
                self._seats.pop(seat)[2].close()

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_turns(
        self, jobs: Mapping[str, Job], protocol: Protocol, enough: Enough | None, until: float | None
    ) -> dict[str, Measurement]:
        errors: dict[str, str] = {}
        for name, job in jobs.items():  # one after the other: starting is work for all cores
            self._keep_error(errors, name, self._load(name, job, protocol))
        blocks: dict[str, list[list[float]]] = {name: [] for name in jobs if name not in errors}
        order = random.Random(protocol.seed)
        for _ in range(protocol.blocks):
            for name in order.sample([*blocks], len(blocks)):
                if len(blocks) > 1:
                    time.sleep(_PAUSE_S)
                answer = self._seats[name][2].ask("block", self._timeout_s)
                self._keep_error(errors, name, answer)
                blocks[name].append(answer.get("block", []))
            blocks = {name: given for name, given in blocks.items() if name not in errors}
            if not blocks or self._is_over(blocks, protocol, enough, until):
                break
        for name, (_, workload) in jobs.items():
            if workload.device is not None or workload.command is not None:
                self.close(name)  # others wait for the device; a foreign worker knows one workload only
        return {
            name: Measurement.failed(errors[name], protocol)
            if name in errors
            else _measured(blocks[name], protocol)
            for name in jobs
        }

    def _load(self, name: str, job: Job, protocol: Protocol) -> Mapping[str, Any]:
        """Make the process of ``name`` ready for blocks of the job, and return its answer."""
        engine, workload = job
        threads = protocol.threads or 1
        seat, fresh = self._seats.get(name), False
        if seat is None or seat[:2] != (engine, threads) or not seat[2].alive:
            self.close(name)
            process = JsonProcess(workload.command or "l0compile.measurement.worker", engine, threads)
            seat = self._seats[name] = (engine, threads, process)
            fresh = True
        begun = time.monotonic()
        request = {"engine": engine, "workload": workload.to_dict(), "protocol": protocol.to_dict()}
        answer = seat[2].ask(request, self._timeout_s)
        if fresh and "error" not in answer:
            self.starts.append(time.monotonic() - begun)
            self._told(name, self.starts[-1])
        return answer

    def _keep_error(self, errors: dict[str, str], name: str, answer: Mapping[str, Any]) -> None:
        if "error" in answer:
            errors[name] = str(answer["error"])
            self.close(name)

    @staticmethod
    def _is_over(
        blocks: Mapping[str, list[list[float]]],
        protocol: Protocol,
        enough: Enough | None,
        until: float | None,
    ) -> bool:
        if len(next(iter(blocks.values()))) < min(FEWEST_BLOCKS, protocol.blocks):
            return False
        if until is not None and time.monotonic() >= until:
            return True
        return enough is not None and enough(
            {name: _measured(given, protocol) for name, given in blocks.items()}
        )


def _measured(blocks: list[list[float]], protocol: Protocol) -> Measurement:
    return Measurement.from_blocks(blocks, dataclasses.replace(protocol, blocks=len(blocks)))
