"""``compile`` and ``load``: from a model, or from an artifact, to a callable."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from l0compile.compiler.assembly import assemble, explanation
from l0compile.compiler.gpu import check_engine, not_verified, through_gpu
from l0compile.compiler.head_start import far_ahead
from l0compile.compiler.predict import predict_program
from l0compile.compiler.verification import (
    CheckedCall,
    locate,
    nan_weights,
    read_calls,
    rounds,
    showing_state,
    tolerance,
)
from l0compile.compiler.verification import verify as verify_calls
from l0compile.errors import ArtifactError, BuildError, NoAnswerError, RewriteError
from l0compile.frontend.dense_tensors import dense_weights
from l0compile.frontend.export import capture
from l0compile.gates import hardening
from l0compile.hardware.costs import GpuModel
from l0compile.hardware.process import torch_threads, while_compiling
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.program import Program
from l0compile.ir.records import EngineChoice
from l0compile.ir.state import unchanged, watched_numbers
from l0compile.kernels import token_tile
from l0compile.kernels.costs import costs_of
from l0compile.lower.aten.lowering import dtype_name
from l0compile.lower.stage_build import BuiltStage, lower, lower_torch, provable_bounds
from l0compile.rewrite.pipeline import choose, dense_passes, lost_denormals, optimise_dense
from l0compile.runtime import (
    CompiledModel,
    Derived,
    InputSpec,
    Parameters,
    Signature,
    check_threads,
    race,
    release,
    without,
)
from l0compile.runtime import load as load

_log = logging.getLogger("l0compile")
_MANY_BYTES = 1 << 30


@while_compiling()
def compile(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    target: str | Target = "native",
    dynamic_shapes: Any = None,
    verify: bool | Sequence[CheckedCall] = True,
    ignore_zeros: bool = False,
    engine: str = "auto",
    threads: int | None = None,
) -> CompiledModel:
    """Compile a model with zeros in it for one target.

    Args:
        model: an ``nn.Module`` in eval mode (gated and hardened, or pruned by anything else) or an ExportedProgram.
        args: example inputs by position, CPU tensors.
        kwargs: example inputs by name.
        target: name of a shipped target, path of a target file, ``"native"``, or a Target. A model for a GPU can be
            made, saved and explained without one; it is called with CUDA tensors.
        dynamic_shapes: ``{"input_ids": {0: "batch", 1: "seq"}}`` or torch.export's format; default: all sizes are
            fixed.
        verify: compare with the model on the example inputs, and on each of a list of calls ``[(args, kwargs),
            ...]``, and refuse a result that differs, see :func:`l0compile.compiler.verification.verify`. The calls of
            a model with state are one sequence, and its buffers are compared after each; the model's own are restored
            in the end.
        ignore_zeros: compute zeros like any other number: this is the dense model that gains are measured against.
        engine: ``"tvm"``: compiled code, with islands in PyTorch for what TVM does not take; ``"torch"``: the smaller
            dense model in PyTorch; ``"auto"``: the quicker of the two, or the one that works. Both are timed in turns
            on the example inputs, for half a second (two where they are close), unless the compiled code takes less
            than a fifth of the model's own time.
        threads: threads of a call; None: all cores, one call at a time. With 1, calls of several threads run side by
            side. The code is the same; the engines are timed with that number.

    Returns:
        A callable with the model's signature and result structure; its ``explain()`` says what was done. Buffers that
        ``forward`` changes (a cache, a counter) are its state, see :class:`l0compile.runtime.CompiledModel`.
        It computes the padded tokens of an ``nn.TransformerEncoder`` (``src_key_padding_mask``) like others, as the
        exported graph does; eager PyTorch's fast path makes them zero, and ``explain()`` says by how much results then
        differ.

    Raises:
        CaptureError: the model cannot be exported.
        TargetError: there is no such target.
        ConfigError: no such engine or number of threads, or ``verify`` is neither a bool nor a list of calls.
        BuildError: neither engine has an operator.
        RewriteError: verification found a difference above the tolerance.
    """
    check_threads(threads)
    calls = read_calls(model, args, kwargs or {}, verify)
    target = target if isinstance(target, Target) else load_target(target)
    check_engine(engine, target)
    _log.info("capturing the model")
    captured = capture(model, args, kwargs, dynamic_shapes=dynamic_shapes, allow_state=True)
    programs = (captured, *_rewritten(captured, target, ignore_zeros))
    job = _Compilation(model, tuple(args), dict(kwargs or {}), target, *programs, calls, threads)
    compiled = job.run(engine)
    del captured, programs, job
    release()
    return compiled


def _rewritten(captured: Program, target: Target, ignore_zeros: bool) -> tuple[Program, Program]:
    """Return the program that PyTorch gets, and the one that TVM gets."""
    _log.info("rewriting a graph of %d operators", len(captured.graph.nodes))
    with _threads_for(captured):
        dense = optimise_dense(captured, ignore_zeros=ignore_zeros)
        program = dense if ignore_zeros else choose(dense, target, costs_of(target))
        if lost_denormals(dense):
            dense = optimise_dense(captured, ignore_zeros=ignore_zeros, denormals=True)
        return dense, program


def _threads_for(program: Program) -> AbstractContextManager[Any]:
    """Let PyTorch read and pack the weights of ``program`` in one thread, unless they are many.

    Thousands of short operators gain nothing from more; where something else uses the cores, each of them would wait
    some milliseconds for its second thread.
    """
    many = sum(tensor.nbytes for tensor in program.constants.values()) > _MANY_BYTES
    return nullcontext() if many else torch_threads(1)


@dataclass(frozen=True)
class _Compilation:
    """One model on its way to a callable.

    Attributes:
        program: what TVM gets.
        dense: what PyTorch gets, denormals included.
        calls: what is verified.
    """

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Target
    captured: Program
    dense: Program
    program: Program
    calls: list[CheckedCall]
    threads: int | None

    def run(self, engine: str) -> CompiledModel:
        if self.target.kind == "cuda":
            return self.in_tvm(EngineChoice("tvm", "the target is a GPU"))
        if engine == "torch":
            return self.in_torch(EngineChoice("torch", "asked for"))
        try:
            compiled = self.in_tvm(EngineChoice("tvm", "asked for"))
        except (BuildError, RewriteError) as error:
            if engine == "tvm" or isinstance(error, NoAnswerError):
                raise
            return self.in_torch(_warned(without("tvm", error)))
        return compiled if engine == "tvm" else self.quicker(compiled)

    def in_torch(self, choice: EngineChoice) -> CompiledModel:
        _log.info("preparing the model in PyTorch")
        return self._finish([lower_torch(self.dense, choice.reason)], choice)

    def in_tvm(self, choice: EngineChoice) -> CompiledModel:
        _log.info("generating code for %s", self.target.name)
        return self._finish(_lower(self.program, self.target), choice)

    def quicker(self, compiled: CompiledModel) -> CompiledModel:
        """Return ``compiled``, or the model in PyTorch if that is quicker on the example inputs."""
        if not self.args and not self.kwargs:
            return compiled.chosen(EngineChoice("tvm", "there are no example inputs to compare engines on"))
        # Without verification nobody has asked for calls of the model itself.
        may_call = self.calls and self.threads is None and not self.program.state
        if may_call and (ahead := self._far_ahead(compiled)):
            return compiled.chosen(ahead)
        try:
            other = self.in_torch(EngineChoice("torch", "the quicker engine"))
        except (ArtifactError, BuildError, RewriteError) as error:
            return compiled.chosen(_warned(without("torch", error)))
        models = {"tvm": compiled, "torch": other}
        _log.info("timing both in turns, two seconds at most")
        choice = race(*(partial(model.rehearse, *self.args, **self.kwargs) for model in models.values()))
        return models[choice.engine].chosen(_warned(choice))

    def _far_ahead(self, compiled: CompiledModel) -> EngineChoice | None:
        with self._reference() as model:
            own = partial(model, *self.args, **self.kwargs)
            return far_ahead(
                partial(compiled.rehearse, *self.args, **self.kwargs), own, self.captured, self.dense
            )

    @contextmanager
    def _reference(self) -> Iterator[nn.Module]:
        """The model that was compiled, which calls in the block leave as it is."""
        model = self.model.module() if isinstance(self.model, ExportedProgram) else self.model
        names = [state.name for state in self.program.state]
        with dense_weights(model), unchanged(model, names), watched_numbers(model):
            yield model

    def _finish(self, built: Sequence[BuiltStage], choice: EngineChoice) -> CompiledModel:
        plan, facts = assemble(self.program, built, in_place=True), {"gate_rule": _gate_rule(self.model)}
        examples = _example_shapes(self.program, self.args, self.kwargs)
        bounds = provable_bounds(self.program)[0]
        on_device = self.target.kind == "cuda"
        signature = _signature(self.program, bounds, examples, _parameters(self.model), on_device)

        def finished(verified: dict[str, Any]) -> CompiledModel:
            account = explanation(self.program, built, verified, choice)
            if self.target.kind == "cuda":
                account = replace(account, predicted=predict_program(self.program, GpuModel(self.target)))
            state = [item.tensor for item in self.program.state]
            return CompiledModel(plan, signature, self.target, account, facts, self.threads, state)

        unchecked = finished({"checked": False})
        if not self.calls:
            return unchecked
        if reason := not_verified(self.target):
            _log.warning("compile: answers are not compared with the model: %s", reason)
            return finished({"checked": False, "reason": reason})
        _log.info("comparing with the model")
        names = [state.name for state in self.program.state]
        try:
            with self._reference() as reference:
                ours, own = showing_state(unchecked, reference, names)
                ours = through_gpu(ours) if self.target.kind == "cuda" else ours
                limit, integers = tolerance(self.captured), rounds(self.captured)
                return finished(verify_calls(ours, own, self.calls, limit, integers))
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}{nan_weights(self.model)}") from error
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
        passes = dense_passes(denormals=engine == "torch")
        return locate(self.captured, last, passes, code, inputs, tolerance(self.captured))


def _warned(choice: EngineChoice) -> EngineChoice:
    """Return the choice, and warn which engine failed: the answers will not show it."""
    if choice.failed:
        _log.warning("compile: engine %s: %s", choice.engine, choice.reason)
    return choice


def _lower(program: Program, target: Target) -> tuple[BuiltStage, ...]:
    with _threads_for(program):
        machine = target if target.kind == "cuda" else token_tile(target)
        return lower(program, target, machine, costs_of(target))


def _example_shapes(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> list[tuple[int, ...]]:
    """Return the shapes of the flat example inputs; for an ExportedProgram without them, the traced ones."""
    if args or kwargs:
        leaves = program.flatten(args, kwargs)
        return [tuple(leaf.shape) for _, leaf in zip(program.inputs, leaves, strict=False)]
    shapes = [node.meta["val"].shape for node in program.inputs]
    return [tuple(s if isinstance(s, int) else int(s.node.hint) for s in shape) for shape in shapes]


def _signature(
    program: Program,
    bounds: Mapping[str, int],
    examples: Sequence[tuple[int, ...]],
    parameters: Parameters,
    on_device: bool,
) -> Signature:
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
        parameters,
        tuple(state),
        on_device,
    )


def _derived(program: Program) -> Iterator[Derived]:
    """Return the dimensions of inputs that follow from a symbol: ``2 * Dim("half")``."""
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


def _parameters(model: nn.Module | ExportedProgram) -> Parameters:
    module = model.module(check_guards=False) if isinstance(model, ExportedProgram) else model
    return Parameters.of(inspect.signature(module.forward))


def _gate_rule(model: Any) -> Any:
    record = hardening(model) if isinstance(model, nn.Module) else None
    return None if record is None else {key: str(value) for key, value in vars(record).items()}
