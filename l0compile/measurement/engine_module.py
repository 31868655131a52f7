"""A file of another engine as a module in this process: for its answers, never for its time."""

import torch
from torch import Tensor, nn

from l0compile.errors import InputError
from l0compile.hardware.process import denormal_mode_restored
from l0compile.hardware.targets import available_cores
from l0compile.measurement.engines import onnxruntime_session, openvino_model


class EngineModule(nn.Module):
    """Calls an engine with positional tensors, and returns its first output."""

    def __init__(self, engine: str, path: str) -> None:
        """Load ``path``.

        Args:
            engine: one of ``ENGINES`` that read ONNX files.
            path: what it reads, as ``Workload.onnx_path``.

        Raises:
            MissingDependency: the engine is not installed.
        """
        super().__init__()
        with denormal_mode_restored():
            if engine.startswith("openvino"):
                precision = "bf16" if engine == "openvino-bf16" else "f32"
                compiled = openvino_model(path, available_cores(), precision)
                self._names = [port.get_any_name() for port in compiled.inputs]
                self._call = lambda feeds: compiled(feeds)[compiled.output(0)]
            else:
                session = onnxruntime_session(path, available_cores())
                self._names = [value.name for value in session.get_inputs()]
                self._call = lambda feeds: session.run(None, feeds)[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the first output.

        Raises:
            InputError: there are more or fewer inputs than the file has.
        """
        if len(inputs) != len(self._names):
            raise InputError(f"engine: expected {len(self._names)} tensors, got {len(inputs)}")
        arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
        with denormal_mode_restored():
            return torch.from_numpy(self._call(dict(zip(self._names, arrays, strict=True))).copy())
