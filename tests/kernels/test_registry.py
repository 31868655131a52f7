"""The contract of every kernel's definition: each test runs over the whole registry."""

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import runtime, tvm, tvm_target
from l0compile.hardware.costs import Machine
from l0compile.hardware.targets import Core, Target, load_target
from l0compile.kernels import KERNELS, TokenTile, emit, kernel_call, kernel_of
from l0compile.kernels.costs import spec_of
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cuda.toolchain import cuda_source
from l0compile.kernels.definition import KernelCall, KernelDef, schedule_data
from tests.kernels.examples import EXAMPLES, Example

NAMES = [kernel.name for kernel in KERNELS]
OF_CPUS = [kernel for kernel in KERNELS if kernel.kind == "llvm"]
SM80 = load_target("cuda-sm80")
SAMPLE = 4  # schedules of each spec that are compiled


@dataclasses.dataclass(frozen=True)
class Launched:
    """An example as a node, as the launch that the kernel makes of it, and the arguments of that."""

    node: fx.Node
    call: KernelCall
    operands: tuple[Any, ...]
    tokens: int | None

    @property
    def expected(self) -> tuple[torch.Tensor, ...]:
        """The results by the operator's PyTorch code."""
        found = self.node.meta["val"]
        return found if isinstance(found, tuple) else (found,)

    def check(self, launch: Callable[..., torch.Tensor], schedule: Any = None) -> None:
        """The code gives what was expected, where that is defined."""
        *first, last = self.expected
        given = [torch.zeros_like(result) for result in first]
        operands = (*self.operands, *given)
        found = launch(self.call.spec, operands, tuple(last.shape), schedule, last.dtype)
        for results in zip((*given, found), self.expected, strict=True):
            if self.tokens is not None:
                results = tuple(torch.ops.l0compile.unpack(r, [self.tokens]) for r in results)
            torch.testing.assert_close(*results, rtol=1e-4, atol=2e-5)


def takes_tokens(operator: str) -> bool:
    """Whether an operator has an argument that tells how many tokens a packed tensor holds."""
    return "tokens" in arguments(operator)


def arguments(operator: str) -> list[str]:
    """The names of an operator's arguments."""
    return [argument.name for argument in getattr(torch.ops.l0compile, operator).default._schema.arguments]


def node_of(example: Example, late: bool) -> tuple[fx.Node, dict[fx.Node, Any]]:
    """(a node that calls the operator, the values of its tensors). late: only the call knows the number of tokens."""
    graph, values, given = fx.Graph(), dict[fx.Node, Any](), []
    target = getattr(torch.ops.l0compile, example.operator).default
    names = arguments(example.operator)
    for number, argument in enumerate(example.arguments):
        number_of_tokens = names[number] == "tokens" and argument is not None
        if isinstance(argument, torch.Tensor) or (late and number_of_tokens):
            place = graph.placeholder(f"x{number}")
            place.meta["val"] = values[place] = argument
            given.append(place)
        else:
            given.append(argument)
    node = graph.call_function(target, tuple(given))
    node.meta["val"] = target(*example.arguments)
    return node, values


def examples(kernel: KernelDef, tile: TokenTile, late: bool = False) -> Iterator[Launched]:
    """The examples of a kernel, in the form that the tests below need; see ``node_of``."""
    torch.manual_seed(0)
    for example in EXAMPLES[kernel.name](tile):
        node, values = node_of(example, late)
        call = kernel_call(node, kernel.kind)
        assert call is not None
        tensors = [values[tensor] for tensor in call.tensors]
        if call.mask is not None:
            place = call.tensors.index(call.mask)
            tensors[place] = tensors[place].reshape(
                [1] * (4 - tensors[place].ndim) + list(tensors[place].shape)
            )
        sizes = [values[size] if isinstance(size, fx.Node) else size for size in call.sizes]
        yield Launched(node, call, (*tensors, *sizes), example.tokens)


def test_names_and_operators_belong_to_one_kernel_each() -> None:
    assert len(set(NAMES)) == len(NAMES) and set(EXAMPLES) == set(NAMES)
    for kind in {kernel.kind for kernel in KERNELS}:
        operators = [name for kernel in KERNELS if kernel.kind == kind for name in kernel.calls]
        assert len(set(operators)) == len(operators)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_every_operator_exists_and_gives_the_spec_of_its_kernel(kernel: KernelDef, tile: TokenTile) -> None:
    called = set()
    for made in examples(kernel, tile):
        called.add(str(made.node.target).split(".")[1])
        spec, tensors = made.call.spec, filter(torch.is_tensor, made.operands)
        assert isinstance(spec, kernel.spec) and kernel_of(spec, kernel.kind) is kernel
        assert dataclasses.is_dataclass(spec) and hash(spec) == hash(dataclasses.replace(spec))
        types = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors}
        # Narrow numbers lie in words of 32 bits.
        words = {"int32"} if {"bfloat16", "int8"} & set(kernel.dtypes) else set()
        assert types <= {*kernel.dtypes, "int32", "bool"} and types & {*kernel.dtypes, *words}
    assert called == set(kernel.calls)


@pytest.mark.parametrize("kernel", OF_CPUS, ids=lambda kernel: kernel.name)
def test_the_code_computes_what_the_operator_does(
    kernel: KernelDef, tile: TokenTile, launch: Callable[..., torch.Tensor]
) -> None:
    for made in examples(kernel, tile):
        made.check(launch)


