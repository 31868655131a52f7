"""Turn an engine and a workload into a call without arguments; runs inside the worker process.

Every engine computes in float32, unless its name or its file says otherwise, with the same number of threads, at its
strongest documented setting for latency: a baseline that is slower than it need be would make a speed-up worthless.
"""

import gc
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import l0compile  # its names load lazily: no other engine's process may load TVM
from l0compile.errors import DataError, L0CompileError, MissingDependency
from l0compile.measurement.workload import Workload, call_factory, load_inputs

EngineCall = Callable[[], Any]


def prepare(engine: str, workload: Workload, threads: int) -> EngineCall:
    """Return the call to time. An error that the engine itself raises passes through.

    Args:
        engine: one of ``ENGINES``.
        workload: the model and its inputs.
        threads: that the engine may use.

    Raises:
        MissingDependency: the engine's package is not installed.
        ConfigError: the workload lacks what the engine needs.
        DataError: the inputs do not fit the model.
    """
    workload.check(engine)
    return _PREPARE[engine](workload, threads)


def _pytorch(workload: Workload, threads: int) -> EngineCall:
    import torch

    model, args, kwargs = _module(workload)

    def call() -> Any:
        with torch.inference_mode():
            return model(*args, **kwargs)

    return call


def _torch_compile(workload: Workload, threads: int) -> EngineCall:
    import torch
    import torch._inductor.config as inductor

    # Packs the constant weights for oneDNN, as the other engines do when they load a model; needs no_grad.
    inductor.freezing = True
    model, args, kwargs = _module(workload)
    compiled = torch.compile(model, dynamic=False)

    def call() -> Any:
        with torch.no_grad():
            return compiled(*args, **kwargs)

    return call


def _onnxruntime(workload: Workload, threads: int) -> EngineCall:
    session = onnxruntime_session(str(workload.onnx_path), threads)
    feeds = _feeds(workload, [value.name for value in session.get_inputs()])
    return lambda: session.run(None, feeds)


def onnxruntime_session(path: str, threads: int) -> Any:
    """Load an ONNX file into ONNX Runtime.

    Raises:
        MissingDependency: it is not installed.
    """
    ort = _import("onnxruntime", "onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _openvino(workload: Workload, threads: int, precision: str = "f32") -> EngineCall:
    compiled = openvino_model(str(workload.onnx_path), threads, precision)
    feeds = _feeds(workload, [port.get_any_name() for port in compiled.inputs])
    request = compiled.create_infer_request()
    return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)


def openvino_model(path: str, threads: int, precision: str) -> Any:
    """Load an ONNX file, or OpenVINO's own, into OpenVINO; ``precision`` is that of what the file has in float32.

    Raises:
        MissingDependency: it is not installed.
    """
    openvino = _import("openvino", "openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # Its default on CPUs with bfloat16 instructions is bfloat16, which would be another model.
        "INFERENCE_PRECISION_HINT": precision,
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    return openvino.Core().compile_model(path, "CPU", settings)


def _l0compile(workload: Workload, threads: int) -> EngineCall:
    assert workload.artifact is not None  # `prepare` has checked it
    model = l0compile.load(workload.artifact)
    inputs = load_inputs(workload)
    if inputs is not None:
        return lambda: model(**inputs)
    _, args, kwargs = call_factory(workload)
    return lambda: model(*args, **kwargs)


_PREPARE: Mapping[str, Callable[[Workload, int], EngineCall]] = {
    "pytorch": _pytorch,
    "torch.compile": _torch_compile,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino-bf16": lambda workload, threads: _openvino(workload, threads, "bf16"),
    "l0compile": _l0compile,
    "openvino-int8": _openvino,
    "onnxruntime-int8": _onnxruntime,
}


def _module(workload: Workload) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the model in eval mode, its positional inputs, and its inputs by name."""
    model, args, kwargs = call_factory(workload)
    inputs = load_inputs(workload)
    return (model.eval(), args, kwargs) if inputs is None else (model.eval(), (), inputs)


def _feeds(workload: Workload, names: list[str]) -> dict[str, Any]:
    """Return contiguous NumPy arrays by ONNX input name."""
    inputs = load_inputs(workload)
    if inputs is None:
        _, args, kwargs = call_factory(workload)
        gc.collect()  # the factory's model is not needed here and may be large
        inputs = _by_name(args, kwargs, names)
    missing = [name for name in names if name not in inputs]
    if missing:
        raise DataError(f"workload: input {missing[0]!r} is missing; found {', '.join(inputs)}")
    return {name: inputs[name].detach().contiguous().numpy() for name in names}


def _by_name(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Name the inputs of a factory as ONNX does: named ones keep their name, the others take the rest in order."""
    # Not at the top: a process that times another engine need not load PyTorch before it.
    from torch.utils._pytree import tree_leaves

    named = {name: value for name, value in kwargs.items() if name in names}
    rest = [value for name, value in kwargs.items() if name not in named]
    left = [name for name in names if name not in named]
    given = [leaf for leaf in tree_leaves((args, rest)) if hasattr(leaf, "detach")]
    if len(given) != len(left):
        raise DataError(
            f"workload: the ONNX file takes {', '.join(names)}, the factory gives {len(given) + len(named)} tensors"
        )
    return {**named, **dict(zip(left, given, strict=True))}


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"timing this engine needs {package} ({error}); run: pip install {package}"
        ) from error


def describe_error(error: Exception) -> str:
    """Return the text of an error of ours, and type and text of any other."""
    return str(error) if isinstance(error, L0CompileError) else f"{type(error).__name__}: {error}"
