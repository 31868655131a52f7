"""Second-order statistics of every gated layer: what a change of its weights costs.

One pass over calibration batches gives, for each layer ``y = x W^T``, the Gram matrix ``A`` of its inputs and the
sensitivity ``g_i = E[(d(v . model output) / d y_i)^2]`` for random ``v``. Tokens are weighted in ``A`` by their
squared gradient, because the separator token that attention falls back on has large inputs and no influence. The
product of both is the Kronecker-factored Gauss-Newton curvature (Martens and Grosse, ICML 2015) of the squared change
of the model's output, with the output factor reduced to its diagonal.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import dense_weight
from l0compile.studies.pruning.masks import linear_layers

DAMPING = 3e-3


@dataclass
class Curvature:
    """The statistics of one layer, in float32.

    gram: mean of x x^T over tokens [in, in], weighted by their squared output gradient; if the layer has a bias,
    which can compensate for it, without the part of the mean input. sensitivity: mean squared output gradient [out].
    tokens: for each batch, the size of its tokens' output gradients [tokens].
    """

    gram: Tensor
    sensitivity: Tensor
    tokens: tuple[Tensor, ...] = ()

    @cached_property
    def damped(self) -> Tensor:
        """``gram`` plus a small multiple of the identity, positive definite [in, in]."""
        return self.gram + DAMPING * self.gram.diagonal().mean().clamp(min=1e-12) * torch.eye(len(self.gram))

    @cached_property
    def inverse(self) -> Tensor:
        """The inverse of ``damped`` [in, in], computed in float64, in float32."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.damped.double())).float()


class _Sums:
    """The sums from which a layer's curvature is computed."""

    def __init__(self, layer: nn.Linear) -> None:
        out, width = dense_weight(layer).shape
        self.centred = layer.bias is not None
        self.tokens: list[Tensor] = []
        self.gram, self.inputs, self.squares = torch.zeros(width, width), torch.zeros(width), torch.zeros(out)

    def add(self, x: Tensor, gradient: Tensor) -> None:
        """Add inputs [tokens, in] and output gradients [tokens, out]."""
        squares = gradient.square()
        weight = squares.sum(1)
        heavy = x * weight[:, None]
        self.gram.addmm_(x.T, heavy)
        self.inputs += heavy.sum(0)
        self.squares += squares.sum(0)
        self.tokens.append(weight.sqrt())

    def mean(self) -> Curvature:
        weight = self.squares.sum().clamp(min=1e-30)
        mean = self.inputs / weight
        gram = self.gram / weight - (torch.outer(mean, mean) if self.centred else 0.0)
        return Curvature(gram, self.squares / sum(map(len, self.tokens)), tuple(self.tokens))


def measure_curvature(
    model: nn.Module,
    names: Iterable[str],
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    *,
    seed: int = 0,
) -> dict[str, Curvature]:
    """Measure the curvature of linear layers in evaluation mode. Parameters are frozen meanwhile.

    Args:
        model: the dense model.
        names: of its linear layers.
        batches: without padding, which would count as input.
        predict: takes the model and a batch, and returns the output whose change has to stay small.
        seed: of the random vectors that outputs are multiplied with.

    Returns:
        Layer -> curvature.

    Raises:
        DataError: a layer saw no input, or is no ``nn.Linear``.
    """
    layers = linear_layers(model, names)
    sums = {name: _Sums(layer) for name, layer in layers.items()}
    generator = torch.Generator().manual_seed(seed)
    hooks = [
        layer.register_forward_hook(partial(_note, sums[name]), with_kwargs=True)
        for name, layer in layers.items()
    ]
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        # Only gradients of activations are needed; those of weights would take half as long again.
        model.eval().requires_grad_(False)
        for batch in batches:
            with torch.enable_grad():
                output = predict(model, batch)
                output.backward(torch.randn(output.shape, generator=generator))
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)
    if unseen := [name for name, found in sums.items() if not found.tokens]:
        raise DataError(
            f"search: calibration batches never reached {', '.join(unseen[:5])}; expected every gated layer to run"
        )
    return {name: found.mean() for name, found in sums.items()}


def _note(
    sums: _Sums, _layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
) -> Tensor:
    x = (args[0] if args else named["input"]).detach().flatten(0, -2)
    # Parameters are frozen, so outputs of the first layers have no history yet. Copy them: they may be changed in
    # place.
    output = output if output.requires_grad else output.requires_grad_().clone()
    output.register_hook(lambda gradient: sums.add(x, gradient.flatten(0, -2)))
    return output
