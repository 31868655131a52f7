"""The dense model in the int8 that takes one call of ONNX Runtime: weights ahead of time, activations as they come."""

import logging
from pathlib import Path

from l0compile.errors import MissingDependency


def quantize_for_onnxruntime(onnx: Path, target: Path) -> Path:
    """Quantise an ONNX file dynamically, and write another.

    Args:
        onnx: as ``export_onnx`` writes it.
        target: the file to write.

    Returns:
        ``target``, which the engine "onnxruntime-int8" takes as ``Workload.onnx_path``.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
    """
    try:
        from onnxruntime.quantization import quantize_dynamic
    except ImportError as error:
        raise MissingDependency(
            f"quantising for ONNX Runtime needs onnxruntime and onnx ({error}); run: pip install 'l0compile[bench]'"
        ) from error
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises by the root logger to optimise a file that is optimised
    try:
        quantize_dynamic(onnx, target)
    finally:
        logging.disable(before)
    return target
