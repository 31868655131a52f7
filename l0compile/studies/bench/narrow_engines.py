"""The dense model in narrow numbers, as a user of another engine would make it: its files, and its quality."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import DataError
from l0compile.measurement import (
    EngineModule,
    export_onnx,
    quantize_for_onnxruntime,
    quantize_for_openvino,
    with_sizes,
)
from l0compile.tasks import Task

# Calibration data of NNCF, whose documentation asks for some hundreds of items.
_BATCHES, _ITEMS = 16, 300


@dataclass(frozen=True)
class NarrowFiles:
    """Makes the files of engines that compute in int8 or bfloat16, each at its first use; they lie in ``folder``."""

    task: Task
    folder: Path

    def dense(self) -> Path:
        """Return the file of the float32 model for the example's sizes.

        Raises:
            L0CompileError: it can't be exported.
        """
        file = self.folder / "dense.onnx"
        if not file.exists():
            export_onnx(self.task.dense(), self.task.example(), file)
        return file

    def timed(self, engine: str) -> Path:
        """Return the file whose latency counts, for the example's sizes.

        Raises:
            L0CompileError: it can't be made.
        """
        match engine:
            case "openvino-int8":
                return self._openvino_int8()
            case "onnxruntime-int8":
                return self._onnxruntime_int8(self.dense())
            case _:
                return self.dense()

    def quality(self, engine: str) -> float | None:
        """Return the quality on held-out data of the file of an engine; None if it takes the example's sizes only."""
        if self.task.dynamic_shapes() is None:
            return None
        match engine:
            case "openvino-int8":
                file = self._any_openvino_int8()
            case "onnxruntime-int8":
                file = self._onnxruntime_int8(self._any_size())
            case _:
                file = self._any_size()
        return self.task.quality(EngineModule(engine, str(file)), "held_out")

    def _any_size(self) -> Path:
        file = self.folder / "any-size.onnx"
        if not file.exists():
            export_onnx(
                self.task.dense(), self.task.example(), file, dynamic_shapes=self.task.dynamic_shapes()
            )
        return file

    def _onnxruntime_int8(self, onnx: Path) -> Path:
        file = onnx.with_name(f"{onnx.stem}-onnxruntime-int8.onnx")
        return file if file.exists() else quantize_for_onnxruntime(onnx, file)

    def _any_openvino_int8(self) -> Path:
        file = self.folder / "any-size-openvino-int8.xml"
        return file if file.exists() else quantize_for_openvino(self._any_size(), self._calibration(), file)

    def _openvino_int8(self) -> Path:
        file = self.folder / "openvino-int8.xml"
        if file.exists():
            return file
        sizes = [tuple(tensor.shape) for tensor in self.task.example()]
        if self.task.dynamic_shapes() is not None:
            return with_sizes(self._any_openvino_int8(), sizes, file)
        fitting = [item for item in self._calibration() if [tuple(x.shape) for x in item.values()] == sizes]
        if not fitting:
            raise DataError(
                f"{self.folder.name}: expected calibration data of the size whose latency counts, {sizes}, got none; "
                "give the task dynamic_shapes, or such data"
            )
        return quantize_for_openvino(self.dense(), fitting, file)

    def _calibration(self) -> list[Mapping[str, Tensor]]:
        """Return single items by the names of the model's arguments, without padding."""
        names = [*signature(self.task.dense().forward).parameters]
        return [dict(zip(names, item, strict=False)) for item in islice(_items(self.task), _ITEMS)]


def _items(task: Task) -> Iterator[tuple[Tensor, ...]]:
    """Yield what the task calls its model with, item by item."""
    seen: list[tuple[Any, ...]] = []
    model = task.dense()
    model.register_forward_pre_hook(lambda _, args: seen.append(args))
    for batch in islice(task.calibration(), _BATCHES):
        with torch.no_grad():
            task.predict(model, batch)
    for args in seen:
        if not args or not all(isinstance(x, Tensor) for x in args):
            raise DataError(
                "search: expected a model that is called with tensors by position, got other arguments"
            )
        for row in range(len(args[0])):
            yield tuple(x[row : row + 1] for x in args)
