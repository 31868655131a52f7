"""The dense model that a user would make instead: int8 by NNCF, for OpenVINO."""

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from l0compile.errors import MissingDependency
from l0compile.hardware.process import denormal_mode_restored


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
    with denormal_mode_restored(), _quiet():
        model = nncf.quantize(openvino.Core().read_model(onnx), data, model_type=kind, subset_size=len(items))
    openvino.save_model(model, target, compress_to_fp16=False)
    return target


def with_sizes(model: Path, sizes: Sequence[Sequence[int]], target: Path) -> Path:
    """Cut a model that takes inputs of any size to one, at which OpenVINO is faster.

    Args:
        model: an .xml of OpenVINO.
        sizes: of each input, in the order of the file.
        target: the .xml to write.

    Raises:
        MissingDependency: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(f"this needs openvino ({error}); run: pip install openvino") from error
    found = openvino.Core().read_model(model)
    found.reshape({port: list(size) for port, size in zip(found.inputs, sizes, strict=True)})
    openvino.save_model(found, target, compress_to_fp16=False)
    return target


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's remarks and bars off the standard output, which may hold what a command prints as JSON."""
    log = logging.getLogger("nncf")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
