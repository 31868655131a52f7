"""T5 (relative position bias, cross-attention) and the encoder of Whisper (convolutions over time)."""

import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tests.zoo.model import Call, ZooModel, ids, padding
from tests.zoo.prune import Coupled

WIDTH, HEADS, VOCABULARY, MEL = 64, 4, 101, 20


def t5(scale: int) -> nn.Module:
    sizes = {"d_model": WIDTH * scale, "d_kv": 16 * scale, "d_ff": 2 * WIDTH * scale, "num_heads": HEADS}
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=VOCABULARY, num_layers=2, use_cache=False, **tokens, **sizes)
    return T5ForConditionalGeneration(config)


def whisper(scale: int) -> nn.Module:
    """Its positions are a table of fixed size: 32 frames at scale 1, and as many times more."""
    config = WhisperConfig(
        d_model=WIDTH * scale,
        encoder_layers=2,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * WIDTH * scale,
        num_mel_bins=MEL,
        max_source_positions=16 * scale,
    )
    return WhisperEncoder(config)


def text_pair(batch: int, length: int) -> Call:
    """Token ids and padding mask of the encoder, half as many ids of the decoder."""
    mask = padding(batch, length)
    decoder = ids(batch, length // 2, VOCABULARY)
    return (), {
        "input_ids": ids(batch, length, VOCABULARY),
        "attention_mask": mask,
        "decoder_input_ids": decoder,
    }


def frames(batch: int, extent: int) -> Call:
    """A spectrogram [batch, mel bins, frames]."""
    return (), {"input_features": torch.randn(batch, MEL, extent)}


T5 = (
    *(
        Coupled(
            out=tuple(f"{side}.block.*.layer.{layer}.{kind}.{name}" for name in "qkv"),
            into=(f"{side}.block.*.layer.{layer}.{kind}.o",),
            units=HEADS,
        )
        for side, layer, kind in (
            ("encoder", 0, "SelfAttention"),
            ("decoder", 0, "SelfAttention"),
            ("decoder", 1, "EncDecAttention"),
        )
    ),
    Coupled(
        out=("encoder.block.*.layer.1.DenseReluDense.wi",),
        into=("encoder.block.*.layer.1.DenseReluDense.wo",),
    ),
    Coupled(
        out=("decoder.block.*.layer.2.DenseReluDense.wi",),
        into=("decoder.block.*.layer.2.DenseReluDense.wo",),
    ),
)

WHISPER = (
    Coupled(
        out=tuple(f"layers.*.self_attn.{name}_proj" for name in "qkv"),
        into=("layers.*.self_attn.out_proj",),
        units=HEADS,
    ),
    Coupled(out=("layers.*.fc1",), into=("layers.*.fc2",)),
    Coupled(out=("conv1",), into=("conv2",)),
)

PAIR = {
    "input_ids": {0: "batch", 1: "length"},
    "attention_mask": {0: "batch", 1: "length"},
    "decoder_input_ids": {0: "batch", 1: "decoded"},
}

MODELS = (
    ZooModel("t5", t5, text_pair, T5, PAIR, sizes=(2, 12), other=(3, 18), timed=(1, 128)),
    ZooModel(
        "whisper_encoder", whisper, frames, WHISPER, {"input_features": {0: "batch"}},
        sizes=(2, 32), other=(3, 32), timed=(1, 128),
    ),
)  # fmt: skip
