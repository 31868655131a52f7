"""ExportedProgram -> Program: parameters become constants, and checks that tracing inserts are dropped."""

from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from l0compile.errors import CaptureError
from l0compile.frontend.dense_tensors import refuse_unusual
from l0compile.frontend.flex.writer import GraphWriter
from l0compile.frontend.guards import size_conditions, size_expression
from l0compile.frontend.operators import is_check
from l0compile.frontend.sizes import symbol_ranges
from l0compile.frontend.subgraphs import NodeCopier, is_graph
from l0compile.ir.editor import remove_dead_nodes
from l0compile.ir.program import Program
from l0compile.ir.shapes import infer_shapes, take_as_inferred
from l0compile.ir.state import read_state
from l0compile.ir.structure import PLAIN, Fixed, SizeOf, with_values
from l0compile.ir.tensors import resolved

_MUTATIONS = {
    OutputKind.BUFFER_MUTATION: ("buffer", "return the new value instead"),
    OutputKind.PARAMETER_MUTATION: ("parameter", "register it as a buffer"),
    OutputKind.USER_INPUT_MUTATION: (
        "input",
        "return the new value instead, or make the tensor a buffer of the model, which then is its state",
    ),
}


def from_exported_program(exported: ExportedProgram, allow_state: bool = False) -> Program:
    """Convert an exported program; its placeholders become the user inputs, followed by the buffers that it changes.

    Args:
        exported: The exported program.
        allow_state: Make buffers that it changes state of the program, instead of refusing it.

    Returns:
        The program.

    Raises:
        CaptureError: The model changes an input, changes a buffer without ``allow_state``, draws random numbers, or
            holds an unknown operator that takes graphs.
    """
    changed = _changed_buffers(exported, allow_state)
    graph = fx.Graph()
    constants: dict[str, torch.Tensor] = {}
    mapped: dict[fx.Node, Any] = {}
    refined = False
    copier = NodeCopier(exported.graph_module, GraphWriter(graph, constants))
    inputs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
    # Inputs come first: readers of the graph expect them at the top, without a get_attr among them.
    ordered = sorted(exported.graph.nodes, key=lambda node: _rank(node, inputs, changed))
    for node in ordered:
        if node.op == "placeholder" and isinstance(inputs[node.name].arg, ConstantArgument):
            mapped[node] = inputs[node.name].arg.value
        elif node.op == "placeholder" and _rank(node, inputs, changed) == _CONSTANT:
            mapped[node] = _constant(node, inputs[node.name], exported, graph, constants)
        elif node.op == "output":
            results = [mapped.get(result, result) for result in _user_outputs(node, exported)]
            tensors = [result for result in results if _is_tensor(result)]
            tensors += [mapped.get(value, value) for value in _new_values(node, exported, changed)]
            graph.output(tuple(tensors)).meta.update(node.meta)
        elif not is_check(node) and not is_graph(node, exported.graph_module):
            mapped[node] = copier.copy(graph, node, mapped)
            if node.op == "placeholder":
                mapped[node].meta["val"] = _with_known_sizes(node.meta["val"])
                refined |= mapped[node].meta["val"] is not node.meta["val"]
    program = Program(
        graph=graph,
        constants=constants,
        in_spec=with_values(exported.call_spec.in_spec, _fixed_inputs(exported)),
        out_spec=exported.call_spec.out_spec,
        state=tuple(read_state(name, exported) for name in changed),
    )
    program = replace(program, symbols=symbol_ranges(program, exported.range_constraints))
    program = replace(program.with_graph(graph, constants), conditions=size_conditions(program))
    fixed = {
        position: _fixed(result, program) for position, result in enumerate(results) if not _is_tensor(result)
    }
    program = replace(program, out_spec=with_values(program.out_spec, fixed))
    remove_dead_nodes(graph)  # sizes that nothing but the result used
    if not refined:
        take_as_inferred(program)  # nothing has changed since the export computed them
    infer_shapes(program)
    return program


def _with_known_sizes(value: Any) -> Any:
    """Put numbers for the sizes of an input that could have varied and turned out to be fixed (``Dim.AUTO``)."""
    if not isinstance(value, FakeTensor) or all(isinstance(size, int) for size in value.shape):
        return value
    environment = value.fake_mode.shape_env
    assert environment is not None

    def known(size: int | torch.SymInt) -> int | torch.SymInt:
        found = environment.replace(size.node.expr) if isinstance(size, torch.SymInt) else size
        return int(found) if getattr(found, "is_Integer", False) else size

    shape, strides = [known(size) for size in value.shape], [known(stride) for stride in value.stride()]
    if not any(isinstance(size, int) for size in shape):
        return value
    with value.fake_mode, environment.suppress_guards():
        return torch.empty_strided(shape, strides, dtype=value.dtype, device=value.device)


