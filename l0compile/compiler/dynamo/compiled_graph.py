"""One graph of a model under ``torch.compile``, compiled for the weights and numbers that it meets."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import Dim

from l0compile.compiler.compile import compile
from l0compile.compiler.dynamo.inference import Inference
from l0compile.compiler.dynamo.inputs import Inputs, number
from l0compile.compiler.dynamo.outputs import Outputs
from l0compile.errors import BuildError, CaptureError, InputError, RewriteError
from l0compile.runtime import CompiledModel

_log = logging.getLogger("l0compile")
_MOST = 8


@dataclass(frozen=True)
class _Weight:
    """A tensor that became a constant, and how to see that it is unchanged.

    ``position``: among the arguments; None for a tensor that the graph itself holds.
    """

    position: int | None
    tensor: torch.Tensor
    version: int
    address: int

    @classmethod
    def watch(cls, position: int | None, tensor: torch.Tensor) -> "_Weight":
        if tensor.is_inference():
            raise CaptureError(
                "torch.compile: a weight was made under torch.inference_mode(), so PyTorch does not count its changes; "
                "make or load the model outside"
            )
        return cls(position, tensor, tensor._version, tensor.data_ptr())

    def unchanged(self) -> bool:
        return self.tensor._version == self.version and self.tensor.data_ptr() == self.address

    def given(self, args: Sequence[Any]) -> bool:
        return self.position is None or args[self.position] is self.tensor


@dataclass(frozen=True)
class _Entry:
    """The graph compiled for one set of weights and values; and for sizes of the data, if ``shapes`` is given."""

    model: Callable[..., Any]
    weights: tuple[_Weight, ...]
    values: tuple[Any, ...]
    shapes: tuple[torch.Size, ...] | None

    def fits(self, args: Sequence[Any], values: tuple[Any, ...], shapes: tuple[torch.Size, ...]) -> bool:
        if self.values != values or self.shapes not in (None, shapes):
            return False
        return all(weight.given(args) and weight.unchanged() for weight in self.weights)


class CompiledGraph:
    """What Dynamo calls with the graph's arguments; it returns the graph's results.

    Raises:
        InputError: an index is out of range.
        L0CompileError: without ``fallback``: a later compilation failed.
    """

    def __init__(
        self, graph_module: fx.GraphModule, inputs: Inputs, outputs: Outputs, options: Mapping[str, Any]
    ) -> None:
        self._graph_module, self._inputs, self._outputs = graph_module, inputs, outputs
        self._options = {name: options[name] for name in ("target", "verify", "engine", "threads")}
        self._fallback = bool(options["fallback"])
        self._views = fx.GraphModule({}, outputs.views)
        self._entries: list[
            _Entry
        ] = []  # those for exact sizes first: they are there because the others refused
        self._lock = threading.Lock()
        self._pytorch_only = False
        placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
        self._dynamic = _dynamic_shapes([placeholders[position] for position in inputs.data])

    def prepare(self, args: Sequence[Any]) -> None:
        """Compile for these arguments.

        Raises:
            CaptureError: the graph cannot be exported; PyTorch must run it.
            BuildError: it holds an operator without code.
            RewriteError: its compiled answers differ from its own.
        """
        self._add(args, static=False)

    def __call__(self, *args: Any) -> Any:
        entry = self._find(args) or self._compile(args, static=False)
        if entry is None:
            return self._graph_module.forward(*args)
        data = [args[position] for position in self._inputs.data]
        try:
            results = entry.model(*data)
        except InputError:
            if entry.shapes is not None:
                raise
            # Tracing may have taken more for granted about the sizes than Dynamo checks.
            entry = self._compile(args, static=True)
            if entry is None:
                return self._graph_module.forward(*args)
            results = entry.model(*data)
        return self._views.forward(*args, *results)

    def _find(self, args: Sequence[Any]) -> _Entry | None:
        values = self._values(args)
        shapes = tuple(args[position].shape for position in self._inputs.data)
        return next((entry for entry in self._entries if entry.fits(args, values, shapes)), None)

    def _compile(self, args: Sequence[Any], static: bool) -> _Entry | None:
        """Return a new entry; None if PyTorch must run the graph from now on."""
        with self._lock:
            if self._pytorch_only:
                return None
            try:
                return self._add(args, static)
            except (CaptureError, BuildError, RewriteError) as error:
                if not self._fallback:
                    raise
                self._pytorch_only = True
                self._entries = []
                _log.warning("one graph runs in PyTorch from now on: %s", error)
                return None

    def _add(self, args: Sequence[Any], static: bool) -> _Entry:
        kept = [entry for entry in self._entries if all(weight.unchanged() for weight in entry.weights)]
        if len(kept) >= _MOST:
            raise CaptureError(f"torch.compile: compiled for {_MOST} sets of weights and numbers already")
        # Dynamo's own tracing state would leak into the export.
        with torch.inference_mode(False), torch.no_grad(), torch._guards.tracing(None):
            model, general = self._model(args, None if static else self._dynamic)
        shapes = None if general else tuple(args[position].shape for position in self._inputs.data)
        entry = _Entry(model, self._weights(args), self._values(args), shapes)
        self._entries = [*kept, entry] if general else [entry, *kept]
        return entry

    def _model(self, args: Sequence[Any], dynamic: Any) -> tuple[Callable[..., Any], bool]:
        """Return the compiled model, and whether it takes all the sizes that Dynamo may send."""
        data = [_ordinary(args[position]) for position in self._inputs.data]
        module = Inference(self._graph_module, self._inputs, self._outputs.computed, args)
        try:
            return self._without_state(module, data, dynamic), dynamic is self._dynamic
        except CaptureError:
            if dynamic is None:
                raise
            return self._without_state(module, data, None), False

    def _without_state(self, module: Inference, data: Sequence[torch.Tensor], dynamic: Any) -> CompiledModel:
        model = compile(module, data, dynamic_shapes=dynamic, **self._options)
        if model.state:  # of the copy: the user's own buffers would stay what they are
            raise CaptureError(f"torch.compile: a graph that changes its buffers {list(model.state)}")
        return model

    def _weights(self, args: Sequence[Any]) -> tuple[_Weight, ...]:
        given = [_Weight.watch(position, args[position]) for position in self._inputs.weights]
        own = [*self._graph_module.parameters(), *self._graph_module.buffers()]
        return (*given, *(_Weight.watch(None, tensor) for tensor in own))

    def _values(self, args: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(number(args[position]) for position in self._inputs.values)


def _dynamic_shapes(data: Sequence[fx.Node]) -> dict[str, Any] | None:
    """Return the dimensions with a symbol of Dynamo, as ``compile`` takes them; None if all sizes are fixed.

    Not all of them can vary: ``torch.compile(dynamic=True)`` makes a symbol even of the width of a linear layer.
    """
    specs: list[dict[int, Any]] = []
    for node in data:
        sizes = enumerate(node.meta["example_value"].shape)
        specs.append({axis: Dim.AUTO for axis, size in sizes if isinstance(size, torch.SymInt)})
    return {"data": tuple(spec or None for spec in specs)} if any(specs) else None


def _ordinary(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor; a copy that tracing can record, if it was made under inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
