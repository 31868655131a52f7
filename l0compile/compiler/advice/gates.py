"""Before training: what could be gated, and what each gate would buy on a device."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from torch import fx, nn

from l0compile.compiler.advice.channels import Channels, Graph
from l0compile.compiler.advice.options import Advice, Option
from l0compile.compiler.compile import compile
from l0compile.errors import ArtifactError
from l0compile.frontend.export import capture
from l0compile.gates.attach import accepts
from l0compile.gates.granularity import Block, Feature, Granularity, Head, Layer, Neuron
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.nodes import region_name, shape
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import optimise_dense
from l0compile.runtime.account import account
from l0compile.runtime.artifact import check_host


def advise(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    target: str | Target = "native",
    dynamic_shapes: Any = None,
    sizes: Mapping[str, int] | None = None,
) -> Advice:
    """Tell what could be gated in ``model``, which needs no zeros, and what each gate would buy.

    This compiles the model as if it had no zeros, and times each region; for a target that is not this machine, it
    counts multiplications instead. Whether channels can go at all is decided as in ``compile``.

    Args:
        model: as for ``compile``.
        args: as for ``compile``.
        kwargs: as for ``compile``.
        target: as for ``compile``.
        dynamic_shapes: as for ``compile``.
        sizes: sizes of dynamic dimensions by name while timing; default: those of the example.

    Raises:
        CaptureError: the model cannot be exported.
        TargetError: there is no such target.
        BuildError: neither engine has an operator.
        ConfigError: there is no such size.
    """
    target = target if isinstance(target, Target) else load_target(target)
    program = optimise_dense(capture(model, args, kwargs, dynamic_shapes=dynamic_shapes), ignore_zeros=True)
    graph = Graph(program)
    rest: dict[str, float] = {}
    if _runs_here(target):
        shapes = {"target": target, "dynamic_shapes": dynamic_shapes}
        compiled = compile(model, args, kwargs, ignore_zeros=True, engine="tvm", verify=False, **shapes)
        explanation = compiled.explain(measure=True, sizes=sizes)
        assert explanation.profile is not None
        found = account(explanation.regions, explanation.profile, None)
        costs = {item.name: item.after_ms or 0.0 for item in found.regions}
        unit, total, used = "ms", found.now_ms, dict(found.sizes)
        rest = {part.name: part.after_ms for part in found.parts if part.name != "weights"}
    else:
        costs = {name: _multiplications(program, node) for name, node in graph.nodes.items()}
        unit, total, used = "multiplications", sum(costs.values()), {}
    options = tuple(_options(model, graph, costs, target))
    return Advice(
        target.name, unit, used, total, costs, options, graph.obstacles(), graph.liveness.unknown_ops, rest
    )


def _runs_here(target: Target) -> bool:
    try:
        check_host(target, target.name)
    except ArtifactError:
        return False
    return True


def _multiplications(program: Program, node: fx.Node) -> float:
    region = next(item for item in program.regions if item.name == node.meta["region"])
    result = [size if isinstance(size, int) else int(size.node.hint) for size in shape(node)]
    # Per output element: one weight row. An attention multiplies each query with each key and value.
    if region.kind == "attention":
        keys = shape(node.args[1])
        length = keys[-2]
        return 2.0 * prod(result) * (length if isinstance(length, int) else int(length.node.hint))
    return float(prod(result) * prod(region.shape_before[1:]))


def _options(model: nn.Module, graph: Graph, costs: Mapping[str, float], target: Target) -> Iterator[Option]:
    modules = dict(model.named_modules())
    done: set[tuple[str, str]] = set()
    for name, node in graph.nodes.items():
        path = region_name(node)
        for granularity, option in _of_region(path, name, modules.get(path), graph, costs, target):
            if (path, option.granularity) not in done and accepts(modules[path], granularity):
                done.add((path, option.granularity))
                yield option


def _of_region(
    path: str, name: str, module: nn.Module | None, graph: Graph, costs: Mapping[str, float], target: Target
) -> Iterator[tuple[Granularity, Option]]:
    if isinstance(module, nn.Linear):
        read, made = graph.inputs(name), graph.outputs(name)
        if read is not None:
            inputs = Head(read.heads) if read.heads else Neuron()
            yield (
                inputs,
                _free(path, inputs, read.heads or module.in_features, name, read, read.readers, costs),
            )
        # Channels inside a head stay, so one output of a query, key or value layer buys nothing.
        if made is not None and not made.heads:
            yield Feature(), _free(path, Feature(), module.out_features, name, made, made.writers, costs)
        if target.blocks:
            yield _block(path, module, costs.get(name, 0.0), name, target)
    if module is not None and graph.is_added(name):
        gone = graph.only_through(name)
        cost = sum(costs.get(region, 0.0) for region in gone)
        yield Layer(), Option(path, _written(Layer()), 1, cost, cost, gone)


def _free(
    path: str,
    granularity: Granularity,
    units: int,
    name: str,
    channels: Channels,
    sharing: tuple[str, ...],
    costs: Mapping[str, float],
) -> Option:
    """Offer gates on channels: what is coupled with them shrinks, unless something holds them."""
    shrinks = tuple(dict.fromkeys((*channels.writers, *channels.readers)))
    others = [region for region in sharing if region != name]
    blocked = channels.blocked
    if not blocked and others:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        verb = "read" if sharing is channels.readers else "made"
        blocked = f"also {verb} by {others[0]}{more}: a channel goes when all of them close it (rule 7)"
    cost = sum(costs.get(region, 0.0) for region in shrinks)
    return Option(
        path, _written(granularity), units, cost, 0.0 if blocked else cost / units, shrinks, blocked
    )


def _block(
    path: str, module: nn.Linear, cost: float, name: str, target: Target
) -> tuple[Granularity, Option]:
    """Offer the smallest of the fastest block shapes."""
    rows, cols = max(target.blocks, key=lambda block: (target.block_efficiency(*block), -prod(block)))
    units = -(-module.out_features // rows) * -(-module.in_features // cols)
    granularity = Block(rows, cols)
    per_unit = cost / units / target.block_efficiency(rows, cols)
    return granularity, Option(path, _written(granularity), units, cost, per_unit, (name,))


def _written(granularity: Granularity) -> str:
    """Write it as a user does: ``Head(12)``."""
    values = (value for value in vars(granularity).values() if value is not None)
    return f"{type(granularity).__name__}({', '.join(map(str, values))})"
