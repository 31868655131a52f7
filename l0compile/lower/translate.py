"""Program -> relax.IRModule with one function ``main(inputs..., parameters...)``.

Packed operators become calls of our kernels; all other operators become tensor expressions, node by node. Shapes always
come from the metadata of the graph, because TVM's inference loses some symbolic sizes, and the build then fails.
"""

import functools
import operator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import relax, tirx
from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.kernels import TokenTile, emit, kernel_call, kind_of
from l0compile.kernels.definition import KernelCall
from l0compile.lower.aten.conversions import convert_aten
from l0compile.lower.aten.lowering import Lowering, dtype_name
from l0compile.lower.launch_records import parameter_names
from l0compile.lower.machine_functions import functions_of_the_machine
from l0compile.lower.tvm.symbols import Symbols
from l0compile.lower.workloads import schedule_for


@dataclass(frozen=True)
class Translation:
    """A translated program.

    Attributes:
        module: A relax.IRModule, whose function takes the inputs, then the constants (``parameter_names``).
        functions: Node -> name of the function that launches its kernel, in the order of running.
    """

    module: Any
    functions: dict[str, str]


def translate(program: Program, machine: TokenTile | Target, costs: Costs | None = None) -> Translation:
    """Translate ``program`` to a relax.IRModule.

    Args:
        program: A program in the layouts of the kernels.
        machine: Lanes, rows and threads of a CPU's kernels, or the target that is a GPU.
        costs: Measured costs of kernels, which pick their schedules.

    Raises:
        BuildError: Some operators have no lowering; ``nodes`` lists all of them.
    """
    translator = _Translator(program, machine, costs)
    with nullcontext() if isinstance(machine, TokenTile) else functions_of_the_machine():
        return translator.run()


