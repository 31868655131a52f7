"""Which gates cost least, and the best weights for what is left: second-order statistics of every gated layer.

One pass over calibration batches gives, for each layer ``y = x W^T``, the Gram matrix ``A = E[x x^T]`` of its
inputs and the sensitivity ``g_i = E[(d(v . model output) / d y_i)^2]`` for random ``v``. Their product is the
Kronecker-factored Gauss-Newton curvature (Martens and Grosse, ICML 2015) of the squared change of the model's
output, with the output factor reduced to its diagonal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import Block, Gate, dense_weight, named_gates
from l0compile.gates.granularity import site
from l0compile.ops.gate import block_sum
from l0compile.search.masks import block_rows, live_columns

DAMPING = 3e-3
_CHUNK_BYTES = 256e6


@dataclass
class Curvature:
    """``gram`` [in, in]: mean of x x^T over tokens; ``sensitivity`` [out]: mean squared output gradient.

    Float32.
    """

    gram: Tensor
    sensitivity: Tensor
    tokens: int = 0

    def add_inputs(self, x: Tensor) -> None:
        """Sum up inputs [tokens, in]."""
        self.gram.addmm_(x.T, x)
        self.tokens += len(x)

    def add_gradient(self, gradient: Tensor) -> None:
        """Sum up output gradients [..., out]."""
        self.sensitivity += gradient.reshape(-1, gradient.shape[-1]).square().sum(0)

    def mean(self) -> "Curvature":
        """The sums divided by the number of tokens."""
        return Curvature(self.gram / self.tokens, self.sensitivity / self.tokens, self.tokens)


def measure_curvature(
    model: nn.Module,
    names: Iterable[str],
    batches: Iterable[object],
    predict: Callable[[nn.Module, object], Tensor],
    *,
    seed: int = 0,
) -> dict[str, Curvature]:
    """Statistics of the linear layers `names` of the dense `model` over `batches`, in evaluation mode.

    Batches should hold no padding, which would count as inputs. ``predict(model, batch)`` returns the output
    whose change is to stay small. Parameters are frozen on the way and left as they were. Raises DataError if a
    layer saw no input.
    """
    layers = {name: model.get_submodule(name) for name in names}
    sums: dict[str, Curvature] = {}
    for name, layer in layers.items():
        out_features, in_features = dense_weight(layer).shape
        sums[name] = Curvature(torch.zeros(in_features, in_features), torch.zeros(out_features))
    generator = torch.Generator().manual_seed(seed)
    hooks = [layer.register_forward_hook(partial(_note, sums[name])) for name, layer in layers.items()]
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
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
        for parameter, required in wanted.items():
            parameter.requires_grad_(required)
    if unseen := [name for name, found in sums.items() if not found.tokens]:
        raise DataError(
            f"search: the calibration batches never reached {', '.join(unseen[:5])}; expected every gated layer to run"
        )
    return {name: found.mean() for name, found in sums.items()}


def _note(sums: Curvature, _layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    sums.add_inputs(args[0].detach().reshape(-1, args[0].shape[-1]))
    # Parameters are frozen, so the first layers' outputs have no history yet; a copy may be changed in place.
    output = output if output.requires_grad else output.requires_grad_().clone()
    output.register_hook(sums.add_gradient)
    return output


def gate_losses(model: nn.Module, curvature: Mapping[str, Curvature]) -> dict[str, Tensor]:
    """Expected squared change of the output when one gate closes, per weight it switches: gate name -> [*grid].

    For the weights ``w`` that a gate switches in output row i: ``g_i w^T A w`` with ``A`` the Gram matrix of
    their inputs. Gates on outputs (Feature, Layer) have no score and are left out.
    """
    modules = dict(model.named_modules())
    found: dict[str, Tensor] = {}
    for name, gate in named_gates(model).items():
        path = name.rpartition(".")[0]
        if path in curvature and site(gate.granularity) != "output":
            found[name] = _losses(gate, dense_weight(modules[path]).detach(), curvature[path])
    return found


def _losses(gate: Gate, weight: Tensor, curvature: Curvature) -> Tensor:
    rows = gate.block[0] if isinstance(gate.granularity, Block) else weight.shape[0]
    cols = gate.block[-1]
    padding = -weight.shape[1] % cols
    padded = nn.functional.pad(weight, (0, padding)).unflatten(1, (-1, cols))
    gram = nn.functional.pad(curvature.gram, (0, padding, 0, padding))
    inner = gram.unflatten(0, (-1, cols)).unflatten(2, (-1, cols)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    energy = (torch.einsum("ncw,cwv->ncv", padded, inner) * padded).sum(2) * curvature.sensitivity[:, None]
    grid = (-(-weight.shape[0] // rows), energy.shape[1])
    return (block_sum(energy, grid, (rows, 1)) / (rows * cols)).reshape(gate.log_alpha.shape)


def repair(model: nn.Module, curvature: Mapping[str, Curvature]) -> None:
    """Set, in place, the weights that gates leave open to the least-squares best for the layer's dense output.

    Weights under closed gates keep their dense values, so that a gate that opens again in training finds a useful
    one.
    """
    for name, statistics in curvature.items():
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise DataError(f"search: {name!r}: expected an nn.Linear, got {type(layer).__name__}")
        weight, rows, live = dense_weight(layer).detach(), block_rows(layer), live_columns(layer)
        if not live.all():
            solved = least_squares(weight, statistics.gram, live, rows)
            mask = live.repeat_interleave(rows, 0)[: weight.shape[0]]
            dense_weight(layer).data.copy_(torch.where(mask, solved, weight))


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
    # Groups of about equal size go together, so that a system is hardly larger than its group needs.
    order = support.sum(1).argsort()
    step = max(1, int(_CHUNK_BYTES / (4 * width * width)))
    for part in order.split(step):
        solved[part] = _solve(gram, targets[part], support[part])
    return solved.flatten(0, 1)[: weight.shape[0]]


def _solve(gram: Tensor, targets: Tensor, support: Tensor) -> Tensor:
    """``targets`` [groups, rows, in] divided by the live part of `gram`, one support [groups, in] each."""
    size = int(support.sum(1).max())
    solved = torch.zeros_like(targets)
    if size == 0:
        return solved
    # Live columns first; what pads the smaller systems is an identity.
    columns = support.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
    live = support.gather(1, columns)
    systems = torch.stack([gram[index][:, index] for index in columns])
    systems *= live[:, :, None] & live[:, None, :]
    systems.diagonal(dim1=1, dim2=2).add_((~live).float())
    place = columns[:, None, :].expand(-1, targets.shape[1], -1)
    right = targets.gather(2, place) * live[:, None, :]
    solution = torch.cholesky_solve(right.mT, torch.linalg.cholesky(systems)).mT
    return solved.scatter_(2, place, solution)
