"""``compile`` and ``load``: the line from a model, or from an artifact, to a callable."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from l0compile.artifact import load_spec, read_bundle, restore_target
from l0compile.assembly import assemble, explanation
from l0compile.capture import Program, capture, unchanged, watched_numbers
from l0compile.conditions import from_json
from l0compile.costs import Costs, costs_of
from l0compile.errors import BuildError, ConfigError, RewriteError
from l0compile.gates import hardening
from l0compile.lower import BuiltStage, dtype_name, lower, lower_torch, provable_bounds
from l0compile.records import EngineChoice
from l0compile.rewrite.pipeline import choose, dense_steps, optimise_dense
from l0compile.runtime import (
    STATE,
    CompiledModel,
    Derived,
    Explanation,
    InputSpec,
    Plan,
    Signature,
    race,
    release,
)
from l0compile.schedule import token_tile
from l0compile.targets import Target, load_target
from l0compile.verification import Call, locate, read_calls, showing_state, tolerance
from l0compile.verification import verify as verify_calls

_log = logging.getLogger("l0compile")


def compile(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    target: str | Target = "native",
    dynamic_shapes: Any = None,
    verify: bool | Sequence[Call] = True,
    ignore_zeros: bool = False,
    engine: str = "auto",
) -> CompiledModel:
    """Compile a model with zeros in it for one target.

    Args:
        model: an ``nn.Module`` in eval mode (gated and hardened, or pruned by anything else) or an ExportedProgram.
        args, kwargs: example inputs, CPU tensors.
        target: name of a shipped target, path of a target file, ``"native"``, or a Target.
        dynamic_shapes: ``{"input_ids": {0: "batch", 1: "seq"}}`` or torch.export's format; default: all sizes fixed.
        verify: compare with the model on the example inputs, and on each of a list of calls ``[(args, kwargs), ...]``;
            refuse a result that differs, see :func:`l0compile.verification.verify`. Padded tokens of an
            ``nn.TransformerEncoder`` (``src_key_padding_mask``) are computed like others, as in the exported graph;
            eager PyTorch's fast path makes them zero. ``explain()`` says by how much results then differ. Of a model
            with state the calls are one sequence, and its buffers are compared after each; the model's own are as
            before in the end.
        ignore_zeros: compute the zeros like any other number: the dense model that gains are measured against.
        engine: ``"tvm"``: compiled, with islands in PyTorch for what TVM does not take; ``"torch"``: the smaller dense
            model in PyTorch; ``"auto"``: the quicker of the two, timed on the example inputs (half a second).

    Returns: a callable with the model's signature and result structure; its ``explain()`` says what was done. Buffers
        that ``forward`` changes (a cache, a counter) are its state, see :class:`l0compile.runtime.CompiledModel`.

    Raises:
        CaptureError: the model cannot be exported. TargetError, ConfigError: no such target or engine.
        BuildError: neither engine has an operator. RewriteError: verification found a difference above the tolerance.
    """
    if engine not in ("auto", "tvm", "torch"):
        raise ConfigError(f"compile: engine: expected 'auto', 'tvm' or 'torch', got {engine!r}")
    target = target if isinstance(target, Target) else load_target(target)
    captured = capture(model, args, kwargs, dynamic_shapes=dynamic_shapes, allow_state=True)
    dense = optimise_dense(captured, ignore_zeros=ignore_zeros)
    program = dense if ignore_zeros else choose(dense, target, _costs(target))
    calls = read_calls(model, args, kwargs or {}, verify)
    job = _Job(model, tuple(args), dict(kwargs or {}), target, captured, dense, program, calls)
    compiled = job.run(engine)
    del captured, dense, program, job
    release()
    return compiled


@dataclass(frozen=True)
class _Job:
    """One model on its way to a callable: ``program`` as TVM gets it, ``dense`` as PyTorch gets it; ``calls``: what is
    verified."""

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Target
    captured: Program
    dense: Program
    program: Program
    calls: list[Call]

    def run(self, engine: str) -> CompiledModel:
        if engine == "torch":
            return self.in_torch(EngineChoice("torch", "asked for"))
        try:
            compiled = self.in_tvm(EngineChoice("tvm", "asked for"))
        except (BuildError, RewriteError) as error:
            if engine == "tvm":
                raise
            if isinstance(error, RewriteError):  # a defect of ours, which the answers will not show
                _log.warning("compiled code is not used: %s", error)
            return self.in_torch(EngineChoice("torch", f"what was compiled could not be used: {error}"))
        return compiled if engine == "tvm" else self.quicker(compiled)

    def in_torch(self, choice: EngineChoice) -> CompiledModel:
        return self._finish([lower_torch(self.dense, choice.reason)], choice)

    def in_tvm(self, choice: EngineChoice) -> CompiledModel:
        return self._finish(_lower(self.program, self.target), choice)

    def quicker(self, compiled: CompiledModel) -> CompiledModel:
        """``compiled``, or the model in PyTorch where that is quicker on the example inputs."""
        if not self.args and not self.kwargs:
            return compiled.chosen(EngineChoice("tvm", "there are no example inputs to compare engines on"))
        other = self.in_torch(EngineChoice("torch", "the quicker engine"))
        models = {"tvm": compiled, "torch": other}
        choice = race(*(partial(model.rehearse, *self.args, **self.kwargs) for model in models.values()))
        return models[choice.engine].chosen(choice)

    def _finish(self, built: Sequence[BuiltStage], choice: EngineChoice) -> CompiledModel:
        plan, facts = assemble(self.program, built, in_place=True), {"gate_rule": _gate_rule(self.model)}
        examples = _example_shapes(self.program, self.args, self.kwargs)
        signature = _signature(self.program, provable_bounds(self.program)[0], examples)

        def finished(verified: dict[str, Any]) -> CompiledModel:
            account = explanation(self.program, built, verified, choice)
            state = [item.tensor for item in self.program.state]
            return CompiledModel(plan, signature, self.target, account, facts, state)

        unchecked = finished({"checked": False})
        if not self.calls:
            return unchecked
        reference = self.model.module() if isinstance(self.model, ExportedProgram) else self.model
        names = [state.name for state in self.program.state]
        try:
            with unchanged(reference, names), watched_numbers(reference):
                pair = showing_state(unchecked, reference, names)
                return finished(verify_calls(*pair, self.calls, tolerance(self.captured)))
        except RewriteError as error:
            raise RewriteError(f"{error}. In {choice.engine}: {self._where(choice.engine)}") from error

    def _where(self, engine: str) -> str:
        """Where the difference to the model starts, for the first of the calls."""

        def code(program: Program) -> Callable[[list[Tensor]], list[Tensor]]:
            if engine == "torch":
                return assemble(program, [lower_torch(program, "")])
            return assemble(program, _lower(program, self.target))

        args, kwargs = self.calls[0]
        inputs = self.captured.flatten(args, kwargs)
        last = self.dense if engine == "torch" else self.program
        return locate(self.captured, last, dense_steps(), code, inputs, tolerance(self.captured))


def _lower(program: Program, target: Target) -> tuple[BuiltStage, ...]:
    return lower(program, target, token_tile(target), _costs(target))


def _costs(target: Target) -> Costs | None:
    if target.kind != "llvm":
        return None
    tile = token_tile(target)
    return costs_of(target, tile.lanes, tile.vector)


def load(path: str | Path) -> CompiledModel:
    """The model that ``CompiledModel.save`` wrote at ``path``.

    Raises: ArtifactError when it is damaged, of another version, or made for another machine type.
    """
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
        derived=tuple(Derived(**item) for item in record["derived"]),
        state=tuple(_input_spec(item) for item in record["state"]),
    )
    plan = Plan.from_json(record, bundle.constants, bundle.libraries)
    return CompiledModel(
        plan,
        signature,
        restore_target(record["target"], str(path)),
        Explanation.from_json(record["explanation"]),
        {"gate_rule": record["gate_rule"]},
        [bundle.constants[f"{STATE}{buffer.name}"] for buffer in signature.state],
    )


def _example_shapes(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> list[tuple[int, ...]]:
    """Shapes of the flat example inputs; without them (an ExportedProgram) those that it was traced with."""
    if args or kwargs:
        leaves = program.flatten(args, kwargs)
        return [tuple(leaf.shape) for _, leaf in zip(program.inputs, leaves, strict=False)]
    shapes = [node.meta["val"].shape for node in program.inputs]
    return [tuple(s if isinstance(s, int) else int(s.node.hint) for s in shape) for shape in shapes]


def _signature(program: Program, bounds: Mapping[str, int], examples: Sequence[tuple[int, ...]]) -> Signature:
    inputs = tuple(
        replace(_spec(node.name, node.meta["val"], program, bounds.get(node.name)), example=example)
        for node, example in zip(program.inputs, examples, strict=True)
    )
    hidden = zip(program.placeholders[len(inputs) :], program.state, strict=True)
    state = [_spec(item.name, node.meta["val"], program, bounds.get(node.name)) for node, item in hidden]
    results = [node.meta["val"] for node in program.results]
    outputs = tuple(_spec(f"output_{i}", value, program, None) for i, value in enumerate(results))
    return Signature(
        inputs,
        outputs,
        dict(program.symbols),
        dict(program.labels),
        program.in_spec,
        program.out_spec,
        program.conditions,
        tuple(_derived(program)),
        tuple(state),
    )


def _derived(program: Program) -> Iterator[Derived]:
    """The dimensions of inputs that are no symbol but follow from one: ``2 * Dim("half")``."""
    for number, node in enumerate(program.inputs):
        for axis, size in enumerate(node.meta["val"].shape):
            free = [] if isinstance(size, int) else sorted(size.node.expr.free_symbols, key=str)
            if len(free) == 1 and str(size) not in program.symbols:
                expression, symbol = size.node.expr, free[0]
                factor, offset = expression.coeff(symbol, 1), expression.coeff(symbol, 0)
                if expression == factor * symbol + offset and factor.is_Integer and factor > 0:
                    yield Derived(number, axis, str(symbol), int(factor), int(offset))


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
