"""Run a Python module that answers lines of JSON in a process of its own; its parent survives whatever it does."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any


class JsonProcess:
    """A running ``python -m module`` and the lines it writes. Two threads must not use it at once."""

    def __init__(self, module: str | Sequence[str], name: str, threads: int, *, pinned: bool = False) -> None:
        """Start the process.

        Args:
            module: name of the module, or the whole command of another program.
            name: begins every error.
            threads: that the libraries in it use.
            pinned: keep each of TVM's threads on one core.
        """
        self._name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module] if isinstance(module, str) else module,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**environment(threads), "TVM_BIND_THREADS": str(int(pinned))},
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        # A thread, because a read from a pipe has no timeout on every system.
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, message: Any, timeout_s: float) -> dict[str, Any]:
        """Send a message, and return the answer as ``answer`` does."""
        self.send(message)
        return self.answer(timeout_s)

    def send(self, message: Any) -> None:
        """Send a message as one line of JSON."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has died; `answer` says how

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message; ``{"error": ...}`` if the process dies or takes over ``timeout_s`` seconds."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()  # it would not hear the end of input either
            return {"error": f"{self._name}: no answer within {timeout_s:g} s"}
        if not line:
            return {"error": f"{self._name}: {self._last_words()}"}
        message: dict[str, Any] = json.loads(line)
        return message

    @property
    def alive(self) -> bool:
        """Whether the process can still answer."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process: close its input, and kill it if it does not react."""
        try:
            if self._process.stdin:
                self._process.stdin.close()
            self._process.wait(timeout=2)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.wait()
        self._stderr.close()

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


def environment(threads: int) -> Mapping[str, str]:
    """Return the environment of a process whose libraries use ``threads`` threads."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS")
    # The caller's import path, so that a factory it can import can be imported there too.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, **dict.fromkeys(names, count), "PYTHONPATH": path, "TVM_BIND_THREADS": "0"}