@dataclass
class _Translator:
    program: Program
    machine: TokenTile | Target
    costs: Costs | None
    symbols: Symbols = field(default_factory=Symbols)
    kernels: dict[tuple[Any, Any], Any] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = relax.BlockBuilder()
        self.values: dict[fx.Node, Any] = {}
        self.lowering = Lowering(self.builder, self.values, self.symbols)

    def run(self) -> Translation:
        inputs: list[Any] = []
        parameters: dict[str, Any] = dict.fromkeys(parameter_names(self.program))
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = relax.Var(node.name, self._type(node))
                inputs.append(self.values[node])
            elif node.op == "get_attr":
                name = str(node.target)
                if parameters[name] is None:
                    parameters[name] = relax.Var(f"p{[*parameters].index(name)}", self._type(node))
                self.values[node] = parameters[name]
        with self.builder.function("main", [*inputs, *parameters.values()], attrs={"num_input": len(inputs)}):
            with self.builder.dataflow():
                for node in self.program.graph.nodes:
                    if node.op == "call_function":
                        self.values[node] = self._convert(node)
                flat: Any = self.program.output.args[0]
                results = [self.values[node] for node in flat if isinstance(node, fx.Node)]
                result = self.builder.emit_output(relax.Tuple(results))
            self.builder.emit_func_output(result)
        if self.refused:
            raise BuildError("; ".join(self.refused.values()), self.refused)
        return Translation(self.builder.get(), self.functions)

    def _type(self, node: fx.Node) -> Any:
        return self._tensor_type(node.meta["val"])

    def _tensor_type(self, value: torch.Tensor) -> Any:
        return relax.TensorType(self.symbols.shape(value.shape), dtype_name(value.dtype))

    def _convert(self, node: fx.Node) -> Any:
        value = node.meta["val"]
        # Only a rounding reads a float that is computed from sizes; an operator on tensors refuses it.
        if isinstance(value, (int, float, bool, torch.SymFloat)):
            return value
        if isinstance(value, torch.SymInt):
            return self.symbols.dimension(value)
        call = kernel_call(node, kind_of(self.machine))
        if call is not None:
            return self._launch(node, call)
        return self._ordinary(node)

    def _ordinary(self, node: fx.Node) -> Any:
        try:
            result = convert_aten(node, self.lowering)
            return self._with_shape(result, node) if isinstance(node.meta["val"], torch.Tensor) else result
        except BuildError as error:
            return self._refuse(node, str(error))
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:  # TVM raises any of these
            lines = str(error).strip().splitlines() or [""]
            reason = f"lowering {node.target} failed: {type(error).__name__}: {lines[-1]}"
            return self._refuse(
                node,
                f"{_where(node)}: {reason}; replace the operator in the model, or compile the part without it",
            )

    def _refuse(self, node: fx.Node, reason: str) -> Any:
        """Note a node that has no conversion and treat it as an input, so that one pass finds all such nodes."""
        self.refused[str(node.meta.get("origin", node.name))] = reason
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            return relax.Var(node.name, self._type(node))
        if isinstance(value, tuple | list):
            return tuple(relax.Var(f"{node.name}_{i}", self._tensor_type(v)) for i, v in enumerate(value))
        return value

    def _with_shape(self, result: Any, node: fx.Node) -> Any:
        """Cast to the shape in the graph's metadata where TVM infers a weaker one or another form of it."""
        expected = self._type(node)
        inferred = result.ty if isinstance(result, relax.Expr) else None
        if inferred is not None and str(inferred) == str(expected):
            return result
        return self.builder.match_cast(self.builder.normalize(result), expected)

    def _launch(self, node: fx.Node, call: KernelCall) -> Any:
        key = call.spec, schedule_for(node, call, self.machine, self.costs)
        if key not in self.kernels:
            function = emit(call.spec, self.machine, key[1])
            name = f"{function.attrs['global_symbol']}_{len(self.kernels)}"
            self.kernels[key] = self.builder.add_func(function, name)
        self.functions[node.name] = str(self.kernels[key].name_hint)
        operands = [self._operand(tensor, call) for tensor in call.tensors]
        sizes = [self._scalar(self._size(size)) for size in call.sizes]
        arguments = relax.Tuple([*operands, *sizes])
        value = node.meta["val"]
        if isinstance(value, tuple):
            types = [self._tensor_type(each) for each in value]
            made = self.builder.emit(relax.call_tir(self.kernels[key], arguments, types))
            return tuple(self.builder.emit(relax.TupleGetItem(made, place)) for place in range(len(types)))
        shape = self.symbols.shape(value.shape)
        out = relax.TensorType(_flat(shape) if call.rows_out else shape, dtype_name(value.dtype))
        result = self.builder.emit(relax.call_tir(self.kernels[key], arguments, out))
        return self._view(result, shape) if call.rows_out and len(shape) != 2 else result

    def _operand(self, tensor: fx.Node, call: KernelCall) -> Any:
        value, fake = self.values[tensor], tensor.meta["val"]
        shape = self.symbols.shape(fake.shape)
        in_rows = (call.rows_in and tensor is call.tensors[0]) or (call.rows_out and tensor is call.residual)
        if in_rows and len(shape) != 2:
            return self._view(value, _flat(shape))
        if tensor is call.mask and len(shape) < 4:
            return self._view(value, [1] * (4 - len(shape)) + shape)
        return value

    def _view(self, value: Any, shape: list[Any]) -> Any:
        return self.builder.emit(relax.op.reshape(value, shape))

    def _scalar(self, size: Any) -> Any:
        """A size as an argument; one that takes arithmetic is computed once for all kernels."""
        if isinstance(size, tirx.IntImm | tirx.Var):
            return relax.prim_value(size)
        key = str(size)
        if key not in self.scalars:
            self.scalars[key] = self.builder.emit(relax.prim_value(size))
        return self.scalars[key]

    def _size(self, size: Any) -> Any:
        value = self.values[size] if isinstance(size, fx.Node) else size
        return tirx.const(value, "int64") if isinstance(value, int) else value


def _flat(shape: list[Any]) -> list[Any]:
    """[..., F] -> [tokens, F]."""
    return [functools.reduce(operator.mul, shape[:-1]), shape[-1]]


def _where(node: fx.Node) -> str:
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    return f"{node.name} ({'; '.join(lines[-2:])})" if lines else node.name
