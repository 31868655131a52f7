"""The dense model that a user would make instead: int8 by NNCF, for OpenVINO."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from l0compile.errors import MissingDependency


def quantize_for_openvino(
    onnx: Path, calibration: Iterable[Mapping[str, Any]], target: Path, *, transformer: bool = True
) -> Path:
    """Quantise an ONNX file as NNCF's documentation says for its kind, and write OpenVINO's own format.

    Args:
        onnx: as ``export_onnx`` writes it.
        calibration: inputs by the names of the file, as NumPy arrays or PyTorch tensors; a few hundred.
        target: the .xml to write; the weights lie beside it.
        transformer: the model is a transformer, whose activations NNCF then smooths.

    Returns:
        ``target``, which the engine "openvino" takes as ``Workload.onnx_path``.

    Raises:
        MissingDependency: NNCF or OpenVINO is not installed.
    """
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise MissingDependency(
            f"quantising for OpenVINO needs nncf ({error}); run: pip install 'l0compile[int8]'"
        ) from error
    items = list(calibration)
    data = nncf.Dataset(
        items,
        lambda item: {name: getattr(value, "numpy", lambda v=value: v)() for name, value in item.items()},
    )
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    model = nncf.quantize(openvino.Core().read_model(onnx), data, model_type=kind, subset_size=len(items))
    openvino.save_model(model, target, compress_to_fp16=False)
    return target
