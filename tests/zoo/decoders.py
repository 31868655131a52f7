"""Decoders: GPT-2 (packed query-key-value); Llama, Qwen2, Gemma and Gemma 2 (grouped queries, RMSNorm, rotary)."""

from typing import Any

from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2Model,
)

from tests.zoo.encoders import SIZES, text
from tests.zoo.model import ZooModel
from tests.zoo.prune import Coupled

WIDTH, HEADS, GROUPS, LAYERS, VOCABULARY = 64, 4, 2, 2, 101


def gpt2(scale: int) -> nn.Module:
    sizes = {"n_embd": WIDTH * scale, "n_layer": LAYERS, "n_head": HEADS, "n_inner": 2 * WIDTH * scale}
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=160, use_cache=False, **tokens, **sizes)
    )


def common(scale: int) -> dict[str, Any]:
    """Settings that the configurations share by name."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH * scale,
        "intermediate_size": 2 * WIDTH * scale,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "max_position_embeddings": 160,
        "use_cache": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def llama(scale: int) -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**common(scale)))


def qwen2(scale: int) -> nn.Module:
    return Qwen2Model(Qwen2Config(**common(scale)))


def gemma(scale: int) -> nn.Module:
    return GemmaModel(GemmaConfig(head_dim=16 * scale, **common(scale)))


def gemma2(scale: int) -> nn.Module:
    """Scores with a soft limit that bites, and windows in every other layer."""
    limits = {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 16 * scale, "sliding_window": 9}
    return Gemma2ForCausalLM(Gemma2Config(head_dim=16 * scale, **limits, **common(scale)))


GPT2 = (
    Coupled(out=("transformer.h.*.attn.c_attn/3",), into=("transformer.h.*.attn.c_proj",), units=HEADS),
    Coupled(out=("transformer.h.*.mlp.c_fc",), into=("transformer.h.*.mlp.c_proj",)),
)


def grouped(prefix: str) -> tuple[Coupled, ...]:
    """Key/value groups with all their queries, and gated neurons."""
    layer = f"{prefix}layers.*"
    return (
        Coupled(
            out=tuple(f"{layer}.self_attn.{name}_proj" for name in "qkv"),
            into=(f"{layer}.self_attn.o_proj",),
            units=GROUPS,
        ),
        Coupled(out=(f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj"), into=(f"{layer}.mlp.down_proj",)),
    )


# The residual stream: the same channels dead wherever it is written or normalised.
LLAMA_RESIDUAL = Coupled(
    out=(
        "model.embed_tokens",
        "model.layers.*.self_attn.o_proj",
        "model.layers.*.mlp.down_proj",
        "model.layers.*.input_layernorm",
        "model.layers.*.post_attention_layernorm",
        "model.norm",
    ),
    together=True,
)

MODELS = (
    ZooModel("gpt2", gpt2, text, GPT2, **SIZES),
    ZooModel("llama", llama, text, (*grouped("model."), LLAMA_RESIDUAL), **SIZES),
    ZooModel("qwen2", qwen2, text, grouped(""), **SIZES),
    ZooModel("gemma", gemma, text, grouped(""), **SIZES),
    ZooModel("gemma2", gemma2, text, grouped("model."), **SIZES),
)
