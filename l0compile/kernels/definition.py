"""What a kernel is: one value that lowering, pricing, tuning and tests ask about it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from l0compile.errors import ConfigError
from l0compile.hardware.costs import KernelWorkload, Machine, ScheduleData
from l0compile.hardware.targets import Core, Target
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.code_stamp import code_stamp
from l0compile.kernels.token_tile import Tail, TokenTile


@dataclass(frozen=True)
class KernelCall:
    """One launch of a kernel in a graph: tensors, then sizes.

    Attributes:
        spec: what is computed.
        tensors: nodes of the tensor arguments, in the kernel's order.
        sizes: whole numbers after the tensors, or the nodes that compute them.
        mask: the tensor that is an attention mask; the kernel takes it with all four axes.
        residual: the tensor of the result's shape that is added to it; with ``rows_out`` it is in rows as well.
        rows_in: the first tensor is [..., features] in the graph and [tokens, features] in the kernel.
        rows_out: the same for the result.
    """

    spec: Any
    tensors: tuple[fx.Node, ...]
    sizes: tuple[Any, ...] = ()
    mask: fx.Node | None = None
    rows_in: bool = False
    rows_out: bool = False
    residual: fx.Node | None = None


@dataclass(frozen=True)
class Schedules:
    """The ways to compute one spec, which differ in time and not in the result.

    Attributes:
        kind: class of a schedule: a frozen dataclass of numbers, flags and words.
        default: (spec, machine) -> the schedule to take when nothing was measured.
        legal: (spec, machine) -> the default schedule, then all others worth building.
        bound: (schedule, machine) -> least cycles of one multiplication, to leave hopeless schedules out.
        blocks: of a kernel for a GPU: (spec, schedule, workload) -> thread blocks that its first launch has.
    """

    kind: Callable[..., Any]
    default: Callable[[Any, Any], Any]
    legal: Callable[[Any, Any], tuple[Any, ...]]
    bound: Callable[[Any, Any], float]
    blocks: Callable[[Any, Any, KernelWorkload], int] | None = None


@dataclass(frozen=True)
class KernelOperands:
    """The arguments of one call: arrays (tensors for a GPU) and whole numbers, that of the result last.

    Attributes:
        values: the arguments in order.
        weights: places of a layer's weights, the largest first: a model reads other ones at each call.
    """

    values: tuple[NDArray[Any] | torch.Tensor | int, ...]
    weights: range = range(0)


@dataclass(frozen=True)
class KernelCosts:
    """How the time of a kernel is recorded and predicted.

    Attributes:
        workload: (node, call) -> what one launch computes, at the sizes of the example inputs; None where no record
            is kept of such.
        spec: (workload, machine) -> a spec with that workload, None when the kernel has none. What does not change the
            time, such as the value of epsilon, is made up.
        counts: (workload, machine) -> counts of things done, each of which costs some time on a device; those of the
            thread with most to do. Kernels share the name of a count that costs them the same.
        operands: (spec, workload, machine, random generator) -> arguments to time the kernel with.
        words: words of ``KernelWorkload.variant`` whose kernels take similar times, so that a record of one helps to
            predict the other; without any, each variant is predicted from its own records.
    """

    workload: Callable[[fx.Node, KernelCall], KernelWorkload | None]
    spec: Callable[[KernelWorkload, Any], Any]
    counts: Callable[[KernelWorkload, Machine], Mapping[str, float]]
    operands: Callable[[Any, KernelWorkload, Any, np.random.Generator], KernelOperands]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelDef:
    """One kernel. Its oracles are its operators: their PyTorch code computes what the kernel must.

    Attributes:
        name: of the kernel.
        calls: operator of the namespace ``l0compile`` -> how a node of it launches the kernel; None where it can't.
        spec: class of the frozen value that says what one kernel computes.
        emit: (spec, machine[, schedule]) -> the scheduled ``tirx.PrimFunc``. The machine of a kernel for CPUs, here
            and in ``schedules``, is a :class:`TokenTile`, that of one for CUDA a :class:`Target`.
        costs: None: its costs are not recorded.
        schedules: None: there is one way to compute a spec.
        dtypes: types of the numbers that it computes with; narrow ones lie in words of int32.
        kind: "llvm" for CPUs or "cuda", as in ``Target.kind``.
        moves: it changes a layout for others and belongs to no region of the model.
        op: ``KernelWorkload.op`` of its cost records; empty: its name. A GPU's have the names of a CPU's: what is
            computed is the same, and the place of a record tells where.
        light: for each byte that it touches it computes no more than a product of matrices does.
    """

    name: str
    calls: Mapping[str, Callable[[fx.Node], KernelCall | None]]
    spec: type
    emit: Callable[..., Any]
    costs: KernelCosts | None
    schedules: Schedules | None = None
    dtypes: tuple[str, ...] = ("float32",)
    kind: str = "llvm"
    moves: bool = False
    light: bool = False
    op: str = ""

    def stamp(self, core: Core) -> str:
        """What a cost record remembers of the code for ``core``; see ``code_stamp``."""
        return f"{self.name} {code_stamp(self.emit, core)}"

    def default_schedule(self, spec: Any, machine: TokenTile | Target) -> Any:
        """The schedule of ``spec`` when nothing was measured; None for a kernel that has only one."""
        return self.schedules.default(spec, machine) if self.schedules else None

    def schedule_from(self, data: ScheduleData) -> Any:
        """The schedule that ``schedule_data`` gave ``data`` for.

        Raises:
            ConfigError: the fields are not those of this kernel's schedules.
        """
        values: dict[str, Any] = dict(data)
        if not values:
            return None
        if self.schedules is None:
            raise ConfigError(f"costs: {self.name}: expected no schedule, got {values}")
        try:
            return self.schedules.kind(**values)
        except TypeError as error:
            raise ConfigError(f"costs: {values} is no schedule of {self.name}: {error}") from error


def schedule_data(schedule: Any) -> ScheduleData:
    """A schedule as plain data: empty for None."""
    return () if schedule is None else tuple(sorted(asdict(schedule).items()))


def known_tail(x: fx.Node, tokens: Any = None) -> tuple[Tail, tuple[fx.Node, ...]]:
    """What a graph knows of the last tile of a packed tensor ``x``, and the sizes that its kernel needs for the rest.

    Args:
        x: a packed tensor [tiles, features, lanes].
        tokens: how many tokens it holds: a number, a node that computes it, or None when its lanes are all full.
    """
    if isinstance(tokens, fx.Node):
        return None, (tokens,)
    return (0 if tokens is None else tokens % int(x.meta["val"].shape[2])), ()


def example_tokens(node: fx.Node, call: KernelCall) -> int:
    """Tokens of a packed result, in the example inputs, as far as its kernel knows which lanes hold some."""
    if call.sizes:
        return example_number(call.sizes[0])
    tiles, _, lanes = map(example_size, shape(node))
    tail = getattr(call.spec, "tail", 0)
    return int((tiles - 1) * lanes + tail if tail else tiles * lanes)


def example_rows(node: fx.Node) -> int:
    """Rows of a result [..., features] in the example inputs."""
    return math.prod(map(example_size, shape(node)[:-1]))


def example_number(value: Any) -> int:
    """A size of a call in the example inputs."""
    value = value.meta["val"] if isinstance(value, fx.Node) else value
    return example_size(value) if isinstance(value, int | torch.SymInt) else int(value)


def counts_per_feature(workload: KernelWorkload, machine: Machine) -> Mapping[str, float]:
    """Counts of a kernel that goes over the features of every token once; its workload's shape is (features,)."""
    (features,), kind = workload.shape, f"{workload.op} {workload.variant}"
    tokens = machine.share(machine.computed(workload.tokens))
    return {"launch": 1, f"{kind}: token": tokens, f"{kind}: number": tokens * features}


def packed_array(
    features: int, tokens: int, tile: TokenTile, random: np.random.Generator
) -> NDArray[np.float32]:
    """Random numbers as packed tokens [tiles, features, lanes]."""
    return random.standard_normal((-(-tokens // tile.lanes), features, tile.lanes), np.float32)


def given(*tensors: fx.Node | None) -> tuple[fx.Node, ...]:
    """The tensors that a node has, without the optional ones that it lacks."""
    return tuple(tensor for tensor in tensors if tensor is not None)
