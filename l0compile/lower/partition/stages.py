"""Splitting a program into stages, each of which one engine runs: TVM, or PyTorch where TVM cannot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.errors import BuildError
from l0compile.ir.operator_facts import operators
from l0compile.ir.program import Program
from l0compile.ir.records import Engine, Operator, StageRecord

aten = torch.ops.aten

# These are equally fast in both engines, so they go with their neighbours.
_CHEAP = {
    *(op for kind in ("reshape", "permute", "part", "repeat") for op in operators(moves=kind)),
    aten.clone.default, aten._to_copy.default, aten.relu.default, aten.neg.default, aten.add.Tensor, aten.sub.Tensor,
    aten.mul.Tensor, aten.div.Tensor, aten.tanh.default, aten.sigmoid.default, aten.cat.default,
    aten.logical_not.default, aten.bitwise_not.default, aten.where.self, aten.zeros_like.default,
    aten.ones_like.default,
}  # fmt: skip
# A TVM stage without one of these operators is not worth the two switches between engines.
_HEAVY = (
    "linear", "conv", "attention", "mm", "bmm", "matmul", "addmm", "einsum", "lstm", "gru", "rnn", "layer_norm",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A part of a program as a program of its own.

    Attributes:
        engine: The engine that runs it.
        program: The part.
        inputs: Names of the nodes of the whole program that are the placeholders of ``program``, in order.
        outputs: Names of the nodes of the whole program that are the results of ``program``, in order.
        record: What the stage holds, for the account of the compiled model.
    """

    engine: Engine
    program: Program
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    record: StageRecord


def split(program: Program, refused: Mapping[str, str]) -> tuple[Stage, ...]:
    """Split ``program`` into as few stages as possible; independent nodes may change their order.

    Cheap nodes (views, elementwise) go with their neighbours. Sizes do not pass between stages: each stage reads them
    from tensors.

    Args:
        program: The program.
        refused: Name of each node that TVM cannot take -> the reason. All other nodes may run in TVM.

    Returns:
        The stages, in the order of running.

    Raises:
        BuildError: A result of the model is a constant, and there is more than one stage.
    """
    if not refused:
        return (single_stage(program, "tvm", ""),)
    graph = _Dependencies(program)
    torch_only = {graph.unit(node) for node in program.graph.nodes if node.name in refused}
    runs = _fewest(graph, torch_only)
    lone = {node for engine, run in runs if engine == "tvm" and not any(map(_heavy, run)) for node in run}
    if lone:
        runs = _fewest(graph, torch_only | lone)
    if any(isinstance(result, fx.Node) and result.op == "get_attr" for result in program.output.args[0]):
        raise BuildError("a result of the model is a constant, and no single stage computes all results")
    members = [{m for unit in run for m in graph.units[unit]} for _, run in runs]
    engines = [engine for engine, _ in runs]
    needs = [_needs(program, graph, own, engine) for own, engine in zip(members, engines, strict=True)]
    wanted = {node for node in program.output.args[0] if isinstance(node, fx.Node)}.union(*needs)
    return tuple(
        _part(program, engine, own, need, wanted, refused)
        for engine, own, need in zip(engines, members, needs, strict=True)
    )


def single_stage(program: Program, engine: Engine, reason: str) -> Stage:
    """Make one stage of the whole program; ``reason`` says why this engine runs it."""
    inputs = tuple(node.name for node in program.placeholders)
    results: Any = program.output.args[0]
    outputs = tuple(f"output_{i}" for i, result in enumerate(results) if isinstance(result, fx.Node))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    return Stage(engine, program, inputs, outputs, _record(engine, calls, {}, reason))


def stage_per_node(program: Program) -> Iterator[Stage]:
    """Make a TVM stage of each node of a program, and only one for nodes that do the same on the same shapes."""
    graph, seen = _Dependencies(program), set[tuple[str, ...]]()
    for unit, members in graph.units.items():
        inputs = [str(node.meta.get("val")) for node in unit.all_input_nodes]
        key = (
            str(unit.target),
            str([a for a in unit.args if not isinstance(a, fx.Node)]),
            str(unit.kwargs),
            *inputs,
        )
        if key not in seen:
            seen.add(key)
            own = set(members)
            tensors = {node for node in own if isinstance(node.meta.get("val"), torch.Tensor)}
            yield _part(program, "tvm", own, _needs(program, graph, own, "tvm"), tensors, {})


class _Dependencies:
    """The units that go into stages, and the units that each one reads.

    A unit is a node with its results: an item of a tuple belongs to the node that makes the tuple. Sizes and other
    numbers are not units, because each stage computes them from tensors.

    Attributes:
        units: Node -> itself and the items of its result.
        before: Node of a unit -> the nodes of the units that it reads.
    """

    def __init__(self, program: Program) -> None:
        self.units: dict[fx.Node, list[fx.Node]] = {}
        self._unit: dict[fx.Node, fx.Node] = {}
        self._reads: dict[fx.Node, frozenset[fx.Node]] = {}
        for node in program.graph.nodes:
            if node.op != "call_function" or is_number(node):
                continue
            source: Any = node.args[0] if node.args else None
            owner = self._unit.get(source) if isinstance(source, fx.Node) else None
            if owner is not None and isinstance(source.meta.get("val"), tuple | list):
                self._unit[node] = owner
                self.units[owner].append(node)
            else:
                self._unit[node] = node
                self.units[node] = [node]
        self.before = {
            unit: {self._unit[v] for m in members for v in self.values(m) if v in self._unit} - {unit}
            for unit, members in self.units.items()
        }

    def unit(self, node: fx.Node) -> fx.Node | None:
        return self._unit.get(node)

    def values(self, node: fx.Node) -> frozenset[fx.Node]:
        """Return the tensors that ``node`` reads, directly or through numbers."""
        if node not in self._reads:
            found: set[fx.Node] = set()
            for source in node.all_input_nodes:
                found |= self.values(source) if is_number(source) else {source}
            self._reads[node] = frozenset(found)
        return self._reads[node]


