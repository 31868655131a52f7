"""What an engine is asked to run: a model and its inputs, by names that another process can load."""

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

ENGINES = (
    "pytorch", "torch.compile", "onnxruntime", "openvino", "openvino-bf16", "l0compile", "openvino-int8",
    "onnxruntime-int8",
)  # fmt: skip
READ_ONNX = ("onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "onnxruntime-int8")
"""Engines that read an ONNX file; those of int8 read what ``quantize_for_...`` has made of one."""


@dataclass(frozen=True)
class Workload:
    """A model with inputs. Which fields are needed depends on the engine.

    Attributes:
        factory: ``package.module:function`` or ``FILE.py:function``, which returns ``(nn.Module, args)`` or
            ``(nn.Module, args, kwargs)``; needed by "pytorch" and "torch.compile".
        factory_kwargs: its arguments, JSON values.
        onnx_path: ONNX file, as ``export_onnx`` writes; needed by the engines of ONNX Runtime and OpenVINO; for the
            latter also its own .xml. For "openvino-int8" and "onnxruntime-int8" it is quantised.
        artifact: saved compiled model; needed by "l0compile".
        inputs_path: .safetensors or .npz file of tensors named like the model's arguments; default: the factory's
            inputs.
        command: starts a worker for an engine that is not ours, in any environment; it speaks the lines of
            ``l0compile.measurement.worker``, and checks its own needs.
        device: ``rpc://HOST:PORT/KEY`` of the device that runs the saved model; for "l0compile" only.
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
        """Check that the workload has what ``engine`` needs.

        Raises:
            ConfigError: it lacks something.
        """
        if self.command is not None:
            return
        if engine not in ENGINES:
            raise ConfigError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
        if self.device is not None and engine != "l0compile":
            raise ConfigError(f"workload: only saved models run on a device, engine {engine!r} does not")
        needed = {**dict.fromkeys(READ_ONNX, "onnx_path"), "l0compile": "artifact"}.get(engine, "factory")
        if getattr(self, needed) is None:
            hint = "; write one with export_onnx" if needed == "onnx_path" else ""
            raise ConfigError(f"workload: engine {engine!r} needs {needed}, got None{hint}")
        if self.factory is None and self.inputs_path is None:
            raise ConfigError("workload: expected inputs from factory or inputs_path, both are None")


def call_factory(workload: Workload) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return (model, args, kwargs) of the factory.

    Raises:
        ConfigError: the factory cannot be loaded, or returns something else.
    """
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
    """Return tensors by argument name; None without ``inputs_path``.

    Raises:
        StorageError: the file cannot be read.
    """
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
