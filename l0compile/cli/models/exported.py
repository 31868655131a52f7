"""Load ``.pt2`` files of ``torch.export.save``."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from l0compile.errors import ConfigError


class Called(nn.Module):
    """An exported program as a module. Unlike ``ExportedProgram.module()`` it has an ``eval()`` that works."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self._call = [program.module()]  # in a list, so that it is no submodule and its eval() is left alone

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the program returns."""
        return self._call[0](*args, **kwargs)


def load(name: str) -> tuple[ExportedProgram, tuple[Any, ...], dict[str, Any]]:
    """Return (program, args, kwargs): what ``torch.export.save`` wrote, and the inputs it was exported with.

    Reading such a file can run code in it: PyTorch evaluates its size expressions, and unpickles inputs that are not
    plain tensors. So, like a Python file, it must come from someone whom the user trusts. A file with pickled weights
    (tensor subclasses, objects of TorchScript) is refused unread.

    Raises:
        ConfigError: It is no such file, holds pickled weights, or lacks example inputs.
    """
    _refuse_pickles(name)
    try:
        program = torch.export.load(name)
    except Exception as error:  # PyTorch raises whatever its reader meets
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"model: {name}: torch.export.load failed: {reason[0]}") from error
    inputs = program.example_inputs
    if not inputs:
        raise ConfigError(f"model: {name}: was saved without example inputs; export it again with them")
    args, kwargs = inputs
    return program, tuple(args), dict(kwargs or {})


def _refuse_pickles(name: str) -> None:
    try:
        with zipfile.ZipFile(name) as archive:
            for file in archive.namelist():
                if Path(file).parent.name in ("weights", "constants") and file.endswith(".json"):
                    _check_payloads(name, json.loads(archive.read(file)))
    except (zipfile.BadZipFile, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"model: {name}: expected a file of torch.export.save: {error}") from error


def _check_payloads(name: str, config: dict[str, Any]) -> None:
    for tensor, payload in config["config"].items():
        if payload.get("use_pickle"):
            raise ConfigError(
                f"model: {name}: {tensor} is stored as a pickle, which may hold code; expected plain tensors. Export "
                "the model without tensor subclasses and script objects"
            )
