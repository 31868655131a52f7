"""``compile`` and ``load``: the line from a model, or from an artifact, to a callable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from l0compile.artifact import load_spec, read_bundle, restore_target
from l0compile.capture import Program, capture
from l0compile.conditions import from_json, show
from l0compile.errors import RewriteError
from l0compile.gates import hardening
from l0compile.lower import build, dtype_name, translate
from l0compile.lower.index_bounds import index_bounds
from l0compile.lower.kernel_calls import kernel_call
from l0compile.records import Launch
from l0compile.rewrite.pipeline import optimise, pack_tokens
from l0compile.runtime import CompiledModel, Explanation, InputSpec, Signature
from l0compile.schedule import token_tile
from l0compile.targets import Target, load_target

# Compiled and gated outputs may differ by this share of the largest reference value: fp32, summed in another order.
TOLERANCE = 2e-5


def compile(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    target: str | Target = "native",
    dynamic_shapes: Any = None,
    verify: bool = True,
    ignore_zeros: bool = False,
) -> CompiledModel:
    """Compile a model with zeros in it for one target.

    Args:
        model: an ``nn.Module`` in eval mode (gated and hardened, or pruned by anything else) or an ExportedProgram.
        args, kwargs: example inputs, CPU tensors.
        target: name of a shipped target, path of a target file, ``"native"``, or a Target.
        dynamic_shapes: ``{"input_ids": {0: "batch", 1: "seq"}}`` or torch.export's format; default: all sizes fixed.
        verify: compare with the model on the example inputs and refuse a result that differs.
        ignore_zeros: compute the zeros like any other number: the dense model that gains are measured against.

    Returns: a callable with the model's signature and result structure; its ``explain()`` says what was done.

    Raises:
        CaptureError: the model cannot be exported. TargetError, ConfigError: no such target.
        BuildError: an operator has no kernel. RewriteError: verification found a difference above the tolerance.
    """
    target = target if isinstance(target, Target) else load_target(target)
    tile = token_tile(target)
    captured = capture(model, args, kwargs, dynamic_shapes=dynamic_shapes)
    program = optimise(captured, target, ignore_zeros=ignore_zeros)
    program = pack_tokens(program, lanes=tile.lanes, rows=tile.rows)
    translation = translate(program, tile)
    executable = build(translation.module, target, tile)
    parameters = {name: program.constants[name] for name in translation.parameters}
    signature = _signature(program, index_bounds(program), _example_shapes(program, args, kwargs))

    def compiled(verified: dict[str, Any]) -> CompiledModel:
        facts = {"gate_rule": _gate_rule(model)}
        explanation = _explanation(program, translation.launches, verified)
        return CompiledModel(executable, parameters, signature, target, explanation, facts)

    if not verify or isinstance(model, ExportedProgram):
        return compiled({"checked": False})
    return compiled(_verify(compiled({"checked": False}), model, args, kwargs or {}))


def load(path: str | Path) -> CompiledModel:
    """The model that ``CompiledModel.save`` wrote at ``path``.

    Raises: ArtifactError when it is damaged, of another version, or made for another machine type.
    """
    from l0compile._tvm import runtime

    bundle = read_bundle(path)
    record = bundle.manifest
    signature = Signature(
        inputs=tuple(_input_spec(item) for item in record["inputs"]),
        outputs=tuple(_input_spec(item) for item in record["outputs"]),
        symbols={name: (low, high) for name, (low, high) in record["symbols"].items()},
        labels=record["labels"],
        in_spec=load_spec(record["in_spec"]),
        out_spec=load_spec(record["out_spec"]),
        conditions=tuple(from_json(item) for item in record["conditions"]),
    )
    parameters = {name: bundle.constants[name] for name in record["parameters"]}
    return CompiledModel(
        runtime.load_module(str(bundle.library)),
        parameters,
        signature,
        restore_target(record["target"], str(path)),
        Explanation.from_json(record["explanation"]),
        {"gate_rule": record["gate_rule"]},
    )


def _verify(
    compiled: CompiledModel, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(model(*args, **kwargs))
    actual = torch.utils._pytree.tree_leaves(compiled(*args, **kwargs))
    worst = 0.0
    for number, (want, got) in enumerate(zip(expected, actual, strict=True)):
        scale = float(want.abs().max()) if want.numel() else 0.0
        difference = float((want.double() - got.double()).abs().max()) if want.numel() else 0.0
        share = difference / scale if scale else difference
        if not share <= TOLERANCE:  # also when NaN, which max() would lose
            raise RewriteError(
                f"verification: output {number}: expected the model's values within {TOLERANCE:.0e} of the largest, "
                f"got a difference of {share:.1e}; compile with verify=False to look at it, and please report the model"
            )
        worst = max(worst, share)
    return {"checked": True, "max_difference": worst, "tolerance": TOLERANCE, "inputs": 1}


def _example_shapes(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> list[tuple[int, ...]]:
    """Shapes of the flat example inputs; without them (an ExportedProgram) those that it was traced with."""
    if args or kwargs:
        return [tuple(leaf.shape) for leaf in program.flatten(args, kwargs)]
    shapes = [node.meta["val"].shape for node in program.placeholders]
    return [tuple(s if isinstance(s, int) else int(s.node.hint) for s in shape) for shape in shapes]


def _signature(program: Program, bounds: Mapping[str, int], examples: Sequence[tuple[int, ...]]) -> Signature:
    inputs = tuple(
        replace(_spec(node.name, node.meta["val"], program, bounds.get(node.name)), example=example)
        for node, example in zip(program.placeholders, examples, strict=True)
    )
    results = [node.meta["val"] for node in program.output.args[0]]
    outputs = tuple(_spec(f"output_{i}", value, program, None) for i, value in enumerate(results))
    return Signature(
        inputs,
        outputs,
        dict(program.symbols),
        dict(program.labels),
        program.in_spec,
        program.out_spec,
        program.conditions,
    )


def _spec(name: str, value: torch.Tensor, program: Program, below: int | None) -> InputSpec:
    def dim(size: int | torch.SymInt) -> int | str:
        return int(size) if isinstance(size, int) else str(size) if str(size) in program.symbols else "?"

    return InputSpec(name, dtype_name(value.dtype), tuple(dim(size) for size in value.shape), below)


def _input_spec(item: Mapping[str, Any]) -> InputSpec:
    example = item["example"]
    return InputSpec(
        item["name"],
        item["dtype"],
        tuple(item["shape"]),
        item["below"],
        None if example is None else tuple(example),
    )


def _gate_rule(model: Any) -> Any:
    record = hardening(model) if isinstance(model, nn.Module) else None
    return None if record is None else {key: str(value) for key, value in vars(record).items()}


def _explanation(
    program: Program, launches: tuple[Launch, ...], verification: Mapping[str, Any]
) -> Explanation:
    calls = [node for node in program.graph.nodes if node.op == "call_function" and kernel_call(node) is None]
    ordinary = Counter(str(node.target) for node in calls if isinstance(node.meta.get("val"), torch.Tensor))
    return Explanation(
        program.regions,
        program.history,
        verification,
        dict(ordinary),
        launches=launches,
        sizes=_size_rules(program),
    )


def _size_rules(program: Program) -> tuple[str, ...]:
    """What must hold of the sizes of a call, in words."""
    rules = []
    for symbol, (low, high) in program.symbols.items():
        name = program.labels.get(symbol, symbol)
        rules.append(f"{name} is {low} or more" if high is None else f"{name} is {low} to {high}")
    return (*rules, *(show(condition, program.labels) for condition in program.conditions))
