"""Share a training over the processes of one ``torchrun``: each computes a batch, and gradients are averaged.

Rank 0 searches: it owns parameters, optimiser and budget, and only it knows when time is up. The others wait for a
model, get its parameters before each step, and send gradients back over gloo. (DistributedDataParallel needs the
forward pass to go through its wrapper, which a task's loss does not, and all processes to know the number of steps.)
"""

import contextlib
import gc
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from l0compile.errors import BuildError
from l0compile.gates import Block, Feature, Granularity, Head, Layer, Neuron, attach, named_gates
from l0compile.hardware.targets import available_cores
from l0compile.tasks.products import Precision

_GRANULARITIES: dict[str, type[Granularity]] = {
    kind.__name__: kind for kind in (Block, Feature, Head, Layer, Neuron)
}
# The others wait while rank 0 prunes and measures.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Assignment:
    """What a helper has to train: the task's dense model with gates.

    gates: (module, granularity) of each. parameters: names of the trained ones. batch, seed, products: as in
    `Schedule`.
    """

    gates: tuple[tuple[str, Granularity], ...]
    parameters: tuple[str, ...]
    batch: int
    seed: int
    products: Precision

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types."""
        gates = [(name, type(kind).__name__, vars(kind)) for name, kind in self.gates]
        return {**vars(self), "gates": gates}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Assignment":
        """Invert `to_json`."""
        gates = tuple((name, _GRANULARITIES[kind](**fields)) for name, kind, fields in data["gates"])
        return cls(**{**data, "gates": gates, "parameters": tuple(data["parameters"])})


@dataclass(frozen=True)
class Team:
    """The processes of one ``torchrun``. threads: of each process while all of them train."""

    rank: int
    count: int
    threads: int

    @contextlib.contextmanager
    def training(self, model: nn.Module, assignment: Assignment) -> Iterator[None]:
        """Hand out a model (rank 0). In this context, a step is `begin_step`, a backward pass and `end_step`."""
        self._say(assignment.to_json())
        self._send(save({name: tensor.detach().clone() for name, tensor in model.state_dict().items()}))
        with self._threads():
            try:
                yield
            finally:
                dist.broadcast(torch.zeros(1), 0)

    def begin_step(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let the others compute gradients of their own batches (rank 0)."""
        dist.broadcast(torch.ones(1), 0)
        dist.broadcast(_flat([parameter.detach() for parameter in parameters]), 0)

    def end_step(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients over all processes (rank 0)."""
        mean = _flat([_gradient(parameter) for parameter in parameters])
        dist.reduce(mean, 0)
        mean /= self.count
        for parameter, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def help(self, dense: Callable[[], nn.Module], steps: Callable[[nn.Module, Assignment], None]) -> None:
        """Help with every training until rank 0 has none left (other ranks).

        Args:
            dense: makes the dense model.
            steps: runs the steps of one training.
        """
        while (message := self._hear()) is not None:
            assignment = Assignment.from_json(message)
            model = dense()
            for name, granularity in assignment.gates:
                attach(model, {name: granularity})
            model.load_state_dict(load(self._receive()))
            with self._threads():
                steps(model, assignment)

    def is_next(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Say whether a step follows, and set its parameters (other ranks)."""
        more = torch.zeros(1)
        dist.broadcast(more, 0)
        if not more:
            return False
        flat = torch.empty(sum(parameter.numel() for parameter in parameters))
        dist.broadcast(flat, 0)
        with torch.no_grad():
            for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))
        return True

    def give(self, parameters: Sequence[nn.Parameter]) -> None:
        """Send the gradients of this process's batch (other ranks)."""
        dist.reduce(_flat([_gradient(parameter) for parameter in parameters]), 0)

    def dismiss(self) -> None:
        """Let the others go: there is nothing more to train (rank 0)."""
        self._say(None)

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _say(self, message: dict[str, Any] | None) -> None:
        self._send(json.dumps(message).encode())

    def _hear(self) -> Any:
        return json.loads(self._receive())

    def _send(self, data: bytes) -> None:
        dist.broadcast(torch.tensor([len(data)]), 0)
        dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0)

    def _receive(self) -> bytes:
        size = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(size, 0)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return data.numpy().tobytes()


@contextlib.contextmanager
def joined() -> Iterator[Team | None]:
    """Join the team of this process; None if torchrun did not start it, or started it alone.

    Raises:
        BuildError: on rank 0, another process of the team has ended.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    # Other launchers set WORLD_SIZE too, without what a process group needs.
    if count == 1 or not dist.is_torchelastic_launched():
        yield None
        return
    cores = available_cores()
    dist.init_process_group("gloo", timeout=_PATIENCE)
    # torchrun gives each process one thread; rank 0 is alone at work except in training.
    torch.set_num_threads(cores)
    team = Team(rank, count, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        yield team
        if rank == 0:
            team.dismiss()
        # Who leaves while another is still at work, or with a process group that waits for the collector, may abort at
        # the end of the interpreter: "terminate called without an active exception".
        dist.barrier()
    except RuntimeError as error:
        if isinstance(error, dist.DistError | dist.DistBackendError) or "gloo" in str(error):
            raise BuildError(
                f"training: process {rank} of {count} lost the others: {error}; start torchrun again, with --resume"
            ) from error
        raise
    finally:
        dist.destroy_process_group()
        gc.collect()


def gates_of(model: nn.Module) -> tuple[tuple[str, Granularity], ...]:
    """Return (module, granularity) of every gate."""
    return tuple((name.rpartition(".")[0], gate.granularity) for name, gate in named_gates(model).items())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in tensors])


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
