"""The compiled model: called on torch tensors, like the PyTorch model that it came from."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import ConfigError, InputError, TargetError
from l0compile.hardware.process import denormals_kept
from l0compile.hardware.targets import Target
from l0compile.ir.codec import encode
from l0compile.ir.records import EngineChoice
from l0compile.runtime.account import Explanation, FunctionTime, Profile
from l0compile.runtime.artifact import (
    example_leaves,
    example_sizes,
    pack,
    read_bundle,
    unpack,
    write_bundle,
)
from l0compile.runtime.module import InferenceModule
from l0compile.runtime.plan import StagePlan
from l0compile.runtime.profile import attribute, time_call, worker_threads
from l0compile.runtime.signature import Signature
from l0compile.runtime.state import ModelState
from l0compile.runtime.stored import dump_signature, read_signature

_PROFILE_SECONDS = 0.5  # of back-to-back calls
STATE = (
    "state/"  # before the name of a buffer, among the tensors of an artifact; no name in a model has a slash
)


class CompiledModel(InferenceModule):
    """Runs a compiled program.

    Calls of several threads are served one after the other, since each call uses all cores; with ``threads=1`` each
    call runs in its own thread, beside the others.

    Outputs are new tensors in the structure that the original model returns. There is no autograd. To code that
    expects an ``nn.Module`` it is one, see :class:`InferenceModule`. A copy or a pickle holds the saved artifact, so
    it runs where that runs; hooks are left behind. Unpickle only what you trust: it loads machine code.

    Buffers that the model changes are its state: one sequence of calls, by one thread. A call replaces them once it
    has succeeded; the first call of another thread raises StateError until ``reset_state``. An artifact holds their
    values at compile time, and each model loaded from it starts there: load it several times for several sequences.
    """

    def __init__(
        self,
        plan: StagePlan,
        signature: Signature,
        target: Target,
        explanation: Explanation,
        facts: Mapping[str, Any],
        threads: int | None = None,
        state: Sequence[Tensor] = (),
    ) -> None:
        """Put the parts of a compiled model together.

        Args:
            plan: its stages.
            signature: what calls are checked against.
            target: what its code is made for.
            explanation: the account of what was done.
            facts: more JSON values for the manifest.
            threads: threads of a call; None: all.
            state: values of ``signature.state`` at compile time.

        Raises:
            ConfigError: a number of threads below 1.
        """
        check_threads(threads)
        super().__init__()
        self.signature, self.target = signature, target
        self._plan, self._explanation, self._facts = plan, explanation, dict(facts)
        self.threads = threads
        self._state = ModelState(signature.state, state) if state else None
        side_by_side = threads == 1 and self._state is None
        self._lock = nullcontext() if side_by_side else threading.Lock()
        plan.limit(threads)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model; arguments bind as in the ``forward`` of the original model, defaults included.

        Raises:
            InputError: a wrong structure, shape, dtype or index; nothing has run then.
            StateError: the sequence of another thread is under way.
        """
        leaves = self.signature.flatten(args, kwargs)
        with self._lock:
            results = self._plan(leaves) if self._state is None else self._state.run(self._plan, leaves)
        return self.signature.unflatten(results, leaves)

    def rehearse(self, *args: Any, **kwargs: Any) -> Any:
        """Run a call that starts from the state at compile time, and leave the state alone."""
        leaves = self.signature.flatten(args, kwargs)
        with self._lock:
            results = self._plan(leaves) if self._state is None else self._state.rehearse(self._plan, leaves)
        return self.signature.unflatten(results, leaves)

    @property
    def state(self) -> dict[str, Tensor]:
        """A copy of the buffers that calls change, by their names in the model."""
        with self._lock:
            return {} if self._state is None else self._state.current()

    def reset_state(self, state: Mapping[str, Tensor] | None = None) -> None:
        """Begin a new sequence, of whichever thread calls next.

        Args:
            state: values to start from; default: those at compile time.

        Raises:
            InputError: ``state`` has other buffers, shapes or types.
        """
        with self._lock:
            if self._state is not None:
                self._state.reset(state)
            elif state:
                raise InputError(f"reset_state: this model has no state, got {list(state)}")

    def explain(
        self,
        measure: bool = False,
        *,
        sizes: Mapping[str, int] | None = None,
        dense: "CompiledModel | None" = None,
    ) -> Explanation:
        """Tell what was done to the model, region by region, and how its answers were checked.

        Args:
            measure: also time each region in this process, on made-up inputs; this takes about a second.
            sizes: with ``measure``: sizes of dynamic dimensions by name; default: those of the example at compile
                time.
            dense: with ``measure``: the same model compiled with ``ignore_zeros=True``, to measure what each region
                took before; without it, that is predicted from the shapes and the target's table.

        Raises:
            ConfigError: there is no such size.
            InputError: the model does not take these sizes.
            TargetError: the model is for a GPU that is not here.
        """
        if not measure:
            return self._explanation
        leaves = self._made_up(sizes or {})
        before = None if dense is None else dense._profile(leaves)
        return replace(self._explanation, profile=self._profile(leaves), dense_profile=before)

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """Take one call apart: the time of each kernel and operator, in the order in which they run.

        Takes what the model takes; without arguments, inputs of the example's sizes are made up.

        Raises:
            InputError: as a call does.
            TargetError: the model is for a GPU that is not here.
        """
        given = bool(args or kwargs)
        return self._profile(self.signature.flatten(args, kwargs) if given else self._made_up({}))

    def _made_up(self, sizes: Mapping[str, int]) -> list[Tensor]:
        items, labels = [vars(item) for item in self.signature.inputs], self.signature.labels
        leaves = example_leaves(items, labels, {**example_sizes(items, labels), **sizes}, "model")
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self.signature.in_spec)
        return self.signature.flatten(args, kwargs)

    def _profile(self, leaves: list[Tensor]) -> Profile:
        device = self._plan.ready_to_time()
        leaves = [leaf.to(device) for leaf in leaves]
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self.signature.in_spec)

        def call() -> None:
            self.rehearse(*args, **kwargs)
            self._plan.wait()

        total, repeats = time_call(call, _PROFILE_SECONDS)
        functions: list[FunctionTime] = []
        with self._lock:
            stages = self._plan.times([*leaves, *(tensor.clone() for tensor in self._first)], repeats)
            self._plan.keep()
        for number, (times, record) in enumerate(zip(stages, self._explanation.stages, strict=True)):
            launches = [launch for launch in self._explanation.launches if launch.stage == number]
            if record.engine == "tvm":
                functions += attribute(times, launches)
            else:
                where = next((operator.source for operator in record.operators if operator.reason), None)
                name = f"island_{self._explanation.islands.index(record)}"
                functions.append(FunctionTime(name, "island", None, where, times[0][1]))
        sizes = {
            self.signature.labels.get(dim, dim): int(size)
            for spec, leaf in zip(self.signature.inputs, leaves, strict=True)
            for dim, size in zip(spec.shape, leaf.shape, strict=True)
            if isinstance(dim, str) and dim != "?"
        }
        workers = 1 if self.target.kind == "cuda" else worker_threads(self.target.cores)
        return Profile(sizes, self.threads or workers, total, tuple(functions))

    def chosen(self, choice: EngineChoice) -> "CompiledModel":
        """Return the same model with another account of why it runs in its engine."""
        account = replace(self._explanation, choice=choice)
        return CompiledModel(
            self._plan, self.signature, self.target, account, self._facts, self.threads, self._first
        )

    @property
    def _first(self) -> tuple[Tensor, ...]:
        """The state at compile time."""
        return () if self._state is None else self._state.initial

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights; shared storage counts once."""
        storages = [tensor.untyped_storage() for tensor in self._plan.constants.values()]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``save`` writes beside weights and code, as JSON values."""
        return {
            "target": encode(self.target),
            **dump_signature(self.signature),
            **self._plan.to_json(),
            "explanation": self._explanation.to_json(),
            "threads": self.threads,
            **self._facts,
        }

    @denormals_kept()  # weights are packed and unpacked by arithmetic
    def save(self, path: str | Path) -> None:
        """Write the model as an artifact folder: manifest, weights and libraries.

        Raises:
            ArtifactError: the disk is full, or ``path`` holds something else.
        """
        with tempfile.TemporaryDirectory() as folder:
            libraries = self._plan.export(Path(folder))
            names = [f"{STATE}{buffer.name}" for buffer in self.signature.state]
            tensors = {**self._plan.constants, **dict(zip(names, self._first, strict=True))}
            write_bundle(path, self.manifest, tensors, *libraries)

    def device_type(self) -> str:
        """Return the kind of device that it runs on, as PyTorch calls it."""
        return "cuda" if self.target.kind == "cuda" else "cpu"

    def emulated(self) -> "CompiledModel":
        """Return the same model for a GPU that this CPU emulates: very slow, with every access to memory checked.

        It takes CPU tensors, and needs g++ in place of a GPU. What it computes is what the code for the GPU computes,
        host code included, but for the order of sums in tensor cores.

        Raises:
            TargetError: the model is not for a GPU.
        """
        if self.target.kind != "cuda":
            raise TargetError(f"emulated: expected a model for a GPU, got target {self.target.name}")
        plan = self._plan.emulated()
        return CompiledModel(
            plan, self.signature, self.target, self._explanation, self._facts, state=self._first
        )

    def floating_types(self) -> set[torch.dtype]:
        """Return the types of inputs, results and weights."""
        items = (*self.signature.inputs, *self.signature.outputs)
        types = {getattr(torch, item.dtype) for item in items}
        types |= {tensor.dtype for tensor in self._plan.constants.values()}
        return {dtype for dtype in types if dtype.is_floating_point}

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(
                f"{item.name}: {item.dtype}[{', '.join(map(self._size, item.shape))}]" for item in items
            )
            for items in (self.signature.inputs, self.signature.outputs)
        )
        choice = self._explanation.choice
        engine = f"{choice.engine}, " if choice else ""
        return f"CompiledModel({inputs} -> {outputs}; {engine}{self.target.name}, {self.weight_bytes / 1e6:.3g} MB)"

    def _size(self, dim: int | str) -> str:
        return str(self.signature.labels.get(str(dim), dim))

    def __reduce__(self) -> tuple[Any, ...]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self.save(path)
            return _unpickled, (pack(path),)


def check_threads(threads: Any) -> None:
    """Check a number of threads.

    Raises:
        ConfigError: it is neither None nor a number from 1.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ConfigError(f"threads: expected None or a number from 1, got {threads!r}")


@denormals_kept()
def load(path: str | Path, threads: int | None = None) -> CompiledModel:
    """Load the model that ``CompiledModel.save`` wrote.

    Args:
        path: the artifact folder.
        threads: threads of a call; None: as it was compiled.

    Raises:
        ArtifactError: it is damaged, of another version, or made for another machine type.
        ConfigError: a number of threads below 1.
    """
    bundle = read_bundle(path)
    record = bundle.manifest
    signature = read_signature(record)
    return CompiledModel(
        StagePlan.from_json(record, bundle.constants, bundle.libraries, bundle.target),
        signature,
        bundle.target,
        Explanation.from_json(record["explanation"]),
        {"gate_rule": record["gate_rule"]},
        record["threads"] if threads is None else threads,
        [bundle.constants[f"{STATE}{buffer.name}"] for buffer in signature.state],
    )


def _unpickled(data: bytes) -> CompiledModel:
    with tempfile.TemporaryDirectory() as folder:
        unpack(data, Path(folder))
        return load(folder)
