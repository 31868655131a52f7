"""Whole models of usual sizes for GPUs, with random weights: BERT-base, ViT-B/16 and a block of Llama 3 8B."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, ViTConfig, ViTModel

BLOCK = 64


@dataclass(frozen=True)
class GpuModelCase:
    """A model and an example call of it.

    Attributes:
        name: what a table calls it.
        make: a new model in float32.
        call: keyword arguments; floating ones get the dtype of the model.
        dynamic_shapes: for ``l0.compile``.
    """

    name: str
    make: Callable[[], nn.Module]
    call: Callable[[], dict[str, torch.Tensor]]
    dynamic_shapes: dict[str, dict[int, str]]

    def build(self, dtype: torch.dtype, zeros: bool = False) -> nn.Module:
        """The model in eval mode; with ``zeros`` 90 % of the blocks of each linear layer between its ends are zero."""
        torch.manual_seed(0)
        model = self.make().to(dtype).eval().requires_grad_(False)
        if zeros:
            for layer in model.modules():
                if isinstance(layer, nn.Linear) and min(layer.weight.shape) >= 8 * BLOCK:
                    _empty_blocks(layer.weight)
        return model

    def inputs(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The example call."""
        torch.manual_seed(1)
        return {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in self.call().items()
        }


def _empty_blocks(weight: torch.Tensor) -> None:
    rows, cols = (size // BLOCK for size in weight.shape)
    kept = torch.rand(rows, cols) < 0.1
    kept[torch.arange(rows), torch.arange(rows) % cols] = True  # no row and no column of blocks is dead
    kept[torch.arange(cols) % rows, torch.arange(cols)] = True
    weight.mul_(kept.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1))


def _text(batch: int, tokens: int, vocabulary: int) -> dict[str, torch.Tensor]:
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    mask[0, tokens // 2 :] = 0
    return {"input_ids": torch.randint(0, vocabulary, (batch, tokens)), "attention_mask": mask}


def _llama() -> nn.Module:
    return LlamaModel(
        LlamaConfig(
            hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8,
            num_hidden_layers=1, vocab_size=1024, use_cache=False, rope_theta=500000.0, max_position_embeddings=8192,
        )
    )  # fmt: skip


TEXT_AXES: Any = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask")}

CASES = (
    GpuModelCase("BERT-base", lambda: BertModel(BertConfig()), lambda: _text(8, 128, 30522), TEXT_AXES),
    GpuModelCase(
        "ViT-B/16", lambda: ViTModel(ViTConfig()), lambda: {"pixel_values": torch.randn(8, 3, 224, 224)},
        {"pixel_values": {0: "batch"}},
    ),
    GpuModelCase("Llama 3 8B, one block", _llama, lambda: _text(2, 512, 1024), TEXT_AXES),
)  # fmt: skip
