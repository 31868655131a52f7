"""Transformers of every structure reach our kernels whole: what is left outside is light."""

import importlib.util
from collections import Counter
from typing import Any

import pytest
import torch

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.program import Program
from l0compile.kernels import kernel_call
from l0compile.rewrite.pipeline import assign_layouts, optimise

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)

TOKENS = torch.arange(18).reshape(2, 9) % 7 + 3
MASK = (torch.arange(9) < torch.tensor([[9], [6]])).long()
SIZES: dict[str, Any] = {
    "vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "head_dim": 4, "use_cache": False, "pad_token_id": 0,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 20, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4, "use_cache": False,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "vocab_size": 20, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 4, "use_cache": False,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip

# Name of the model -> (its configuration, how its attention is computed, kernels it must reach)
MODELS: dict[str, tuple[dict[str, Any], str, dict[str, int]]] = {
    "GPT2": (GPT2, "sdpa", {"packed_linear": 6, "packed_layer_norm": 3, "packed_attention": 1}),
    "Llama": (SIZES, "sdpa", {"packed_linear": 7, "packed_rms_norm": 3, "packed_attention": 1, "packed_rope": 2}),
    "Qwen2": (SIZES, "eager", {"packed_linear": 7, "packed_rms_norm": 3, "packed_attention": 1, "packed_rope": 2}),
    "Gemma": (SIZES, "sdpa", {"packed_linear": 7, "packed_rms_norm": 3, "packed_attention": 1, "packed_rope": 2}),
    "T5": (T5, "sdpa", {"packed_linear": 16, "packed_rms_norm": 7, "packed_attention": 3, "pack_mask": 3}),
}  # fmt: skip

# Heavy operators: none of them may be left outside our kernels.
HEAVY = ("linear", "mm", "matmul", "bmm", "softmax", "scaled_dot_product_attention", "attention", "layer_norm",
         "rms_norm", "rsqrt", "gelu", "tanh", "silu", "split", "transpose", "rope", "mean")  # fmt: skip


def build(name: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    options, attention, _ = MODELS[name]
    config = getattr(transformers, f"{name}Config")(**options, attn_implementation=attention)
    model = getattr(transformers, f"{name}Model")(config).eval()
    inputs = {"input_ids": TOKENS, "attention_mask": MASK}
    return model, {**inputs, "decoder_input_ids": TOKENS[:, :5]} if name == "T5" else inputs


def packed(name: str, dynamic: bool) -> Program:
    model, inputs = build(name)
    names = {0: "batch", 1: "length"}
    dims = (
        {key: {0: "batch", 1: "target"} if "decoder" in key else names for key in inputs} if dynamic else None
    )
    program = optimise(capture(model, (), inputs, dynamic_shapes=dims), load_target("native"))
    return assign_layouts(program, lanes=64, rows=4)


@pytest.mark.parametrize(
    ("name", "dynamic"),
    [
        ("GPT2", False),
        ("Llama", True),
        ("Qwen2", False),
        ("T5", False),
        pytest.param("GPT2", True, marks=pytest.mark.slow),
        pytest.param("Gemma", False, marks=pytest.mark.slow),
    ],
)
def test_everything_heavy_is_packed(name: str, dynamic: bool) -> None:
    program = packed(name, dynamic)
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    ours = Counter(str(node.target).split(".")[1] for node in calls if kernel_call(node) is not None)
    ordinary = {str(node.target).split(".")[1] for node in calls if str(node.target).startswith("aten.")}
    assert not ordinary.intersection(HEAVY)
    assert {kernel: ours[kernel] for kernel in MODELS[name][2]} == MODELS[name][2]
    # One way in for each stream of tokens and each table of positions, one way out.
    assert ours["pack"] <= (2 if name in ("GPT2", "T5") else 3) and ours["unpack"] <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled(name: str) -> None:
    model, inputs = build(name)
    # Compiling compares with the model and refuses a difference above 2e-5 of the largest value.
    assert l0.compile(model, (), inputs).explain().verification["checked"]
