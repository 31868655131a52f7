"""Zeros in a step's parameters: what pruning leaves, and what gates leave.

Kinds: ``rows`` (output channels, their bias kept: they become constants), ``rows and bias``, ``columns``, ``shared``
and ``shared rows`` (the same with one choice of channels for each width in the whole graph, as in a pruned residual
stream), ``units`` (heads, or neurons with all that belongs to them), ``blocks``, ``all``; and by gates, fractional
values included, ``block gate``, ``feature gate``, ``neuron gate``, ``layer gate``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import l0compile as l0
from tests.fuzz.attention import Attention
from tests.fuzz.layers import Affine, FeedForward, HandRms
from tests.fuzz.recipe import Recipe, Zeros

PLAIN = ("rows", "rows and bias", "columns", "shared", "shared rows", "units", "blocks", "all")
GATES = {
    "block gate": l0.Block(4, 1),
    "feature gate": l0.Feature(),
    "neuron gate": l0.Neuron(),
    "layer gate": l0.Layer(),
}
_SWAPPED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Embedding)


def put_zeros(graph: nn.Module, steps: nn.ModuleList, recipe: Recipe) -> None:
    """Prune the steps as the recipe says, in place; gates are attached and hardened."""
    gates = {}
    for number, (step, module) in enumerate(zip(recipe.steps, steps, strict=True)):
        if step.zeros is None:
            continue
        generator = torch.Generator().manual_seed(recipe.seed + 100 * number)
        if step.zeros.kind in GATES:
            gates |= dict.fromkeys(_gated(f"steps.{number}", module, step.zeros.kind), GATES[step.zeros.kind])
        else:
            with torch.no_grad():
                _prune(module, step.zeros, recipe.seed, generator)
    if gates:
        l0.attach(graph, gates)
        generator = torch.Generator().manual_seed(recipe.seed)
        with torch.no_grad():
            for name, parameter in graph.named_parameters():
                if name.endswith("log_alpha"):
                    parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
        l0.harden(graph)


def _gated(prefix: str, module: nn.Module, kind: str) -> Iterator[str]:
    kinds: tuple[type[nn.Module], ...] = (nn.Linear,)
    if kind == "feature gate":
        kinds = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
    for name, leaf in module.named_modules():
        # The weight of a Linear called through another module's forward is read there, and never gated.
        if isinstance(leaf, kinds) and getattr(leaf, "weight", None) is not None:
            yield f"{prefix}.{name}".rstrip(".")


def _prune(module: nn.Module, zeros: Zeros, seed: int, generator: torch.Generator) -> None:
    if zeros.kind == "units" and _units(module, zeros.fraction, generator):
        return
    for leaf in module.modules():
        if isinstance(leaf, Affine | HandRms) or getattr(leaf, "weight", None) is not None:
            _prune_leaf(leaf, zeros, seed, generator)


def _prune_leaf(leaf: nn.Module, zeros: Zeros, seed: int, generator: torch.Generator) -> None:
    (weight, axis), *biases = _channels(leaf)
    width = weight.shape[axis]
    matrix = weight.dim() > 1 and not isinstance(leaf, Affine)
    if zeros.kind == "all":
        weight.zero_()
    elif zeros.kind == "columns" and matrix:
        fill(weight, 1 - axis, choose(weight.shape[1 - axis], zeros.fraction, generator))
    elif zeros.kind == "blocks" and matrix:
        blocks(weight, zeros.fraction, generator)
    else:
        # One choice for each width in the whole graph, as in a pruned residual stream, or one for this layer.
        shared = torch.Generator().manual_seed(seed + width)
        dead = choose(width, zeros.fraction, shared if zeros.kind.startswith("shared") else generator)
        fill(weight, axis, dead)
        for tensor, place in biases if zeros.kind not in ("rows", "shared rows") else []:
            fill(tensor, place, dead)


def _channels(leaf: nn.Module) -> list[tuple[Tensor, int]]:
    """The tensors with this layer's output channels, and on which axis; the weight, or what stands for it, first."""
    if isinstance(leaf, Affine):
        return [(p, max(range(p.dim()), key=lambda i: p.shape[i])) for p in leaf.parameters()]
    return [(p, 1 if isinstance(leaf, _SWAPPED) and p.dim() > 1 else 0) for p in leaf.parameters()]


def _units(module: nn.Module, fraction: float, generator: torch.Generator) -> bool:
    """Heads of an attention, neurons of a feed-forward; False where a step has no such units."""
    if isinstance(module, FeedForward):
        dead = choose(module.down.in_features, fraction, generator)
        _fill_linear(module.up, dead.repeat(2) if module.packed else dead)
        if module.gate is not None:
            _fill_linear(module.gate, dead)
        fill(module.down.weight, 1, dead)
        return True
    if isinstance(module, Attention):
        dead = choose(module.key_heads, fraction, generator)
        queries = dead.repeat_interleave(module.heads // module.key_heads).repeat_interleave(4)
        keys = dead.repeat_interleave(4)
        if module.packed:
            _fill_linear(module.qkv, queries.repeat(3))
        else:
            for layer, channels in ((module.q, queries), (module.k, keys), (module.v, keys)):
                _fill_linear(layer, channels)
        fill(module.o.weight, 1, queries)
        return True
    return False


def _fill_linear(layer: nn.Linear, dead: Tensor) -> None:
    fill(layer.weight, 0, dead)
    if layer.bias is not None:
        fill(layer.bias, 0, dead)


def choose(count: int, fraction: float, generator: torch.Generator) -> Tensor:
    """A mask [count] with this share set."""
    dead = torch.zeros(count, dtype=torch.bool)
    dead[torch.randperm(count, generator=generator)[: round(count * fraction)]] = True
    return dead


def fill(tensor: Tensor, axis: int, dead: Tensor) -> None:
    tensor.index_fill_(axis, dead.nonzero().flatten(), 0.0)


def blocks(weight: Tensor, fraction: float, generator: torch.Generator) -> None:
    """Zero this share of the 4x1 blocks of a weight, seen as [output channels, the rest]."""
    matrix = weight.view(weight.shape[0], -1)
    rows, columns = -(-matrix.shape[0] // 4), matrix.shape[1]
    dead = choose(rows * columns, fraction, generator).reshape(rows, columns)
    matrix.masked_fill_(dead.repeat_interleave(4, 0)[: matrix.shape[0]], 0.0)
