"""The compiled model: called like the PyTorch model it came from, on torch tensors."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile._tvm import relax, runtime, tvm
from l0compile.account import Explanation, Profile
from l0compile.artifact import dump_spec, dump_target, example_leaves, example_sizes, write_bundle
from l0compile.errors import InputError
from l0compile.runtime.profile import attribute, time_call, time_functions, worker_threads
from l0compile.runtime.signature import Signature
from l0compile.targets import Target

_ALIGNMENT = 64  # kernels load whole cache lines
_PROFILE_SECONDS = 0.5  # of back-to-back calls


class CompiledModel:
    """Runs a compiled program. Calls from several threads are served one after the other: each uses all cores.

    Outputs are new tensors with the structure that the original model returns. Inference only: no autograd.
    """

    def __init__(
        self,
        executable: Any,
        parameters: Mapping[str, Tensor],
        signature: Signature,
        target: Target,
        explanation: Explanation,
        facts: Mapping[str, Any],
    ) -> None:
        """``parameters``: name -> tensor in the order the executable takes them. ``facts``: JSON for the manifest."""
        self.signature, self.target = signature, target
        self._executable, self._explanation, self._facts = executable, explanation, dict(facts)
        self._parameters = {name: _aligned(tensor.detach()) for name, tensor in parameters.items()}
        self._bundle = [runtime.from_dlpack(tensor) for tensor in self._parameters.values()]
        self._main = relax.VirtualMachine(executable, tvm.cpu())["main"]
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. Raises InputError for a wrong structure, shape, dtype or index; nothing has run then."""
        inputs = self._inputs(self.signature.flatten(args, kwargs))
        with self._lock:
            results = self._main(*inputs, self._bundle)
        return self.signature.unflatten([torch.utils.dlpack.from_dlpack(result) for result in results])

    def explain(
        self,
        measure: bool = False,
        *,
        sizes: Mapping[str, int] | None = None,
        dense: "CompiledModel | None" = None,
    ) -> Explanation:
        """What was done to the model, region by region, and how its answers were checked.

        Args:
            measure: also time each region in this process (about a second), on made-up inputs.
            sizes: with ``measure``: size of dynamic dimensions by name; others are those of the compile-time example.
            dense: with ``measure``: the same model compiled with ``ignore_zeros=True``, to measure what each region
                took before; without it that is predicted from the shapes and the target's table.

        Raises: ConfigError for an unknown size. InputError for sizes that the model does not take.
        """
        if not measure:
            return self._explanation
        leaves = self._made_up(sizes or {})
        before = None if dense is None else dense._profile(leaves)
        return replace(self._explanation, profile=self._profile(leaves), dense_profile=before)

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """One call taken apart: the time of each kernel and operator, in the order in which they run.

        Takes what the model takes, or nothing: then inputs are made up, of the sizes of the compile-time example.
        Raises InputError as a call does.
        """
        given = bool(args or kwargs)
        return self._profile(self.signature.flatten(args, kwargs) if given else self._made_up({}))

    def _made_up(self, sizes: Mapping[str, int]) -> list[Tensor]:
        items, labels = [vars(item) for item in self.signature.inputs], self.signature.labels
        leaves = example_leaves(items, labels, {**example_sizes(items, labels), **sizes}, "model")
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self.signature.in_spec)
        return self.signature.flatten(args, kwargs)

    def _profile(self, leaves: list[Tensor]) -> Profile:
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self.signature.in_spec)
        total, repeats = time_call(lambda: self(*args, **kwargs), _PROFILE_SECONDS)
        with self._lock:
            times = time_functions(self._executable, [*self._inputs(leaves), self._bundle], repeats)
        sizes = {
            self.signature.labels.get(dim, dim): int(size)
            for spec, leaf in zip(self.signature.inputs, leaves, strict=True)
            for dim, size in zip(spec.shape, leaf.shape, strict=True)
            if isinstance(dim, str) and dim != "?"
        }
        functions = attribute(times, self._explanation.launches)
        return Profile(sizes, worker_threads(self.target.cores), total, functions)

    def _inputs(self, leaves: list[Tensor]) -> list[Any]:
        return [runtime.from_dlpack(_aligned(leaf.detach())) for leaf in leaves]

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``save`` writes beside weights and code: JSON values only."""
        s = self.signature
        return {
            "target": dump_target(self.target),
            "inputs": [vars(i) for i in s.inputs],
            "outputs": [vars(o) for o in s.outputs],
            "in_spec": dump_spec(s.in_spec),
            "out_spec": dump_spec(s.out_spec),
            "symbols": {name: list(bounds) for name, bounds in s.symbols.items()},
            "labels": dict(s.labels),
            "conditions": list(s.conditions),
            "parameters": list(self._parameters),
            "explanation": self._explanation.to_json(),
            **self._facts,
        }

    def save(self, path: str | Path) -> None:
        """Write the model as an artifact folder (manifest, weights, library). Raises ArtifactError; see artifact."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "lib.so"
            self._executable.export_library(str(library))
            write_bundle(path, self.manifest, self._parameters, library)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor itself if its memory can be read as it is, else a copy."""
    if tensor.is_contiguous() and tensor.data_ptr() % _ALIGNMENT == 0:
        return tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
    copy.copy_(tensor)
    if copy.numel() and copy.data_ptr() % _ALIGNMENT:
        raise InputError(
            f"torch allocates at {copy.data_ptr() % _ALIGNMENT} bytes past a cache line; expected aligned memory"
        )
    return copy
