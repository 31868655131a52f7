"""Write a model as ONNX for the engines that read it."""

import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l0compile.errors import CaptureError, MissingDependency


def export_onnx(
    model: Any,
    args: Sequence[Any],
    path: str | Path,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: dict[str, Any] | tuple[Any, ...] | None = None,
) -> Path:
    """Export a model to an ONNX file. The inputs keep the names of the model's arguments.

    Args:
        model: an ``nn.Module``, which is in eval mode meanwhile, or an ExportedProgram.
        args: tensors by position.
        path: the file to write.
        kwargs: tensors by name.
        dynamic_shapes: as for ``torch.export``.

    Raises:
        MissingDependency: onnx or onnxscript is not installed.
        CaptureError: PyTorch cannot export the model.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingDependency(
                f"exporting ONNX needs onnx and onnxscript ({error}); run: pip install onnx onnxscript"
            ) from error
    import torch

    path, module = Path(path), isinstance(model, torch.nn.Module)
    training = module and model.training
    if module:
        model.eval()
    try:
        with torch.no_grad(), _quiet():
            torch.onnx.export(
                model,
                tuple(args),
                str(path),
                kwargs=dict(kwargs or {}),
                dynamo=True,
                dynamic_shapes=dynamic_shapes,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise CaptureError(f"ONNX export of {type(model).__name__} failed: {error}") from error
    finally:
        if module:
            model.train(training)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on packages and constants that this model does not need."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
