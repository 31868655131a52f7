"""Models of the size people deploy, with random weights: (model in eval mode, example inputs, dynamic shapes)."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from harness import minilm
from harness.pruning import prune_model

sys.path.insert(0, str(Path(__file__).parents[2]))  # the zoo of the tests has the hand-written networks
from tests.zoo import convnets

Case = tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]


class Encoder(nn.Module):
    """BERT without its pooler: [batch, seq] ids and mask -> [batch, seq, 768]."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = BertModel(BertConfig(), add_pooling_layer=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def bert_base() -> Case:
    """Make BERT-base, with 110 million weights, symbolic batch and sequence."""
    torch.manual_seed(0)
    ids = torch.randint(0, 30000, (2, 24))
    dynamic = {name: {0: "batch", 1: "seq"} for name in ("input_ids", "attention_mask")}
    return Encoder().eval().requires_grad_(False), (ids, torch.ones_like(ids)), dynamic


def resnet50() -> Case:
    """Make ResNet-50 with its usual widths, for images of 224 pixels and symbolic batch."""
    torch.manual_seed(0)
    model = convnets.resnet50(8).eval().requires_grad_(False)
    return model, (torch.randn(2, 3, 224, 224),), {"x": {0: "batch"}}


def mini_lm() -> Case:
    """Make MiniLM with its trained weights, symbolic batch and sequence."""
    return minilm.encoder(), minilm.inputs(2, 24), minilm.DYNAMIC


class Decoder(nn.Module):
    """A Llama of width 2048 without its output layer: ids [batch, seq] -> [batch, seq, 2048]."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        sizes = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": layers}
        heads = {"num_attention_heads": 32, "num_key_value_heads": 4}
        self.model = LlamaModel(LlamaConfig(vocab_size=32000, **sizes, **heads))

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, use_cache=False).last_hidden_state


def llama(layers: int) -> Case:
    """Make a Llama with the layers of TinyLlama, 80 % of their 4x1 blocks zero, for 128 tokens."""
    torch.manual_seed(0)
    model = prune_model(Decoder(layers).eval().requires_grad_(False), (4, 1), 0.2)
    return model, (torch.randint(0, 32000, (1, 128)),), {}


def llama_22() -> Case:
    """Make the Llama of 1.0 billion weights."""
    return llama(22)


CASES = {"MiniLM": mini_lm, "BERT-base": bert_base, "ResNet-50": resnet50, "Llama, 22 layers": llama_22}