_INPUT, _STATE, _CONSTANT, _REST = range(4)


def _rank(node: fx.Node, inputs: dict[str, Any], changed: list[str]) -> int:
    if node.op != "placeholder":
        return _REST
    spec = inputs[node.name]
    if spec.kind is InputKind.USER_INPUT:
        return _INPUT
    return _STATE if spec.target in changed else _CONSTANT


def _constant(
    node: fx.Node, spec: Any, exported: ExportedProgram, graph: fx.Graph, constants: dict[str, Any]
) -> fx.Node:
    if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
        raise CaptureError(
            f"capture: input {node.name}: expected a parameter, buffer or tensor, got {spec.kind.name}"
        )
    store = exported.state_dict if spec.target in exported.state_dict else exported.constants
    tensor = store[spec.target].detach()
    plain = resolved(tensor)
    refuse_unusual(spec.target, plain)
    if plain.is_complex():
        # Constants are real, because not every file of weights can hold complex numbers.
        plain = torch.view_as_real(plain)
    # Tied parameters are several inputs with one storage. They become one constant, so that sharing stays visible.
    key = next((name for name, other in constants.items() if _same_storage(plain, other)), spec.target)
    constants[key] = plain
    created = graph.create_node("get_attr", key, name=node.name)
    if plain.dtype == node.meta["val"].dtype:
        created.meta.update(node.meta)
        return created
    whole = graph.call_function(torch.ops.aten.view_as_complex.default, (created,))
    whole.meta.update(node.meta)
    return whole


def _same_storage(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.data_ptr() != right.data_ptr() or not left.numel() or left.dtype != right.dtype:
        return False
    return left.shape == right.shape and left.stride() == right.stride()


def _fixed_inputs(exported: ExportedProgram) -> dict[int, Fixed | SizeOf]:
    """Return the user inputs that are not tensors, by position; the trace holds them as constants."""
    user = [spec.arg for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    return {n: Fixed(arg.value) for n, arg in enumerate(user) if isinstance(arg, ConstantArgument)}


def _is_tensor(result: Any) -> bool:
    return isinstance(result, fx.Node) and isinstance(result.meta.get("val"), torch.Tensor)


def _fixed(result: Any, program: Program) -> Fixed | SizeOf:
    """Return what the structure of the results holds for a result that is not a tensor."""
    value = result.meta["val"] if isinstance(result, fx.Node) else result
    if isinstance(value, torch.SymInt):
        return SizeOf(size_expression(value.node.expr, program))
    if isinstance(value, PLAIN):
        return Fixed(value)
    raise CaptureError(
        f"capture: result {result}: expected tensors, numbers, sizes, strings or None, got {type(value).__name__} that "
        "is computed from values; return a tensor in its place"
    )


def _user_outputs(node: fx.Node, exported: ExportedProgram) -> list[Any]:
    kinds = [spec.kind for spec in exported.graph_signature.output_specs]
    results: Any = node.args[0]
    return [arg for arg, kind in zip(results, kinds, strict=True) if kind is OutputKind.USER_OUTPUT]


def _new_values(node: fx.Node, exported: ExportedProgram, changed: list[str]) -> list[Any]:
    """List the values that the buffers ``changed`` have after the call."""
    results: Any = node.args[0]
    found = {
        spec.target: arg for arg, spec in zip(results, exported.graph_signature.output_specs, strict=True)
    }
    return [found[name] for name in changed]


def _changed_buffers(exported: ExportedProgram, allowed: bool) -> list[str]:
    """List the names of buffers that the model changes, in the order of its inputs; refuse all other side effects."""
    found = {}
    for spec in exported.graph_signature.output_specs:
        if spec.kind in _MUTATIONS:
            found[spec.target] = spec.kind
    for name, kind in found.items():
        if kind is OutputKind.BUFFER_MUTATION and allowed:
            continue
        what, cure = _MUTATIONS[kind]
        raise CaptureError(
            f"capture: {name}: expected a forward() without side effects, got one that changes this {what}. What to "
            f"do: {cure}"
        )
    return [spec.target for spec in exported.graph_signature.input_specs if spec.target in found]
