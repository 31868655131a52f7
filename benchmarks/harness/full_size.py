"""Models of the size people deploy, with random weights: (model in eval mode, example inputs, dynamic shapes)."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

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


CASES = {"BERT-base": bert_base, "ResNet-50": resnet50}
