"""A tracker of TVM's RPC with one device, both on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from l0compile.errors import DeviceError
from l0compile.measurement.device import Device


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **quiet, start_new_session=True)


@contextmanager
def running_devices(count: int) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of so many devices ``here``, as ``Workload`` takes it, and the servers that are the devices."""
    port = free_port()
    ports = ["--port", str(port), "--port-end", str(port + 1)]
    tracker = started("tvm.exec.rpc_tracker", "--host", "127.0.0.1", *ports)
    servers = []
    for _ in range(count):
        first = free_port()
        servers.append(started(
            "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(first), "--port-end", str(first + 20),
            "--tracker", f"127.0.0.1:{port}", "--key", "here",
        ))  # fmt: skip
    device = Device("127.0.0.1", port, "here")
    end = time.monotonic() + 60
    try:
        while _free(device) < count:
            if time.monotonic() > end:
                raise TimeoutError("neither tracker nor servers came up")
            time.sleep(0.2)
        yield f"rpc://127.0.0.1:{port}/here", servers
    finally:
        for process in (*servers, tracker):
            kill(process)


@contextmanager
def running_device() -> Iterator[str]:
    """The address of one device."""
    with running_devices(1) as (url, _):
        yield url


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a server at once, with the processes that serve for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free(device: Device) -> int:
    try:
        return device.free()
    except DeviceError:
        return 0
