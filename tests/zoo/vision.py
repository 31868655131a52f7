"""Vision models of the transformers library: ViT, Swin (shifted windows), CLIP (two towers) and ConvNeXt."""

from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from tests.zoo.model import Call, ZooModel, ids, padding
from tests.zoo.prune import Coupled

WIDTH, HEADS, VOCABULARY, IMAGE = 64, 4, 101, 32


def towers(scale: int) -> dict[str, Any]:
    """Settings that the towers share by name."""
    return {
        "hidden_size": WIDTH * scale,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH * scale,
    }


def vit(scale: int) -> nn.Module:
    return ViTModel(ViTConfig(image_size=IMAGE * scale, patch_size=8, **towers(scale)))


def swin(scale: int) -> nn.Module:
    return SwinModel(
        SwinConfig(
            image_size=IMAGE * scale,
            patch_size=4,
            embed_dim=32 * scale,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
        )
    )


def clip(scale: int) -> nn.Module:
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": 160, "eos_token_id": VOCABULARY - 1}
    vision = {"image_size": IMAGE * scale, "patch_size": 8}
    return CLIPModel(
        CLIPConfig(
            text_config={**towers(scale), **text, "bos_token_id": 0, "pad_token_id": 0},
            vision_config={**towers(scale), **vision},
            projection_dim=32 * scale,
        )
    )


def convnext(scale: int) -> nn.Module:
    sizes = [16 * scale * 2**stage for stage in range(4)]
    return ConvNextModel(ConvNextConfig(hidden_sizes=sizes, depths=[1, 1, 2, 1], image_size=IMAGE * scale))


def image(batch: int, extent: int) -> Call:
    """Pictures [batch, 3, extent, extent]."""
    return (), {"pixel_values": torch.randn(batch, 3, extent, extent)}


def image_and_text(batch: int, extent: int) -> Call:
    """Pictures, and as many texts of 12 tokens."""
    pixels = torch.randn(batch, 3, extent, extent)
    tokens = ids(batch, 12, VOCABULARY)
    return (), {"input_ids": tokens, "attention_mask": padding(batch, 12), "pixel_values": pixels}


def clip_layers(tower: str) -> tuple[Coupled, ...]:
    layer = f"{tower}.encoder.layers.*"
    return (
        Coupled(
            out=tuple(f"{layer}.self_attn.{name}_proj" for name in "qkv"),
            into=(f"{layer}.self_attn.out_proj",),
            units=HEADS,
        ),
        Coupled(out=(f"{layer}.mlp.fc1",), into=(f"{layer}.mlp.fc2",)),
    )


def blocks(prefix: str, heads: int) -> tuple[Coupled, ...]:
    """Heads and neurons of the layers under ``prefix``."""
    return (
        Coupled(
            out=tuple(f"{prefix}.attention.{name}_proj" for name in "qkv"),
            into=(f"{prefix}.attention.o_proj",),
            units=heads,
        ),
        Coupled(out=(f"{prefix}.mlp.fc1",), into=(f"{prefix}.mlp.fc2",)),
    )


# The heads are 2 in the first stage and 4 in the second.
SWIN = tuple(group for stage in (0, 1) for group in blocks(f"encoder.layers.{stage}.blocks.*", 2 + 2 * stage))

CONVNEXT = (Coupled(out=("encoder.stages.*.layers.*.pwconv1",), into=("encoder.stages.*.layers.*.pwconv2",)),)

BATCH = {"pixel_values": {0: "batch"}}
SIZES: dict[str, Any] = {"sizes": (2, IMAGE), "other": (3, IMAGE), "timed": (1, 4 * IMAGE)}

MODELS = (
    ZooModel("vit", vit, image, blocks("layers.*", HEADS), BATCH, **SIZES),
    ZooModel("swin", swin, image, SWIN, BATCH, **SIZES),
    ZooModel(
        "clip", clip, image_and_text, (*clip_layers("text_model"), *clip_layers("vision_model")),
        {"input_ids": {0: "texts"}, "attention_mask": {0: "texts"}, **BATCH}, **SIZES,
    ),
    ZooModel("convnext", convnext, image, CONVNEXT, BATCH, **SIZES),
)  # fmt: skip
