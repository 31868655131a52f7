"""A tracker of TVM's RPC with one device, both on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from l0compile.errors import DataError
from l0compile.measure.device import Device


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **quiet, start_new_session=True)


@contextmanager
def running_device() -> Iterator[str]:
    """The address of a device ``here``, as ``Workload`` takes it."""
    port, first = free_port(), free_port()
    ports = ["--port", str(port), "--port-end", str(port + 1)]
    tracker = started("tvm.exec.rpc_tracker", "--host", "127.0.0.1", *ports)
    server = started(
        "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(first), "--port-end", str(first + 20),
        "--tracker", f"127.0.0.1:{port}", "--key", "here",
    )  # fmt: skip
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            try:
                Device("127.0.0.1", port, "nowhere").session()
            except DataError as error:
                if "only here" in str(error):
                    break
            time.sleep(0.2)
        else:
            raise TimeoutError("neither tracker nor server came up")
        yield f"rpc://127.0.0.1:{port}/here"
    finally:
        for process in (server, tracker):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that serve for it
            process.wait()
