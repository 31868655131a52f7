"""Set the latency budget of a search on this machine."""

import importlib.util
from collections.abc import Mapping

from l0compile.errors import ConfigError, MissingDependency
from l0compile.measurement import Measurement
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.engines import DENSE, READ_ONNX, ROW_OF
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.constraints.yardstick import Yardstick
from l0compile.studies.space.space import Space

_NEEDS = {
    **{engine: (engine, "onnx", "onnxscript") for engine in READ_ONNX},
    "openvino-bf16": ("openvino", "onnx", "onnxscript"),
    "openvino-int8": ("openvino", "nncf", "onnx", "onnxscript"),
    "onnxruntime-int8": ("onnxruntime", "onnx", "onnxscript"),
}
"""Engine -> the packages that it takes."""


def budget_of(space: Space, measured: Mapping[str, Measurement], jobs: Mapping[str, Job]) -> DeviceBudget:
    """Set the latency budget from dense measurements; under a quality target it is the compiled dense model's latency.

    Raises:
        ConfigError: the reference could not be measured.
    """
    latency = space.latency
    if space.quality is not None and measured[DENSE].ok:
        return DeviceBudget(measured[DENSE].median_ms, 1.0, jobs[DENSE])
    if latency.ms is not None:
        there = measured[DENSE].ok
        return DeviceBudget(
            latency.ms, None, jobs[DENSE] if there else None, measured[DENSE].median_ms if there else None
        )
    name = ROW_OF[latency.reference]
    reference = measured[name]
    if not reference.ok:
        raise ConfigError(
            f"{space.name}: latency.reference: {latency.reference!r} could not be measured ({reference.error}); "
            'install it (pip install "l0compile[bench,int8]"), or set latency.ms, or reference = "l0compile", the '
            "compiled dense model"
        )
    yardstick = None
    if name != DENSE and measured[DENSE].ok:
        yardstick = Yardstick(jobs[DENSE])
        yardstick.add(reference, measured[DENSE])
    return DeviceBudget(latency.in_ms(reference.median_ms), latency.ratio, jobs[name], yardstick=yardstick)


def check_reference(space: Space, predicts: bool = False) -> None:
    """Check before anything is compiled or measured that the budget's reference can take part.

    Args:
        space: the search space.
        predicts: times are predicted for a GPU, where only our models can be.

    Raises:
        MissingDependency: one of its packages is not installed.
        ConfigError: predictions are not compared with it.
    """
    engine = space.latency.reference
    if predicts and space.quality is None and space.latency.ratio is not None and engine != "l0compile":
        raise ConfigError(
            f"{space.name}: latency.reference: there is no GPU here, so times are predicted; expected reference = "
            f'"l0compile", the dense model on the same card, or latency.ms, got {engine!r}'
        )
    if space.latency.ratio is None or engine not in _NEEDS:
        return
    missing = [name for name in _NEEDS[engine] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"{space.name}: latency.reference: {engine!r} needs {', '.join(missing)}; run: pip install "
            f'{" ".join(missing)}, or set latency.ms, or reference = "l0compile", the compiled dense model'
        )
