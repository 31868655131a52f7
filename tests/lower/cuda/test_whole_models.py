"""Whole models for GPUs: no island, no operator without threads, and right numbers by emulation."""

import pytest
import torch

import l0compile as l0
from l0compile.compiler.verification import TOLERANCES
from l0compile.kernels.cuda.toolchain import has_nvcc
from tests.lower.cuda.conftest import gap
from tests.zoo.decoders import MODELS as DECODERS
from tests.zoo.encoders import MODELS as ENCODERS
from tests.zoo.model import Call, ZooModel
from tests.zoo.vision import MODELS as VISION

ZOO = {model.name: model for model in (*ENCODERS, *VISION, *DECODERS)}


def of_type(call: Call, dtype: torch.dtype) -> Call:
    args, kwargs = call
    return args, {name: t.to(dtype) if t.is_floating_point() else t for name, t in kwargs.items()}


def check(model: ZooModel, dtype: torch.dtype) -> l0.CompiledModel:
    """Compile for a GPU and compare the emulated answers with PyTorch's, at two sizes."""
    original = model.build().to(dtype)
    args, kwargs = of_type(model.inputs(), dtype)
    compiled = l0.compile(original, args, kwargs, target="cuda-sm80", dynamic_shapes=model.dynamic_shapes)
    assert not compiled.explain().islands
    emulated = compiled.emulated()
    for sizes in (model.sizes, model.other):
        args, kwargs = of_type(model.inputs(sizes), dtype)
        with torch.no_grad():
            expected = original(*args, **kwargs)
        assert gap(emulated(*args, **kwargs), expected) < TOLERANCES[dtype]
    return compiled


@pytest.mark.usefixtures("no_nvcc")
def test_a_small_bert_is_computed_right() -> None:
    compiled = check(ZOO["bert"], torch.float32)
    names = {launch.function.rstrip("_0123456789") for launch in compiled.explain().launches}
    assert names == {"norm", "cuda_linear", "cuda_attention"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_nvcc")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["bert", "vit", "llama", "gemma", "distilbert", "swin", "clip"])
def test_a_small_model_is_computed_right(name: str, dtype: torch.dtype) -> None:
    check(ZOO[name], dtype)


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is not installed")
@pytest.mark.parametrize("target", [name for name in l0.list_targets() if name.startswith("cuda")])
@pytest.mark.parametrize("name", ["bert", "vit", "llama"])
def test_a_small_model_links_for_every_architecture(name: str, target: str) -> None:
    model = ZOO[name]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        args, kwargs = of_type(model.inputs(), dtype)
        original = model.build().to(dtype)
        found = l0.compile(original, args, kwargs, target=target, dynamic_shapes=model.dynamic_shapes)
        assert not found.explain().islands