def is_number(node: fx.Node) -> bool:
    """Return whether a node computes a size or another number instead of a tensor."""
    return node.op == "call_function" and not isinstance(node.meta.get("val"), torch.Tensor | tuple | list)


_Runs = list[tuple[Engine, list[fx.Node]]]


def _fewest(graph: _Dependencies, torch_only: set[Any]) -> _Runs:
    candidates = [_runs(graph, torch_only, first) for first in ("tvm", "torch")]
    return min(candidates, key=len)


def _runs(graph: _Dependencies, torch_only: set[Any], first: str) -> _Runs:
    """Alternate between the engines; each takes all the nodes that it can before the other has its turn."""
    left, done, runs = list(graph.units), set[fx.Node](), _Runs()
    engine: Engine = "tvm" if first == "tvm" else "torch"
    while left:
        taken: dict[fx.Node, None] = {}
        for unit in left:
            before = graph.before[unit]
            # PyTorch takes a cheap node only after one of its own; otherwise early index arithmetic would go there.
            own = unit in torch_only or (unit.target in _CHEAP and any(b in taken for b in before))
            fits = own if engine == "torch" else unit not in torch_only
            if fits and all(b in done or b in taken for b in before):
                taken[unit] = None
        if taken:
            runs.append((engine, list(taken)))
        done |= taken.keys()
        left = [unit for unit in left if unit not in taken]
        engine = "torch" if engine == "tvm" else "tvm"
    return runs


def _heavy(node: fx.Node) -> bool:
    return any(word in str(node.target).partition(".")[2] for word in _HEAVY)


def _needs(program: Program, graph: _Dependencies, own: set[fx.Node], engine: Engine) -> set[fx.Node]:
    """Return the values that a stage with the nodes ``own`` reads from outside."""
    values = {value for node in own for value in graph.values(node)}
    return (values | (_size_carriers(program, own) if engine == "tvm" else set())) - own


def _size_carriers(program: Program, own: set[fx.Node]) -> set[fx.Node]:
    """Find inputs of the model from whose shapes TVM can read the size symbols of a stage; PyTorch needs none."""
    wanted = {symbol for node in own for symbol in _symbols(node.meta.get("val"))}
    found: set[fx.Node] = set()
    for node in program.placeholders:
        value = node.meta.get("val")
        shape = value.shape if isinstance(value, torch.Tensor) else ()
        own_symbols = {str(size) for size in shape if isinstance(size, torch.SymInt)} & wanted
        if own_symbols:
            found.add(node)
            wanted -= own_symbols
    return found


def _symbols(value: Any) -> set[str]:
    sizes = [
        s
        for leaf in pytree.tree_leaves(value)
        for s in (leaf.shape if isinstance(leaf, torch.Tensor) else [leaf])
    ]
    return {
        str(symbol)
        for size in sizes
        if isinstance(size, torch.SymInt)
        for symbol in size.node.expr.free_symbols
    }


def _part(
    program: Program, engine: Engine, own: set[fx.Node], needs: set[fx.Node], wanted: set[fx.Node],
    refused: Mapping[str, str],
) -> Stage:  # fmt: skip
    graph, mapped = fx.Graph(), dict[fx.Node, fx.Node]()
    inputs = [node for node in program.graph.nodes if node in needs and node.op != "get_attr"]
    for node in inputs:
        mapped[node] = graph.placeholder(node.name)
        mapped[node].meta = dict(node.meta)
    numbers = _numbers(own)
    for node in program.graph.nodes:
        if node in own or node in numbers or (node.op == "get_attr" and node in needs):
            mapped[node] = graph.node_copy(node, mapped.__getitem__)
            mapped[node].meta["origin"] = node.name
    results = [node for node in program.graph.nodes if node in own & wanted]
    graph.output(tuple(mapped[node] for node in results))
    part = replace(
        program.with_graph(graph, program.constants),
        in_spec=_flat_spec(len(inputs), call=True),
        out_spec=_flat_spec(len(results)),
        history=(),
        regions=(),
        state=(),
    )
    calls = [node for node in program.graph.nodes if node in own]
    reason = "" if engine == "tvm" else "TVM does not take some of its operators"
    names = tuple(n.name for n in inputs), tuple(n.name for n in results)
    return Stage(engine, part, *names, _record(engine, calls, refused, reason))


def _numbers(own: set[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    pending = list(own)
    while pending:
        for source in pending.pop().all_input_nodes:
            if is_number(source) and source not in found:
                found.add(source)
                pending.append(source)
    return found


def _flat_spec(count: int, call: bool = False) -> pytree.TreeSpec:
    flat = (None,) * count
    leaves = pytree.tree_map(lambda _: 0, flat, is_leaf=lambda x: x is None)
    return pytree.tree_structure((leaves, {}) if call else leaves)


def _record(engine: Engine, calls: list[fx.Node], refused: Mapping[str, str], reason: str) -> StageRecord:
    operators = tuple(
        Operator(node.name, str(node.target), _source(node), refused.get(node.name, ""))
        for node in calls
        if not is_number(node) and getattr(node.target, "__name__", "") != "getitem"
    )
    return StageRecord(engine, operators, reason)


def _source(node: fx.Node) -> str:
    """Return the module path and the line of the user's code that a node comes from, as far as tracing knows."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) for entry in stack.values() if entry[0]]
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip()]
    where = lines[-2:] if lines[-2:] and "File" in (lines[-2:][0]) else lines[-1:]
    return "; ".join([*paths[-1:], *where]) or node.name
