"""Starting gates from scores, and scoring gates by weights and calibration inputs."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.apply import dense_weight
from l0compile.gates.gate import Gate, named_gates
from l0compile.gates.granularity import Block, site
from l0compile.gates.hard_concrete import CLOSED_AT
from l0compile.ir.ops.gate import block_sum

#: ``log_alpha`` of gates that start surely open (P = 0.99, median 1) and surely closed (P = 0.012).
SURELY_OPEN, SURELY_CLOSED = 3.0, -6.0


def init_from_scores(
    model: nn.Module,
    scores: Mapping[str, Tensor],
    density: float | Mapping[str, float],
    *,
    scope: Literal["group", "global"] = "group",
    band: float = 0.1,
) -> nn.Module:
    """Set ``log_alpha`` in place so that the best-scored gates start open and the rest closed.

    Over the quantile q of a score, ``log_alpha`` is a ramp that crosses P(open) = 1/2 at ``q = 1 - density``, is as
    wide as ``band``, and saturates at ``SURELY_OPEN`` and ``SURELY_CLOSED``. Training decides the gates inside the
    band, and can still move the others.

    Args:
        model: A model with gates.
        scores: Gate name (see ``named_gates``) -> ``[*grid]``; larger is better. Gates that are left out stay as they
            are.
        density: Fraction of gates that start more open than closed, in [0, 1]; or one for each name in ``scores``.
        scope: ``"group"`` ranks the gates of each module, ``"global"`` those of all modules; the latter takes one
            density, and scores that can be compared between modules.
        band: Fraction of the gates that start undecided, in [0, 1]; 0 gives a hard step.

    Returns:
        ``model`` itself.

    Raises:
        GateError: A gate name is unknown, scores have a wrong shape, a gate is hardened, or a number is out of range.
    """
    gates = named_gates(model)
    for name, score in scores.items():
        _check_score(name, score, gates)
    if scope == "global":
        if isinstance(density, Mapping):
            raise GateError("init_from_scores: scope='global' takes one density, got one for each gate")
        start = _ramp(torch.cat([score.reshape(-1).float() for score in scores.values()]), density, band)
        parts = dict(zip(scores, start.split([score.numel() for score in scores.values()]), strict=True))
    else:
        parts = {
            name: _ramp(score.reshape(-1), _density_of(name, density), band) for name, score in scores.items()
        }
    with torch.no_grad():
        for name, start in parts.items():
            gates[name].log_alpha.copy_(start.reshape(scores[name].shape))
    return model


def saliency(
    model: nn.Module, batches: Iterable[object], forward: Callable[[nn.Module, object], object] | None = None
) -> dict[str, Tensor]:
    """Score every gate by weights and calibration inputs, in evaluation mode.

    The score of a Block, Neuron or Head gate is ``sqrt(sum w_ij^2 E[x_j^2])`` over the weights that it switches: the
    root energy of the outputs that closing it would lose, after Wanda's ``|w| * ||x||`` (Sun et al., ICLR 2024). The
    score of a Feature or Layer gate is the root mean square of its output. Padding counts like any other token.

    Args:
        model: A model with gates.
        batches: Calibration inputs: mappings (called as ``model(**batch)``), tuples or lists (``model(*batch)``), or
            single inputs.
        forward: Called as ``forward(model, batch)`` instead, for batches of another form.

    Returns:
        Gate name -> float32 ``[*grid]``, as :func:`init_from_scores` takes it.

    Raises:
        GateError: A gated module does not run on the batches, or has no tensor where the gate acts.
    """
    energy: dict[str, Tensor] = {}
    rows: dict[str, int] = {}
    modules = dict(model.named_modules())
    hooks = []
    for name in named_gates(model):
        module, key = modules[name.rpartition(".")[0]], name
        note = partial(_accumulate, energy, rows, key)
        if site(modules[name].granularity) == "output":
            hooks.append(module.register_forward_hook(lambda _m, _a, out, note=note: note(out), prepend=True))
        else:
            hooks.append(
                module.register_forward_pre_hook(lambda _m, args, note=note: note(args), prepend=True)
            )
    try:
        _run(model, batches, forward or _call)
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [name for name in named_gates(model) if name not in energy]:
        raise GateError(
            f"saliency: expected every gated module to run on the batches, got no input for {missing[:5]}"
        )
    return {
        name: _score(gate, modules[name.rpartition(".")[0]], energy[name] / rows[name])
        for name, gate in named_gates(model).items()
    }


def _check_score(name: str, score: Tensor, gates: Mapping[str, Gate]) -> None:
    if name not in gates:
        raise GateError(
            f"init_from_scores: no gate {name!r}; near matches: {get_close_matches(name, gates, n=5, cutoff=0.4)}"
        )
    if score.shape != gates[name].log_alpha.shape or gates[name].is_hardened:
        raise GateError(
            f"init_from_scores: {name!r}: expected scores {tuple(gates[name].log_alpha.shape)} for gates not yet "
            f"hardened, got {tuple(score.shape)}, hardened={gates[name].is_hardened}"
        )


def _density_of(name: str, density: float | Mapping[str, float]) -> float:
    if not isinstance(density, Mapping):
        return density
    if name not in density:
        raise GateError(f"init_from_scores: no density for gate {name!r}; give one for each gate in scores")
    return density[name]


def _ramp(scores: Tensor, density: float, band: float) -> Tensor:
    if not 0.0 <= density <= 1.0 or not 0.0 <= band <= 1.0:
        raise GateError(f"init_from_scores: expected density and band in [0, 1], got {density} and {band}")
    rank = torch.empty(scores.numel(), dtype=torch.float64, device=scores.device)
    rank[scores.argsort(stable=True)] = (
        torch.arange(scores.numel(), dtype=torch.float64, device=scores.device) + 0.5
    )
    above = rank - (scores.numel() - round(density * scores.numel()))
    slope = (SURELY_OPEN - SURELY_CLOSED) / max(band * scores.numel(), 1e-9)
    return (CLOSED_AT + slope * above).clamp(SURELY_CLOSED, SURELY_OPEN).float()


def _accumulate(energy: dict[str, Tensor], rows: dict[str, int], key: str, values: object) -> None:
    x = values[0] if isinstance(values, tuple | list) else values
    if not isinstance(x, Tensor):
        raise GateError(f"saliency: {key!r}: expected a tensor at the gated site, got {type(x).__name__}")
    flat = x.detach().reshape(-1, x.shape[-1]).float()
    energy[key] = energy.get(key, 0.0) + flat.square().sum(0)
    rows[key] = rows.get(key, 0) + flat.shape[0]


def _call(model: nn.Module, batch: object) -> object:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple | list) else model(batch)


def _run(model: nn.Module, batches: Iterable[object], forward: Callable[[nn.Module, object], object]) -> None:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                forward(model, batch)
    finally:
        model.train(training)


def _score(gate: Gate, module: nn.Module, energy: Tensor) -> Tensor:
    """Score one gate; ``energy`` is the mean square of each input (or output) feature."""
    if site(gate.granularity) == "output":
        block = [energy.numel() // gate.log_alpha.numel()]
        return block_sum(energy, gate.log_alpha.shape, block).div(block[0]).sqrt()
    lost = dense_weight(module).detach().float().square() * energy
    lost = lost if isinstance(gate.granularity, Block) else lost.sum(0)
    return block_sum(lost, gate.log_alpha.shape, list(gate.block)).sqrt()
