"""The models of ``benchmarks/precision.py``: ours and those of OpenVINO and ONNX Runtime, and MiniLM's quality."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import l0compile as l0
from harness import networks
from l0compile.hardware.targets import load_target
from l0compile.measurement import export_onnx, quantize_for_openvino
from l0compile.tasks.embedding import Encoded, encode, load_encoder
from l0compile.tasks.spearman import similarity_spearman
from l0compile.tasks.text import load_corpus

_SENTENCES, _HELD_OUT, _TOKENS = 128, 400, 128
_CONVOLUTIONAL = ("ResNet-50",)
_DYNAMIC = {name: {0: "batch", 1: "seq"} for name in ("input_ids", "attention_mask")}


def calibration(name: str) -> list[tuple[Tensor, ...]]:
    """Make batches of typical inputs: real sentences for MiniLM; random ones elsewhere, where only time counts."""
    if name == "MiniLM 128":
        encoded = encode(load_corpus(None, train=2048).train[:_SENTENCES], max_tokens=_TOKENS)
        return [batch.inputs for batch in encoded.equal_length_batches(16, limit=_SENTENCES)]
    return [networks.NETWORKS[name].inputs() for _ in range(4)]


def ours(name: str, precision: str, density: float, place: Path) -> Path:
    """Quantise and compile the model; with any number of tokens where its network says so."""
    path, network = place / f"ours_{precision}_{density:g}", networks.NETWORKS[name]
    if not path.exists():
        model, inputs = networks.make(name, 4, 4, density)
        if precision != "float32":
            # Without such instructions it would be slower.
            attention = "bfloat16" if load_target("native").multiplies("bfloat16") else "float32"
            model = l0.quantize(model, calibration(name), precision, attention=attention, tolerance=1.0)
        l0.compile(model, inputs, dynamic_shapes=network.dynamic, engine="tvm").save(path)
    return path


def openvino_int8(name: str, dense: Path, place: Path) -> Path:
    """Quantise by NNCF, at the size that is measured; MiniLM at any, and then cut to it."""
    import openvino

    path = place / "openvino_int8.xml"
    if path.exists():
        return path
    names = [port.get_any_name() for port in openvino.Core().read_model(dense).inputs]
    batches = calibration(name)
    if name == "MiniLM 128":
        sentences = [tuple(t[i : i + 1] for t in batch) for batch in batches for i in range(len(batch[0]))]
        any_size = export_onnx(*networks.make(name), place / "any.onnx", dynamic_shapes=_DYNAMIC)
        whole = place / "openvino_int8_any.xml"
        quantize_for_openvino(any_size, [dict(zip(names, s, strict=True)) for s in sentences], whole)
        core = openvino.Core()
        model = core.read_model(whole)
        model.reshape({port: [1, _TOKENS] for port in model.inputs})
        openvino.save_model(model, path, compress_to_fp16=False)
        return path
    items = [dict(zip(names, batch, strict=True)) for batch in batches]
    return quantize_for_openvino(dense, items, path, transformer=name not in _CONVOLUTIONAL)


def onnxruntime_int8(dense: Path, place: Path) -> Path:
    """Quantise by ONNX Runtime, activations as they come."""
    from onnxruntime.quantization import quantize_dynamic

    path = place / "dynamic_int8.onnx"
    if not path.exists():
        quantize_dynamic(dense, path)
    return path


def qualities(folder: Path) -> dict[str, float]:
    """The Spearman correlation of each dense form of MiniLM with the float32 model, on held-out sentences."""
    held_out = encode(load_corpus(None, train=2048).held_out[:_HELD_OUT], max_tokens=_TOKENS)
    wanted = _embeddings(load_encoder(), held_out)
    models = dict(_runnable(folder / "MiniLM_128"))
    return {
        label: round(similarity_spearman(_embeddings(model, held_out), wanted), 5)
        for label, model in models.items()
    }


def _runnable(place: Path) -> Iterator[tuple[str, Callable[..., Tensor]]]:
    for precision in ("float32", "bfloat16", "int8"):
        yield f"l0compile {precision} 1", l0.load(place / f"ours_{precision}_1")
    yield "OpenVINO int8", _openvino(place / "openvino_int8_any.xml", "f32")
    yield "OpenVINO int8+bf16", _openvino(place / "openvino_int8_any.xml", "bf16")
    yield "OpenVINO bf16", _openvino(place / "any.onnx", "bf16")


def _openvino(path: Path, precision: str) -> Callable[..., Tensor]:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda *inputs: torch.from_numpy(next(iter(compiled([t.numpy() for t in inputs]).values())).copy())


@torch.no_grad()
def _embeddings(model: Any, sentences: Encoded) -> Tensor:
    found = torch.empty(len(sentences.ids), 384)
    for batch in sentences.batches(32):
        found[batch.rows] = model(*batch.inputs)
    return found
