"""Send a saved model to another machine, through a tracker of TVM's RPC, and time it there by its own clock.

TVM's RPC neither authenticates nor encrypts: whoever reaches a server runs code on it.
"""

import dataclasses
import importlib
import socket
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from l0compile.errors import ConfigError, DeviceError
from l0compile.hardware.targets import Target, load_target
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.workload import Workload, call_factory, load_inputs
from l0compile.runtime.artifact import Bundle, read_bundle, read_manifest, target_of

SCHEME = "rpc://"
# Seconds after which a server takes the device back from a client that has died.
_SESSION_S = 600
_CONNECT_S = 5.0
_PREFIX = "l0compile"


@dataclass(frozen=True)
class Device:
    """The devices that servers have registered as ``key`` with the tracker at ``host``:``port``."""

    host: str
    port: int
    key: str

    @classmethod
    def parse(cls, url: str) -> "Device":
        """Parse ``rpc://HOST:PORT/KEY``.

        Raises:
            ConfigError: the address is malformed.
        """
        host, colon, rest = url.removeprefix(SCHEME).partition(":")
        port, slash, key = rest.partition("/")
        if not (url.startswith(SCHEME) and host and colon and port.isdecimal() and slash and key):
            raise ConfigError(
                f"device: expected rpc://HOST:PORT/KEY, the tracker's address and what devices call themselves, "
                f"got {url!r}"
            )
        return cls(host, int(port), key)

    def session(self) -> Any:
        """Reserve a device for this process until it ends; wait while all of them are in use.

        Raises:
            DeviceError: the tracker does not answer, or has no device of this key.
        """
        tracker, _ = self._ask()
        return tracker.request(self.key, session_timeout=_SESSION_S)

    def free(self) -> int:
        """Return how many devices of this key nobody uses.

        Raises:
            DeviceError: as ``session``.
        """
        return int(self._ask()[1]["free"])

    def _ask(self) -> tuple[Any, dict[str, Any]]:
        """Return the tracker, and its summary of the devices of this key."""
        importlib.import_module("l0compile.hardware._tvm")
        try:
            # TVM tries for a minute before it says that nobody is there.
            socket.create_connection((self.host, self.port), _CONNECT_S).close()
            tracker = importlib.import_module("tvm.rpc").connect_tracker(self.host, self.port)
            said = tracker.summary()
        except (OSError, RuntimeError) as error:
            raise DeviceError(
                f"device: no tracker answers at {self.host}:{self.port} ({error}); start one: "
                "python -m tvm.exec.rpc_tracker --host 127.0.0.1"
            ) from error
        # Of servers that are connected now: the queues also hold what has gone.
        known = {server["key"].partition(":")[2] for server in said["server_info"]}
        if self.key not in known:
            raise DeviceError(
                f"device: the tracker at {self.host}:{self.port} has no device {self.key!r}, only "
                f"{', '.join(sorted(known)) or 'none'}; start one: python -m tvm.exec.rpc_server --tracker "
                f"{self.host}:{self.port} --key {self.key}"
            )
        return tracker, said["queue_info"].get(self.key, {"free": 0})


def device_and_target(text: str) -> tuple[str | None, Target]:
    """Split ``rpc://HOST:PORT/KEY?target=NAME`` into the device's address and its target.

    Returns:
        The address and the target; None and the target for any other text, which names a target.

    Raises:
        ConfigError: the address is malformed.
        TargetError: there is no such target.
    """
    if not text.startswith(SCHEME):
        return None, load_target(text)
    url, _, name = text.partition("?target=")
    return url, dataclasses.replace(load_target(name or "native"), device=Device.parse(url).key)


def check_remote(target: Target) -> None:
    """Check that whole models for ``target`` can be timed through TVM's RPC.

    Raises:
        DeviceError: they are for a GPU, whose models need PyTorch beside them.
    """
    if target.kind == "cuda":
        raise DeviceError(
            f"device: models for target {target.name} need PyTorch for their memory, which a server of TVM's RPC does "
            "not have; run the same command on the machine with the GPU, or leave the address out to have times "
            "predicted (single kernels are timed there: l0compile tune)"
        )


class RemoteModel:
    """A saved model on a device, with its inputs."""

    def __init__(self, workload: Workload) -> None:
        """Send code, weights and inputs to the device.

        Raises:
            DeviceError: the device does not answer, or the model is not one compiled stage, or for a GPU.
            ArtifactError: the saved model is damaged, or of another version.
        """
        tvm = importlib.import_module("l0compile.hardware._tvm")
        check_remote(target_of(read_manifest(str(workload.artifact)), str(workload.artifact)))
        bundle = read_bundle(str(workload.artifact))
        parameters = _parameters(bundle)
        session = Device.parse(str(workload.device)).session()
        self._device = session.cpu(0)
        library = bundle.libraries[0]
        session.upload(str(library))
        self._machine = tvm.relax.VirtualMachine(session.load_module(Path(library).name), [self._device])

        def sent(tensor: Any) -> Any:
            return tvm.runtime.tensor(tensor.contiguous().numpy(), self._device)

        # A tuple of tensors cannot be passed: the weights are named there one by one, and made a tuple there.
        name_tensor = session.get_function("vm.builtin.tensor_cache.update")
        for number, name in enumerate(parameters):
            name_tensor(f"{_PREFIX}_{number}", sent(bundle.constants[name]), True)
        weights = session.get_function("vm.builtin.param_array_from_cache")(_PREFIX, len(parameters))
        self._arguments = [*(sent(tensor) for tensor in _inputs(workload, bundle)), weights]
        self._ms = self._times(1)[0]

    def block(self, protocol: Protocol) -> list[float]:
        """Run one block on the device, and return the milliseconds of each call."""
        return self._times(max(protocol.min_calls, ceil(1e3 * protocol.block_s / max(self._ms, 1e-3))))

    def _times(self, calls: int) -> list[float]:
        timer = self._machine.time_evaluator("main", self._device, number=1, repeat=calls)
        return [1e3 * seconds for seconds in timer(*self._arguments).results]


def _parameters(bundle: Bundle) -> list[str]:
    stages = bundle.manifest["stages"]
    if bundle.manifest["state"]:
        raise DeviceError(
            "device: expected a model whose calls follow from their inputs alone, got one with state"
        )
    if len(stages) != 1 or stages[0]["engine"] != "tvm":
        raise DeviceError(
            "device: expected a model that is compiled as a whole, got one with parts in PyTorch, which a device "
            "behind TVM's RPC does not have; see explain()"
        )
    return list(stages[0]["parameters"])


def _inputs(workload: Workload, bundle: Bundle) -> list[Any]:
    """Return the tensors that the stage reads, in its order."""
    names = [item["name"] for item in bundle.manifest["inputs"]]
    given = load_inputs(workload)
    if given is None:
        _, args, kwargs = call_factory(workload)
        given = {**dict(zip((name for name in names if name not in kwargs), args, strict=True)), **kwargs}
    return [given[name] for name in bundle.manifest["stages"][0]["inputs"]]
