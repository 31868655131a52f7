"""The compiled model: called like the PyTorch model it came from, on torch tensors."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile._tvm import relax, runtime, tvm
from l0compile.artifact import dump_spec, dump_target, write_bundle
from l0compile.errors import InputError
from l0compile.runtime.explanation import Explanation
from l0compile.runtime.signature import Signature
from l0compile.targets import Target

_ALIGNMENT = 64  # kernels load whole cache lines


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
        leaves = self.signature.flatten(args, kwargs)
        inputs = [runtime.from_dlpack(_aligned(leaf.detach())) for leaf in leaves]
        with self._lock:
            results = self._main(*inputs, self._bundle)
        return self.signature.unflatten([torch.utils.dlpack.from_dlpack(result) for result in results])

    def explain(self) -> Explanation:
        """What was done to the model, region by region, and how its answers were checked."""
        return self._explanation

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
