"""Which weights of gated linear layers are live, as the gates stand: in evaluation, hardened or not."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import Block, Gate, named_gates
from l0compile.gates.cost import cost_items, expected_density
from l0compile.gates.granularity import site


def open_gates(gate: Gate) -> Tensor:
    """Bool [*grid]: the gates whose evaluation value is not 0."""
    training = gate.training
    value = gate.eval().value().detach()
    gate.train(training)
    return value > 0


def gated_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers with a gate on their weight or input, by name in module order."""
    modules = dict(model.named_modules())
    found: dict[str, nn.Linear] = {}
    for name, gate in named_gates(model).items():
        path = name.rpartition(".")[0]
        owner = modules[path]
        if isinstance(owner, nn.Linear) and site(gate.granularity) != "output":
            found[path] = owner
    return found


def linear_layers(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Linear]:
    """The layers ``names``. Raises DataError for one that is no ``nn.Linear``."""
    found = {}
    for name in names:
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise DataError(f"search: {name!r}: expected an nn.Linear, got {type(layer).__name__}")
        found[name] = layer
    return found


def block_of(layer: nn.Linear) -> Block | None:
    """The blocks that a gate on the weight switches; None where there is no such gate."""
    for gate in layer.children():
        if isinstance(gate, Gate) and isinstance(gate.granularity, Block):
            return gate.granularity
    return None


def block_density(layer: nn.Linear) -> float:
    """Share of the blocks of the weight that are open; 1 where there is no gate on them."""
    for gate in layer.children():
        if isinstance(gate, Gate) and isinstance(gate.granularity, Block):
            return float(open_gates(gate).float().mean())
    return 1.0


def block_rows(layer: nn.Linear) -> int:
    """How many consecutive rows of the weight share one pattern of live columns.

    The rows of its blocks, or all rows.
    """
    block = block_of(layer)
    return layer.out_features if block is None else block.rows


def live_columns(layer: nn.Linear) -> Tensor:
    """Bool [ceil(out / rows), in] with rows = `block_rows`.

    Columns that a group of rows reads through open gates.
    """
    live = torch.ones(-(-layer.out_features // block_rows(layer)), layer.in_features, dtype=torch.bool)
    for gate in layer.children():
        if isinstance(gate, Gate) and site(gate.granularity) != "output":
            live &= open_gates(gate).repeat_interleave(gate.block[-1], -1)[..., : layer.in_features]
    return live


def live_mask(layer: nn.Linear) -> Tensor:
    """Bool [out, in]: weights that open gates leave."""
    return live_columns(layer).repeat_interleave(block_rows(layer), 0)[: layer.out_features]


def live_weights(model: nn.Module) -> tuple[int, int]:
    """(live, all) weights of the gated linear layers."""
    masks = [live_mask(layer) for layer in gated_layers(model).values()]
    return sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)


def structure(model: nn.Module) -> str:
    """Hash of the live weights of every gated layer.

    Two models of one structure take equally long and train alike.
    """
    digest = hashlib.sha256()
    for name, layer in gated_layers(model).items():
        digest.update(name.encode())
        digest.update(live_mask(layer).numpy().tobytes())
    return digest.hexdigest()[:16]


def cost_density(model: nn.Module, feeds: Mapping[str, str]) -> float:
    """Live share of the gated layers' multiplications; 1 for a model without gates.

    Closed neurons and heads also save their producers' rows.
    """
    if not named_gates(model):
        return 1.0
    with torch.no_grad():
        return float(expected_density(cost_items(model, feeds=feeds), lambda gate: open_gates(gate).float()))
