"""Models pruned by whole channels, heads and neurons, in two forms: cut, and full with zeros."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from harness.resnet import distinct, resnet50

TOKENS = 128


def full(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the unpruned model ``"resnet50"`` or ``"bert"`` in eval mode, always the same, and its inputs."""
    if name == "resnet50":
        model = resnet50()
        return model, (torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)),)
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(), add_pooling_layer=False).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias"):  # zero at first, which would not tell neurons apart
            parameter.data = distinct(parameter.numel(), 0.05)
    ids = torch.randint(1000, 20000, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    return model, (ids,)


def cut(name: str, folder: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Load the model that Torch-Pruning left in ``folder``: the same modules with smaller parameters."""
    model, args = full(name)
    tensors = load_file(Path(folder) / "pruned.safetensors")
    for module_name, module in model.named_modules():
        for key in [*module._parameters, *module._buffers]:
            tensor = tensors.get(f"{module_name}.{key}" if module_name else key)
            if tensor is not None:
                is_parameter = key in module._parameters
                setattr(module, key, Parameter(tensor, requires_grad=False) if is_parameter else tensor)
        _resize(module)
    heads = json.loads((Path(folder) / "heads.json").read_text(encoding="utf-8"))
    for module_name, count in heads.items():
        attention: Any = model.get_submodule(module_name)
        attention.num_attention_heads = count
        attention.all_head_size = count * attention.attention_head_size
    return model, args


def masked(name: str, folder: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the full model with zeros for what ``cut`` lacks: pruned outputs get zero weights, biases and norms.

    The values in biases and norms are all different, so the ones that survived tell which outputs were kept.
    """
    model, args = full(name)
    tensors = load_file(Path(folder) / "pruned.safetensors")
    for module_name, module in model.named_modules():
        if isinstance(module, (nn.BatchNorm2d, nn.Linear)):
            _zero(module, _kept(module.bias, tensors[f"{module_name}.bias"]))
    return model, args


def _resize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = module.weight.shape[0]


def _kept(values: Tensor, survivors: Tensor) -> Tensor:
    kept = torch.isin(values.detach(), survivors)
    assert int(kept.sum()) == survivors.numel(), "two channels have the same value: no telling which was kept"
    return kept


def _zero(module: Any, kept: Tensor) -> None:
    module.weight.data[~kept] = 0
    module.bias.data[~kept] = 0