@pytest.mark.parametrize(
    "kernel", [k for k in OF_CPUS if any(map(takes_tokens, k.calls))], ids=lambda kernel: kernel.name
)
def test_the_code_does_so_where_only_the_call_knows_how_many_tokens_there_are(
    kernel: KernelDef, tile: TokenTile, launch: Callable[..., torch.Tensor]
) -> None:
    given = examples(kernel, tile, late=True)
    late = [made for made in given if any(isinstance(size, fx.Node) for size in made.call.sizes)]
    assert late
    for made in late:
        made.check(launch)


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.kind == "cuda"], ids=lambda kernel: kernel.name)
def test_cuda_code_is_generated(kernel: KernelDef, tile: TokenTile) -> None:
    for made in examples(kernel, tile):
        assert "__global__" in cuda_source(kernel.emit(made.call.spec, SM80), SM80)


@pytest.mark.parametrize(
    "kernel", [k for k in KERNELS if k.costs and k.kind == "cuda"], ids=lambda kernel: kernel.name
)
def test_a_workload_of_a_gpu_has_a_spec_and_operands(kernel: KernelDef, tile: TokenTile) -> None:
    """Those that are rare have no workload, and so no records."""
    assert kernel.costs is not None
    found = [(made, kernel.costs.workload(made.node, made.call)) for made in examples(kernel, tile)]
    assert any(workload is not None for _, workload in found)
    for made, workload in found:
        if workload is None:
            continue
        assert workload.op == kernel.op and workload.dtype in kernel.dtypes
        spec = spec_of(workload, SM80)
        assert kernel.costs.workload(made.node, dataclasses.replace(made.call, spec=spec)) == workload
        values = kernel.costs.operands(spec, workload, SM80, np.random.default_rng(0)).values
        params = emit(spec, SM80).params
        assert len(params) == len(values)
        for param, value in zip(params, values, strict=True):
            assert isinstance(value, torch.Tensor) and len(param.ty.shape) == value.ndim
            assert str(param.ty.dtype).removeprefix("torch.") == str(value.dtype).removeprefix("torch.")


@pytest.mark.parametrize("kernel", [k for k in OF_CPUS if k.costs], ids=lambda kernel: kernel.name)
def test_a_workload_has_counts_a_spec_and_operands(kernel: KernelDef, tile: TokenTile) -> None:
    assert kernel.costs is not None
    target = load_target("native")
    for given in examples(kernel, tile):
        workload = kernel.costs.workload(given.node, given.call)
        assert workload is not None and workload.op == kernel.name and workload.dtype in kernel.dtypes
        for threads in (1, 3):
            counts = kernel.costs.counts(workload, Machine(threads, tile.lanes, tile.vector, target.l2_bytes))
            assert counts and all(math.isfinite(n) and n >= 0 for n in counts.values())
        made = spec_of(workload, tile)
        assert kernel.costs.workload(given.node, dataclasses.replace(given.call, spec=made)) == workload
        values = kernel.costs.operands(made, workload, tile, np.random.default_rng(0)).values
        function = emit(made, tile).with_attr("global_symbol", "main")
        executable = tvm.compile(function, target=tvm_target(target))
        executable["main"](*(v if isinstance(v, int) else runtime.tensor(v) for v in values))


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.schedules], ids=lambda kernel: kernel.name)
def test_schedules_are_values_and_the_default_is_the_first(kernel: KernelDef, tile: TokenTile) -> None:
    assert kernel.schedules is not None
    for made in examples(kernel, tile):
        machine: TokenTile | Target = tile if kernel.kind == "llvm" else SM80
        legal = kernel.schedules.legal(made.call.spec, machine)
        assert legal[0] == kernel.default_schedule(made.call.spec, machine) and len(set(legal)) == len(legal)
        assert all(kernel.schedule_from(schedule_data(schedule)) == schedule for schedule in legal)
        assert all(0 < kernel.schedules.bound(schedule, machine) < math.inf for schedule in legal)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [k for k in OF_CPUS if k.schedules], ids=lambda kernel: kernel.name)
def test_legal_schedules_compile_and_agree(
    kernel: KernelDef, tile: TokenTile, launch: Callable[..., torch.Tensor]
) -> None:
    assert kernel.schedules is not None
    chosen = random.Random(0)
    for made in examples(kernel, tile):
        legal = kernel.schedules.legal(made.call.spec, tile)
        for schedule in chosen.sample(legal, min(SAMPLE, len(legal))):
            made.check(launch, schedule)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_stamps_tell_kernels_and_cores_apart(kernel: KernelDef) -> None:
    stamp = kernel.stamp(Core())
    assert stamp.startswith(f"{kernel.name} ") and stamp == kernel.stamp(Core(waking_ms=7))
    others = {other.stamp(Core()).split()[1] for other in KERNELS if other is not kernel}
    assert stamp.split()[1] not in others


@pytest.mark.parametrize("tail", [-1, 0, 1])
def test_more_tokens_than_a_tile_holds_are_refused(tile: TokenTile, tail: int) -> None:
    """Their kernel would write past the end of its result."""
    spec = LinearSpec(8, 8, 4, 1, True, False, False, "", tail % tile.lanes)
    assert emit(spec, tile) is not None
    for wrong in (tail % tile.lanes + tile.lanes, -1 - tail % tile.lanes):
        with pytest.raises(BuildError, match=f"expected a last tile of 0 to {tile.lanes - 1} tokens"):
            emit(dataclasses.replace(spec, tail=wrong), tile)
