"""The model of a recipe."""

from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from tests.fuzz import arithmetic, attention, layers, movement
from tests.fuzz.operator_table import OPERATORS
from tests.fuzz.recipe import Recipe, Step, Zeros
from tests.fuzz.shape import Shape
from tests.fuzz.zeros import GATES, PLAIN, put_zeros

VOCABULARY = (layers, arithmetic, movement, attention)
"""The files that fill ``OPERATORS``; naming them here is what loads them."""


class Graph(nn.Module):
    """Runs a recipe's steps in order."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe, self.steps = recipe, nn.ModuleList()

    def forward(self, first: Tensor, second: Tensor | None = None) -> Any:
        known = [first] if second is None else [first, second]
        for step, module in zip(self.recipe.steps, self.steps, strict=True):
            known.extend(as_tuple(module(*(known[i] for i in step.reads))))
        results = tuple(known[i] for i in self.recipe.outputs)
        if self.recipe.structure == "tensor":
            return results[0]
        if self.recipe.structure == "tuple":
            return results
        return {f"result_{i}": result for i, result in enumerate(results)}


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def build(recipe: Recipe) -> Graph:
    """The model of a recipe, zeros and all, in eval mode."""
    graph = Graph(recipe)
    dtype = getattr(torch, recipe.dtype)
    values = list(zip(recipe.tensors(recipe.sizes), recipe.tensors(recipe.second), strict=True))
    for number, step in enumerate(recipe.steps):
        module = make_module(step, [Shape.of(pair) for pair in values], recipe.seed + number).to(dtype)
        values.extend(run(module, [values[i] for i in step.reads]))
        graph.steps.append(module)
    put_zeros(graph, graph.steps, recipe)
    return graph.eval().requires_grad_(False)


def gated(recipe: Recipe) -> bool:
    """Whether some of the zeros come from gates."""
    return any(step.zeros is not None and step.zeros.kind in GATES for step in recipe.steps)


def other_zeros(recipe: Recipe, number: int) -> Recipe:
    """The same graph with the ``number``-th other choice of weights and plain zeros."""
    random = Random(1000 * recipe.seed + number)
    steps = []
    for step in recipe.steps:
        kind = random.choice([None, *PLAIN])
        zeros = None if kind is None else Zeros(kind, random.choice([0.25, 0.5, 0.9]))
        steps.append(step if step.zeros is None and number % 2 else replace(step, zeros=zeros))
    return replace(recipe, steps=tuple(steps), seed=recipe.seed + 1000 * (number + 1))


def make_module(step: Step, shapes: list[Shape], seed: int) -> nn.Module:
    """The module of one step with well-conditioned random weights, no zeros yet."""
    module = OPERATORS[step.name].make(*(shapes[i] for i in step.reads), **step.attributes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scaled = parameter.dim() > 1 and not isinstance(module, layers.Affine)
            spread = parameter[0].numel() ** -0.5 if scaled else 0.2
            # A norm's scale is near 1; everything else is near 0.
            centre = 1.0 if not scaled and name.endswith(("weight", "scale")) else 0.0
            parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
        for submodule in module.modules():
            if isinstance(submodule, nn.BatchNorm1d | nn.BatchNorm2d):
                mean, variance = submodule.running_mean, submodule.running_var
                assert mean is not None and variance is not None
                mean.copy_(0.2 * torch.randn(mean.shape, generator=generator))
                variance.copy_(0.5 + torch.rand(variance.shape, generator=generator))
    return module.eval()


def run(module: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The results at both sets of inputs."""
    with torch.no_grad():
        small, large = (as_tuple(module(*(pair[i] for pair in pairs))) for i in (0, 1))
    return list(zip(small, large, strict=True))
