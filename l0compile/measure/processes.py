"""Time engines in processes of their own, so that no thread pool or setting of one touches another."""

import dataclasses
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from l0compile.measure.protocol import Protocol
from l0compile.measure.result import Measurement
from l0compile.measure.workload import Workload
from l0compile.targets import available_cores

TIMEOUT_S = 600.0
# Threads of the engine that just ran may spin this long before they sleep; the next should not pay for it.
_PAUSE_S = 0.1


def measure_engine(
    engine: str,
    workload: Workload,
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Measurement:
    """Latency of ``workload`` on ``engine`` (one of ``ENGINES``) in a fresh process.

    ``threads`` defaults to those of the protocol, else to the cores this process may use. ``timeout_s``
    bounds the start (loading, compiling, warm-up) and each block. A missing package, an engine error, a crash
    or a timeout is returned as ``Measurement.error``; ``ConfigError`` is raised only for a workload that does
    not fit the engine.
    """
    return measure_engines({engine: (engine, workload)}, protocol, threads, timeout_s=timeout_s)[engine]


def measure_engines(
    jobs: Mapping[str, tuple[str, Workload]],
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Measurement]:
    """Latency of several jobs, name -> (engine, workload), one process each, taking turns block by block.

    Block i of every job runs within the same short round, in random order, so ``ratio(a, b, paired=True)`` of
    two results does not depend on what else the machine was doing. Arguments and errors as for
    ``measure_engine``.
    """
    protocol = protocol or Protocol()
    protocol = dataclasses.replace(protocol, threads=threads or protocol.threads or available_cores())
    for engine, workload in jobs.values():
        workload.check(engine)
    blocks: dict[str, list[list[float]]] = {name: [] for name in jobs}
    errors: dict[str, str] = {}
    workers: dict[str, _Worker] = {}
    try:
        for name, (engine, workload) in jobs.items():  # one after the other: starting is work for all cores
            workers[name] = _Worker(engine, workload, protocol)
            _keep_error(errors, name, workers[name].answer(timeout_s))
        order = random.Random(protocol.seed)
        for _ in range(protocol.blocks):
            for name in order.sample([*jobs], len(jobs)):
                if name not in errors:
                    if len(jobs) > 1:
                        time.sleep(_PAUSE_S)
                    answer = workers[name].block(timeout_s)
                    _keep_error(errors, name, answer)
                    blocks[name].append(answer.get("block", []))
    finally:
        for worker in workers.values():
            worker.close()
    return {
        name: Measurement.failed(errors[name], protocol)
        if name in errors
        else Measurement.from_blocks(blocks[name], protocol)
        for name in jobs
    }


def _keep_error(errors: dict[str, str], name: str, answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        errors[name] = str(answer["error"])


class _Worker:
    """A running ``l0compile.measure.worker`` and the lines it writes."""

    def __init__(self, engine: str, workload: Workload, protocol: Protocol) -> None:
        self._engine = engine
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "l0compile.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(protocol.threads or 1),
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        # A thread, because a read from a pipe has no timeout on every system.
        threading.Thread(target=self._read, daemon=True).start()
        request = {"engine": engine, "workload": workload.to_dict(), "protocol": protocol.to_dict()}
        self._send(json.dumps(request))

    def block(self, timeout_s: float) -> dict[str, Any]:
        """Ask for one block of samples."""
        self._send("block")
        return self.answer(timeout_s)

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Next message of the worker; ``{"error": ...}`` when it dies or takes over ``timeout_s`` seconds."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()  # it would not hear the end of input either
            return {"error": f"{self._engine}: no answer within {timeout_s:g} s"}
        if not line:
            return {"error": f"{self._engine}: {self._last_words()}"}
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """End the process: by end of input, and by force if it does not listen."""
        try:
            if self._process.stdin:
                self._process.stdin.close()
            self._process.wait(timeout=2)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has died; `answer` says how

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._process.stdout.close()
        self._lines.put("")

    def _last_words(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"the process ended with code {code}" + (f": {lines[-1][:500]}" if lines else "")


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS")
    # The caller's import path, so that a factory it can import can be imported there too.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, **dict.fromkeys(names, count), "PYTHONPATH": path, "TVM_BIND_THREADS": "0"}
