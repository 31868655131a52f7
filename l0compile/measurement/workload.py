"""What an engine is asked to run: a model and its inputs, named by things another process can load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from l0compile.errors import ConfigError, StorageError
from l0compile.frontend.user_functions import call_function
from l0compile.ir.codec import encode

ENGINES = ("pytorch", "torch.compile", "onnxruntime", "openvino", "l0compile")


@dataclass(frozen=True)
class Workload:
    """A model with inputs. Which fields are needed depends on the engine.

    ``factory``      "package.module:function" or "FILE.py:function"; called with ``factory_kwargs`` (JSON values) it
                     returns ``(nn.Module, args)`` or ``(nn.Module, args, kwargs)``: inputs by position, a tuple, and by
                     name, a dictionary. Needed by "pytorch" and "torch.compile".
    ``onnx_path``    ONNX file, needed by "onnxruntime" and "openvino"; ``export_onnx`` writes one.
    ``artifact``     saved compiled model, needed by "l0compile".
    ``inputs_path``  .safetensors or .npz file of tensors named as the model's arguments; without it the
                     inputs are those of the factory.
    ``device``       ``rpc://HOST:PORT/KEY``: where the saved model runs, instead of here; for "l0compile" only.
    ``command``      for an engine that is not one of ours: what starts a worker, in whatever environment, that speaks
                     the lines of ``l0compile.measurement.worker``. The worker checks its own needs.
    """

    factory: str | None = None
    factory_kwargs: Mapping[str, Any] = field(default_factory=dict)
    onnx_path: str | None = None
    artifact: str | None = None
    inputs_path: str | None = None
    command: tuple[str, ...] | None = None
    device: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values."""
        found: dict[str, Any] = encode(self)
        return found

    def check(self, engine: str) -> None:
        """Raise ``ConfigError`` when the workload lacks what ``engine`` needs."""
        if self.command is not None:
            return
        if engine not in ENGINES:
            raise ConfigError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
        if self.device is not None and engine != "l0compile":
            raise ConfigError(f"workload: only saved models run on a device, engine {engine!r} does not")
        needed = {"onnxruntime": "onnx_path", "openvino": "onnx_path", "l0compile": "artifact"}.get(
            engine, "factory"
        )
        if getattr(self, needed) is None:
            hint = "; write one with export_onnx" if needed == "onnx_path" else ""
            raise ConfigError(f"workload: engine {engine!r} needs {needed}, got None{hint}")
        if self.factory is None and self.inputs_path is None:
            raise ConfigError("workload: expected inputs from factory or inputs_path, both are None")


def call_factory(workload: Workload) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """(model, args, kwargs) of the factory. Raises ``ConfigError`` if it does not load or returns something else."""
    name = workload.factory or ""
    where, _, function = name.rpartition(":")
    if not (where and function):
        raise ConfigError(f"workload: factory: expected 'package.module:function', got {name!r}")
    made = call_function(name, "workload: factory", **workload.factory_kwargs)
    parts = (*made, {}) if isinstance(made, tuple) and len(made) == 2 else made
    if not (isinstance(parts, tuple) and len(parts) == 3):
        raise ConfigError(
            f"workload: factory {name!r}: expected (model, tuple of tensors), got {type(made).__name__}"
        )
    model, args, kwargs = parts
    if not (isinstance(args, tuple) and isinstance(kwargs, dict)):
        raise ConfigError(
            f"workload: factory {name!r}: expected (model, tuple, dict), got {[type(p).__name__ for p in parts]}"
        )
    return model, args, kwargs


def load_inputs(workload: Workload) -> dict[str, Any] | None:
    """Torch tensors by argument name, None without ``inputs_path``. Raises ``StorageError`` if unreadable."""
    if workload.inputs_path is None:
        return None
    path = Path(workload.inputs_path)
    try:
        return _read_tensors(path)
    except (OSError, ValueError, TypeError, BadZipFile, SafetensorError) as error:
        raise StorageError(f"workload: inputs_path {str(path)!r} cannot be read: {error}") from error


def _read_tensors(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    if path.suffix != ".npz":
        raise ValueError(f"expected a name ending in .safetensors or .npz, got {path.name!r}")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
