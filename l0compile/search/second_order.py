"""Which gates cost least, and the best weights for what is left: second-order statistics of every gated linear layer.

One pass over calibration batches gives, for each layer ``y = x W^T``, the Gram matrix ``A = E[x x^T]`` of its inputs and the
sensitivity ``g_i = E[(d(v . model output) / d y_i)^2]`` for random ``v``. Their product is the Kronecker-factored Gauss-Newton
curvature (Martens and Grosse, ICML 2015) of the squared change of the model's output, with the output factor kept as its diagonal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import Block, Gate, dense_weight, named_gates
from l0compile.gates.granularity import site
from l0compile.ops.gate import block_sum

DAMPING = 3e-3
_CHUNK_BYTES = 256e6


@dataclass(frozen=True)
class Curvature:
    """``gram`` [in, in] float32: mean of x x^T over tokens; ``sensitivity`` [out] float32: mean squared output gradient."""

    gram: Tensor
    sensitivity: Tensor


def measure_curvature(
    model: nn.Module,
    names: Iterable[str],
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    *,
    seed: int = 0,
) -> dict[str, Curvature]:
    """Statistics of the linear layers `names` of the dense `model` over `batches` (without padding), in evaluation mode.

    ``predict(model, batch)`` returns the output whose change is to stay small. Raises DataError if a layer saw no input.
    """
    layers = {name: model.get_submodule(name) for name in names}
    grams = {name: torch.zeros(layer.in_features, layer.in_features) for name, layer in layers.items()}
    squares = {name: torch.zeros(layer.out_features) for name, layer in layers.items()}
    tokens = dict.fromkeys(layers, 0)

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def add_gradient(gradient: Tensor) -> None:
            squares[name] += gradient.reshape(-1, gradient.shape[-1]).square().sum(0)

        def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = args[0].detach().reshape(-1, args[0].shape[-1])
            grams[name].addmm_(x.T, x)
            tokens[name] += len(x)
            # Parameters are frozen, so the first layers' outputs have no history yet; a copy may be changed in place.
            output = output if output.requires_grad else output.requires_grad_().clone()
            output.register_hook(add_gradient)
            return output

        return hook

    generator = torch.Generator().manual_seed(seed)
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        # Gradients of activations only: those of the weights would cost half as much again.
        model.eval().requires_grad_(False)
        for batch in batches:
            with torch.enable_grad():
                output = predict(model, batch)
                output.backward(torch.randn(output.shape, generator=generator))
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])
            parameter.grad = None
    if unseen := [name for name, count in tokens.items() if not count]:
        raise DataError(
            f"search: the calibration batches never reached {', '.join(unseen[:5])}; check the task's calibration data"
        )
    return {name: Curvature(grams[name] / tokens[name], squares[name] / tokens[name]) for name in layers}


def gate_losses(model: nn.Module, curvature: Mapping[str, Curvature]) -> dict[str, Tensor]:
    """Expected squared change of the output when one gate closes, per weight it switches: gate name -> float32 [*grid].

    For the weights ``w`` that a gate switches in output row i: ``g_i w^T A w`` with ``A`` the Gram matrix of their inputs. Gates on
    outputs (Feature, Layer) have no score and are left out.
    """
    modules = dict(model.named_modules())
    found: dict[str, Tensor] = {}
    for name, gate in named_gates(model).items():
        path = name.rpartition(".")[0]
        if path in curvature and site(gate.granularity) != "output":
            found[name] = _losses(gate, dense_weight(modules[path]).detach(), curvature[path])
    return found


def _losses(gate: Gate, weight: Tensor, curvature: Curvature) -> Tensor:
    rows, cols = gate.block if isinstance(gate.granularity, Block) else (weight.shape[0], gate.block[0])
    padding = -weight.shape[1] % cols
    padded = nn.functional.pad(weight, (0, padding)).unflatten(1, (-1, cols))
    gram = (
        nn.functional.pad(curvature.gram, (0, padding, 0, padding))
        .unflatten(0, (-1, cols))
        .unflatten(2, (-1, cols))
    )
    inner = gram.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    energy = ((torch.einsum("ncw,cwv->ncv", padded, inner) * padded).sum(2)) * curvature.sensitivity[:, None]
    grid = (-(-weight.shape[0] // rows), energy.shape[1])
    return (block_sum(energy, grid, (rows, 1)) / (rows * cols)).reshape(gate.log_alpha.shape)


def repair(model: nn.Module, curvature: Mapping[str, Curvature]) -> None:
    """Set, in place, the weights that gates leave open to the least-squares best for the layer's dense output.

    Which gates are open is read from their evaluation value. Weights under closed gates keep their dense values, so that a gate
    that opens again during training finds a useful weight.
    """
    for name, statistics in curvature.items():
        module = model.get_submodule(name)
        gates = [gate for gate in module.children() if isinstance(gate, Gate)]
        weight = dense_weight(module).detach()
        block = next((gate for gate in gates if isinstance(gate.granularity, Block)), None)
        rows = block.block[0] if block is not None else weight.shape[0]
        support = torch.ones(-(-weight.shape[0] // rows), weight.shape[1], dtype=torch.bool)
        for gate in gates:
            if site(gate.granularity) != "output":
                open_ = (_value(gate) > 0).repeat_interleave(gate.block[-1], -1)
                support &= open_[..., : weight.shape[1]]
        solved = least_squares(weight, statistics.gram, support, rows)
        mask = support.repeat_interleave(rows, 0)[: weight.shape[0]]
        dense_weight(module).data.copy_(torch.where(mask, solved, weight))


def least_squares(weight: Tensor, gram: Tensor, support: Tensor, rows: int) -> Tensor:
    """``argmin_V E|(V - W) x|^2`` over V with the given support: float32 [out, in], zero outside.

    Args:
        weight: W, [out, in]. gram: E[x x^T], [in, in].
        support: bool [ceil(out / rows), in]; each group of `rows` consecutive output rows has one support.
    """
    width = weight.shape[1]
    gram = gram + DAMPING * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(width)
    groups = nn.functional.pad(weight, (0, 0, 0, -weight.shape[0] % rows)).unflatten(0, (-1, rows))
    targets = groups @ gram
    solved = torch.zeros_like(groups)
    size = int(support.sum(1).max())
    if size == 0:
        return torch.zeros_like(weight)
    # Live columns first, so that a system is as small as the fullest group; what pads the others is an identity.
    columns = support.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
    live = support.gather(1, columns)
    step = max(1, int(_CHUNK_BYTES / (4 * size * size)))
    for start in range(0, len(groups), step):
        part = slice(start, start + step)
        index, alive = columns[part], live[part]
        system = gram[index[:, :, None], index[:, None, :]] * (alive[:, :, None] & alive[:, None, :])
        system.diagonal(dim1=1, dim2=2).add_((~alive).float())
        place = index[:, None, :].expand(-1, rows, -1)
        right = targets[part].gather(2, place) * alive[:, None, :]
        factor = torch.linalg.cholesky(system)
        solved[part].scatter_(2, place, torch.cholesky_solve(right.mT, factor).mT)
    return solved.flatten(0, 1)[: weight.shape[0]]


def _value(gate: Gate) -> Tensor:
    training = gate.training
    value = gate.eval().value().detach()
    gate.train(training)
    return value
