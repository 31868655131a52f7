"""A dense linear layer in other engines: activations in rows, weights packed by the engine."""

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


def prepare(engine: str, shape: tuple[int, int], tokens: int, threads: int) -> Call:
    """Return the call to time; ``engine`` is one of ``linear_grid.ENGINES``."""
    random = np.random.default_rng(0)
    n, k = shape
    weight = random.standard_normal((n, k), np.float32)
    bias, x = random.standard_normal(n, np.float32), random.standard_normal((tokens, k), np.float32)
    return {"onednn": _onednn, "onnxruntime": _onnxruntime, "openvino": _openvino}[engine](
        weight, bias, x, threads
    )


def _onednn(weight: Any, bias: Any, x: Any, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    arrays = [torch.from_numpy(array) for array in (weight, bias, x)]
    packed = torch.ops.mkldnn._reorder_linear_weight(arrays[0], x.shape[0])

    def call() -> Any:
        with torch.inference_mode():
            return torch.ops.mkldnn._linear_pointwise(arrays[2], packed, arrays[1], "none", [], "")

    return call


def _model(weight: Any, bias: Any, x: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    (n, k), tokens = weight.shape, x.shape[0]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [tokens, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [tokens, n])],
        [
            numpy_helper.from_array(np.ascontiguousarray(weight.T), "w"),
            numpy_helper.from_array(bias, "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    data: bytes = model.SerializeToString()
    return data


def _onnxruntime(weight: Any, bias: Any, x: Any, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(_model(weight, bias, x), options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def _openvino(weight: Any, bias: Any, x: Any, threads: int) -> Call:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32",
    }  # fmt: skip
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(_model(weight, bias, x), b""), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer({"x": x}, share_inputs=True, share_outputs=True)
