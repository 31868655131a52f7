"""One attention operator in every engine: its operands, and a call without arguments."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ENGINES = ("l0compile", "pytorch", "onnxruntime", "openvino")
Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """An attention operator to measure.

    ``mask`` is "full", "causal" or "padded", where the last i of (batch + 3) parts of the i-th sequence are padding.
    ``keys`` is the number of keys and values if it differs from that of the queries, as in a step of decoding.
    """

    dim: int
    heads: int
    kv_heads: int
    batch: int
    tokens: int
    mask: str
    keys: int = 0

    @property
    def name(self) -> str:
        shared = f"/{self.kv_heads}" if self.kv_heads != self.heads else ""
        keys = f" of {self.keys}" if self.keys else ""
        return f"{self.heads}{shared}x{self.dim} batch {self.batch} tokens {self.tokens}{keys} {self.mask}"

    @property
    def length(self) -> int:
        return self.keys or self.tokens

    @property
    def live(self) -> torch.Tensor:
        """Return a mask [batch, 1, 1, keys] of the keys that are not padding."""
        lost = torch.arange(1, self.batch + 1) * self.length // (self.batch + 3)
        return (torch.arange(self.length) < (self.length - lost)[:, None])[:, None, None, :]

    @property
    def flops(self) -> float:
        pairs = float(self.batch * self.tokens * self.length)
        if self.mask == "causal":
            pairs = self.batch * self.tokens * (self.tokens + 1) / 2
        elif self.mask == "padded":
            pairs = self.tokens * float(self.live.sum())
        return 4 * pairs * self.heads * self.dim


def build(cases: Iterable[Case], folder: Path) -> None:
    """Write kernels (one for all sizes) and ONNX files (one per case) to ``folder``."""
    from l0compile.hardware._tvm import tvm, tvm_target
    from l0compile.hardware.targets import load_target
    from l0compile.kernels import emit
    from l0compile.kernels.cpu.attention.spec import AttentionSpec
    from l0compile.kernels.cpu.mask import MaskSpec
    from l0compile.kernels.token_tile import token_tile

    folder.mkdir(parents=True, exist_ok=True)
    target = load_target("native")
    for case in cases:
        path = _kernel(case, folder)
        if not path.exists():
            mask = MaskSpec((True, False, False, True), True) if case.mask == "padded" else None
            spec = AttentionSpec(
                case.heads,
                case.kv_heads,
                case.dim,
                case.dim,
                case.dim**-0.5,
                None,
                0 if case.mask == "causal" else None,
                mask,
            )
            function = emit(spec, token_tile(target)).with_attr("global_symbol", "main")
            tvm.compile(function, target=tvm_target(target)).export_library(str(path))
        _write_onnx(case, folder)


def calls(engine: str, case: Case, folder: Path) -> Call | None:
    """Return the call to time, or None if the engine has no operator for the case."""
    torch.manual_seed(0)
    q = torch.randn(case.batch, case.tokens, case.heads * case.dim)
    k, v = (torch.randn(case.batch, case.length, case.kv_heads * case.dim) for _ in "kv")
    return _CALLS[engine](case, folder, q, k, v)


def _kernel(case: Case, folder: Path) -> Path:
    return folder / f"{case.heads}_{case.kv_heads}_{case.dim}_{case.mask}.so"


def _l0compile(case: Case, folder: Path, *rows: torch.Tensor) -> Call:
    from l0compile.hardware._tvm import runtime
    from l0compile.hardware.targets import load_target
    from l0compile.kernels.token_tile import token_tile

    lanes = token_tile(load_target("native")).lanes
    packed = [torch.ops.l0compile.pack(t, lanes) for t in rows]
    result = torch.empty_like(packed[0])
    operands = [*packed, *([case.live] if case.mask == "padded" else [])]
    given = [runtime.from_dlpack(t.contiguous()) for t in operands]
    function = runtime.load_module(str(_kernel(case, folder)))["main"]
    args = (*given, case.batch, case.tokens, case.length, runtime.from_dlpack(result))
    return lambda: function(*args)


def _heads(case: Case, t: torch.Tensor) -> torch.Tensor:
    return t.unflatten(-1, (-1, case.dim)).transpose(1, 2).contiguous()


def _pytorch(case: Case, folder: Path, *rows: torch.Tensor) -> Call:
    q, k, v = (_heads(case, t) for t in rows)
    mask = None
    if case.mask == "padded":  # as numbers, which is what it computes with
        mask = torch.zeros(case.live.shape).masked_fill(~case.live, float("-inf"))
        mask = mask.expand(-1, 1, case.tokens, -1)
    causal, shared = case.mask == "causal", case.heads != case.kv_heads

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, mask, is_causal=causal, enable_gqa=shared
            )

    return call


def _write_onnx(case: Case, folder: Path) -> None:
    """Write ONNX Runtime's own fused operator, or the standard one if heads are shared."""
    from onnx import TensorProto, helper, save

    ours = case.heads == case.kv_heads
    features = {"q": case.heads, "k": case.kv_heads, "v": case.kv_heads}
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [case.batch, case.tokens if name == "q" else case.length, n * case.dim]
        )
        for name, n in features.items()
    ]
    names = ["q", "k", "v"]
    if case.mask == "padded":
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT32, [case.batch, case.length]))
        names += ["", "mask"]
    causal = int(case.mask == "causal")
    if ours:
        node = helper.make_node(
            "MultiHeadAttention",
            names,
            ["y"],
            domain="com.microsoft",
            num_heads=case.heads,
            unidirectional=causal,
        )
    else:
        node = helper.make_node(
            "Attention", names, ["y"], q_num_heads=case.heads, kv_num_heads=case.kv_heads, is_causal=causal
        )
    output = helper.make_tensor_value_info(
        "y", TensorProto.FLOAT, [case.batch, case.tokens, case.heads * case.dim]
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "attention", inputs, [output]), opset_imports=opsets)
    model.ir_version = 10
    save(model, folder / f"{case.name.replace('/', '_')}.onnx")


def _onnxruntime(case: Case, folder: Path, *rows: torch.Tensor) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
    path = folder / f"{case.name.replace('/', '_')}.onnx"
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = dict(zip("qkv", (t.numpy() for t in rows), strict=True))
    if case.mask == "padded":
        feeds["mask"] = case.live.reshape(case.batch, -1).int().numpy()
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)


def _openvino(case: Case, folder: Path, *rows: torch.Tensor) -> Call | None:
    import openvino
    from openvino import opset13

    if case.heads != case.kv_heads:
        return None
    arrays = [_heads(case, t).numpy() for t in rows]
    if case.mask == "padded":
        arrays.append(torch.zeros(case.live.shape).masked_fill(~case.live, float("-inf")).numpy())
    inputs = [opset13.parameter(array.shape, openvino.Type.f32) for array in arrays]
    node = opset13.scaled_dot_product_attention(*inputs, causal=case.mask == "causal")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    request = (
        openvino.Core().compile_model(openvino.Model([node], inputs), "CPU", settings).create_infer_request()
    )
    feeds = dict(enumerate(arrays))
    return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)


_CALLS: dict[str, Callable[..., Call | None]] = {
    "l0compile": _l0compile,
    "pytorch": _pytorch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
