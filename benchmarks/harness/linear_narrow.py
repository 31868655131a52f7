"""A dense linear layer of narrow numbers in other engines: activations in rows, weights packed by the engine.

Of int8, every engine gets uint8 activations with one scale, int8 weights with a scale for each row, and gives float32,
as our kernel does. Of bfloat16, activations are float32 where the engine rounds them itself, and bfloat16 for oneDNN.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]
ENGINES = {"int8": ("onnxruntime", "openvino", "onednn"), "bfloat16": ("openvino", "onednn")}


def prepare(numbers: str, engine: str, shape: tuple[int, int], tokens: int, threads: int) -> Call:
    """Return the call to time; ``engine`` is one of ``ENGINES[numbers]``."""
    random = np.random.default_rng(0)
    (n, k), bias = shape, random.standard_normal(shape[0], np.float32)
    if numbers == "int8":
        weight = random.integers(-127, 128, (n, k)).astype(np.int8)
        x, scale = random.integers(0, 256, (tokens, k)).astype(np.uint8), np.full(n, 0.01, np.float32)
        return _INT8[engine](weight, scale, bias, x, threads)
    weight, x = random.standard_normal((n, k), np.float32), random.standard_normal((tokens, k), np.float32)
    return _BFLOAT16[engine](weight, bias, x, threads)


def _onednn_int8(weight: Any, scale: Any, bias: Any, x: Any, threads: int) -> Call:
    import torch
    import torch.ao.quantization  # registers the operators

    torch.set_num_threads(threads)
    packed = torch.ops.onednn.qlinear_prepack(torch.from_numpy(weight), list(x.shape))
    scales, zeros = torch.from_numpy(scale), torch.zeros(len(scale), dtype=torch.int64)
    qx, b = torch.from_numpy(x), torch.from_numpy(bias)
    float32 = torch.float32

    def call() -> Any:
        with torch.inference_mode():
            return torch.ops.onednn.qlinear_pointwise(
                qx, 0.02, 120, packed, scales, zeros, b, 1.0, 0, float32, "none", [], ""
            )

    return call


def _int8_model(weight: Any, scale: Any, bias: Any, x: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    (n, k), tokens = weight.shape, x.shape[0]
    constants = {
        "w": np.ascontiguousarray(weight.T),
        "s": scale * np.float32(0.02),
        "b": bias,
        "xz": np.uint8(120),
    }
    # ONNX Runtime joins these into one operator; with DequantizeLinear instead it multiplies float32 numbers.
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w", "xz"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "s"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [tokens, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [tokens, n])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    data: bytes = model.SerializeToString()
    return data


def _onnxruntime_int8(weight: Any, scale: Any, bias: Any, x: Any, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    data = _int8_model(weight, scale, bias, x)
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def _openvino_int8(weight: Any, scale: Any, bias: Any, x: Any, threads: int) -> Call:
    """As NNCF writes it: the activation is rounded on the way in, by a FakeQuantize of 256 levels."""
    import openvino
    from openvino import opset13 as op

    low, high = np.float32(-120 * 0.02), np.float32(135 * 0.02)
    given = op.parameter(list(x.shape), np.float32, name="x")
    rounded = op.fake_quantize(given, low, high, low, high, 256)
    numbers = op.multiply(op.convert(op.constant(weight), np.float32), op.constant(scale[:, None]))
    y = op.add(op.matmul(rounded, numbers, False, True), op.constant(bias[None]))
    model = openvino.Model([y], [given], "linear")
    return _request(model, (x.astype(np.float32) - 120) * np.float32(0.02), threads, "f32")


def _openvino_bfloat16(weight: Any, bias: Any, x: Any, threads: int) -> Call:
    import openvino
    from openvino import opset13 as op

    given = op.parameter(list(x.shape), np.float32, name="x")
    y = op.add(op.matmul(given, op.constant(weight), False, True), op.constant(bias[None]))
    return _request(openvino.Model([y], [given], "linear"), x, threads, "bf16")


def _request(model: Any, x: Any, threads: int, hint: str) -> Call:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint,
    }  # fmt: skip
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)


def _onednn_bfloat16(weight: Any, bias: Any, x: Any, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    arrays = [torch.from_numpy(array).bfloat16() for array in (weight, bias, x)]
    packed = torch.ops.mkldnn._reorder_linear_weight(arrays[0], x.shape[0])

    def call() -> Any:
        with torch.inference_mode():
            return torch.ops.mkldnn._linear_pointwise(arrays[2], packed, arrays[1], "none", [], "")

    return call


_INT8: dict[str, Callable[..., Call]] = {
    "onnxruntime": _onnxruntime_int8, "openvino": _openvino_int8, "onednn": _onednn_int8,
}  # fmt: skip
_BFLOAT16: dict[str, Callable[..., Call]] = {"openvino": _openvino_bfloat16, "onednn": _onednn_bfloat16}
