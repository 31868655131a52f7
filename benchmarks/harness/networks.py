"""The models of ``benchmarks/models.py``: how to build them, and their inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from harness import full_size, llama, minilm
from harness.mobilenet import mobilenet_v2
from harness.pruning import prune_model
from harness.resnet import resnet50

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Network:
    """A model to measure.

    ``build()`` makes the dense model in eval mode, and ``inputs()`` one request; ``dynamic`` is the argument
    ``dynamic_shapes`` of ``l0.compile``. ``variant_of`` names the network with the same model at another size, whose
    compiled files serve this one too.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    dynamic: Any = None
    variant_of: str | None = None


class Pictures(nn.Module):
    """ViT-B/16 without a head: [N, 3, 224, 224] -> [N, 197, 768]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vit = ViTModel(ViTConfig(), add_pooling_layer=False)

    def forward(self, x: Tensor) -> Tensor:
        state: Tensor = self.vit(pixel_values=x).last_hidden_state
        return state


def image() -> Inputs:
    """Make one image."""
    return (torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)),)


def _bert() -> nn.Module:
    return full_size.bert_base()[0]


NETWORKS = {
    "MiniLM 128": Network(minilm.encoder, lambda: minilm.inputs(1, 128), minilm.DYNAMIC),
    "BERT-base 128": Network(_bert, lambda: minilm.inputs(1, 128), minilm.DYNAMIC),
    "BERT-base 512": Network(_bert, lambda: minilm.inputs(1, 512), minilm.DYNAMIC, "BERT-base 128"),
    "ViT-B/16": Network(Pictures, image),
    "ResNet-50": Network(resnet50, image),
    "MobileNetV2": Network(mobilenet_v2, image),
    "Llama 160M prefill 128": Network(llama.Prefill, lambda: (llama.ids(128),)),
    "Llama 160M decode": Network(llama.Decode, lambda: (llama.ids(1), *llama.cache(127))),
}


def make(name: str, rows: int = 0, columns: int = 0, density: float = 1.0) -> tuple[nn.Module, Inputs]:
    """Make the model ``name``, pruned in blocks of rows x columns unless ``density`` is 1, and its inputs."""
    network = NETWORKS[name]
    model = network.build().eval().requires_grad_(False)
    return (model if density == 1 else prune_model(model, (rows, columns), density)), network.inputs()
