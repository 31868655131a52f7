"""Which weights of gated linear layers are live, with the gates as they are in evaluation mode."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import Block, Gate, named_gates
from l0compile.gates.cost import cost_items, expected_density
from l0compile.gates.granularity import site


def open_gates(gate: Gate) -> Tensor:
    """Return which gates of a grid have an evaluation value above 0, as bool [*grid]."""
    training = gate.training
    value = gate.eval().value().detach()
    gate.train(training)
    return value > 0


def gated_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers with a gate on their weight or input, by name in module order."""
    modules = dict(model.named_modules())
    found: dict[str, nn.Linear] = {}
    for name, gate in named_gates(model).items():
        path = name.rpartition(".")[0]
        owner = modules[path]
        if isinstance(owner, nn.Linear) and site(gate.granularity) != "output":
            found[path] = owner
    return found


def linear_layers(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Linear]:
    """Return the layers ``names``.

    Raises:
        DataError: one of them is no ``nn.Linear``.
    """
    found = {}
    for name in names:
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise DataError(f"search: {name!r}: expected an nn.Linear, got {type(layer).__name__}")
        found[name] = layer
    return found


def block_of(layer: nn.Linear) -> Block | None:
    """Return the blocks that a gate on the weight switches; None if there is no such gate."""
    for gate in layer.children():
        if isinstance(gate, Gate) and isinstance(gate.granularity, Block):
            return gate.granularity
    return None


def block_density(layer: nn.Linear) -> float:
    """Return the share of open blocks of the weight; 1 if there is no gate on blocks."""
    for gate in layer.children():
        if isinstance(gate, Gate) and isinstance(gate.granularity, Block):
            return float(open_gates(gate).float().mean())
    return 1.0


def block_rows(layer: nn.Linear) -> int:
    """Return how many consecutive rows of the weight share one pattern of live columns."""
    block = block_of(layer)
    return layer.out_features if block is None else block.rows


def live_columns(layer: nn.Linear) -> Tensor:
    """Return which columns each group of ``block_rows`` rows reads, as bool [ceil(out / rows), in]."""
    live = torch.ones(-(-layer.out_features // block_rows(layer)), layer.in_features, dtype=torch.bool)
    for gate in layer.children():
        if isinstance(gate, Gate) and site(gate.granularity) != "output":
            live &= open_gates(gate).repeat_interleave(gate.block[-1], -1)[..., : layer.in_features]
    return live


def live_mask(layer: nn.Linear) -> Tensor:
    """Return which weights open gates leave, as bool [out, in]."""
    return live_columns(layer).repeat_interleave(block_rows(layer), 0)[: layer.out_features]


def live_weights(model: nn.Module) -> tuple[int, int]:
    """Count the (live, all) weights of the gated linear layers."""
    masks = [live_mask(layer) for layer in gated_layers(model).values()]
    return sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)


def structure(model: nn.Module) -> str:
    """Return a hash of which weights of the gated layers are live.

    Two models of one structure take equally long and train alike.
    """
    digest = hashlib.sha256()
    for name, layer in gated_layers(model).items():
        digest.update(name.encode())
        digest.update(live_mask(layer).numpy().tobytes())
    return digest.hexdigest()[:16]


def cost_density(model: nn.Module, feeds: Mapping[str, str]) -> float:
    """Return the live share of the gated layers' multiplications; 1 for a model without gates.

    Closed neurons and heads also save the rows of the layers that produce them.
    """
    if not named_gates(model):
        return 1.0
    with torch.no_grad():
        return float(expected_density(cost_items(model, feeds=feeds), lambda gate: open_gates(gate).float()))
