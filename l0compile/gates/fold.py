"""Folding hardened gates into the weights, so that a hardened model is an ordinary pruned one.

Once a gate is folded, the parameters of its module hold its values, and the gate only remembers which entries are open.
It still acts where an optimiser could move closed weights: while gradients are recorded, and in a traced graph. If the
momentum of an optimiser moves them all the same, they are set back to zero before the weights are read next.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from l0compile.gates.gate import Gate
from l0compile.gates.granularity import site

_NORMS = (nn.LayerNorm, nn.RMSNorm)
_SETTLED = "_l0_settled"

GatedParameter = tuple[nn.Parameter, Tensor, list[int]]
"""(parameter, gates, block), as ``torch.ops.l0compile.gate`` takes them."""


def fold(model: nn.Module, own_hooks: Sequence[object]) -> None:
    """Multiply weights and biases by the hardened gates of their module, in place.

    Some gates cannot be folded and still act in every call: gates on modules other than linear layers, embeddings and
    norms, or on subclasses with a ``forward`` of their own; gates on parameters that another module shares; and gates
    on modules with hooks other than ``own_hooks``, since such a hook may read what the gate computes.

    Args:
        model: A model with gates.
        own_hooks: The hooks by which gates act.
    """
    shared = _shared(model)
    for module in list(model.modules()):
        gates = gates_of(module)
        for gate in gates:
            parts = list(_gated_parameters(module, gate))
            if gate.is_folded or not gate.is_hardened or not parts:
                continue
            if _own_forward(module) or _other_hooks(module, gate, own_hooks):
                continue
            if not shared.isdisjoint(parameter.data_ptr() for parameter, _, _ in parts):
                continue
            with torch.no_grad():
                for parameter, z, block in parts:
                    parameter.copy_(_times(parameter, z, block))
            gate.set_folded()
        if any(gate.is_folded for gate in gates):
            settle(module)


def gates_of(module: nn.Module, place: str | None = None) -> list[Gate]:
    """List the gates on ``module`` in the order of attaching: those at the site ``place``, or all."""
    found = [child for child in module._modules.values() if isinstance(child, Gate)]
    return found if place is None else [gate for gate in found if gate.site == place]


def in_weights(module: nn.Module, gates: Sequence[Gate]) -> bool:
    """Return whether the parameters hold the values of ``gates``, so that this call can leave the gates out."""
    for gate in gates:  # no generator: most calls of a training end here
        if not gate.is_folded:
            return False
    if torch.compiler.is_compiling():
        return False
    parameters = _parameters(module)
    if not all(_plain(parameter) for parameter in parameters):
        return False
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
        return False
    known, marks = module.__dict__.get(_SETTLED, ()), _marks(parameters)
    # Never write to memory that settle has not seen: torch.func.functional_call lends a module other parameters.
    own = [address for address, _ in known] == [address for address, _ in marks]
    return known == marks or settle(module, write=own)


def settle(module: nn.Module, write: bool = True) -> bool:
    """Set weights that a folded gate has closed back to zero, in case something has moved them.

    Args:
        module: A module with gates.
        write: False only looks, and changes nothing.

    Returns:
        Whether all closed weights are zero now.
    """
    parameters = _parameters(module)
    with torch.no_grad():
        for gate in gates_of(module):
            for parameter, z, block in _gated_parameters(module, gate) if gate.is_folded else ():
                kept = _times(parameter, z, block)
                # Write only if something changes: a write invalidates the graph of a pending backward pass.
                if not torch.equal(kept, parameter):
                    if not write:
                        return False
                    parameter.copy_(kept)
    module.__dict__[_SETTLED] = _marks(parameters)
    return True


def settle_before_saving(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    """Settle the weights before ``state_dict`` reads them; the arguments are those of a pre-hook of ``state_dict``."""
    parameters = _parameters(module)
    if any(gate.is_folded for gate in gates_of(module)) and all(_plain(each) for each in parameters):
        settle(module)


def _gated_parameters(module: nn.Module, gate: Gate) -> Iterator[GatedParameter]:
    """Iterate over the parameters of ``module`` that ``gate`` acts on."""
    weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
    if weight is None:
        return
    z, place = gate.z, site(gate.granularity)
    if isinstance(module, nn.Linear) and place == "weight":
        yield weight, z, list(gate.block)
    elif isinstance(module, nn.Linear) and place == "input":
        yield weight, z[None], [weight.shape[0], weight.shape[1] // z.numel()]
    elif isinstance(module, nn.Linear) and place == "output":
        yield weight, z[:, None], [weight.shape[0] // z.numel(), weight.shape[1]]
    elif isinstance(module, nn.Embedding) and module.max_norm is None and place == "output":
        yield weight, z[None], [weight.shape[0], weight.shape[1] // z.numel()]
    elif isinstance(module, _NORMS) and weight.ndim == 1 and place == "output":
        yield weight, z, [weight.shape[0] // z.numel()]
    else:
        return
    if bias is not None and place == "output":
        yield bias, z, [bias.shape[0] // z.numel()]


def _times(parameter: Tensor, z: Tensor, block: list[int]) -> Tensor:
    """Multiply ``parameter`` by its gates; a closed gate gives zero even for NaN and infinity."""
    made: Tensor = torch.ops.l0compile.gate(parameter, z.to(parameter.dtype), block)
    if bool(parameter.isfinite().all()):
        return made
    is_open = torch.ops.l0compile.gate(torch.ones_like(parameter), z.ne(0).to(parameter.dtype), block)
    return torch.where(is_open != 0, made, 0.0)


def _own_forward(module: nn.Module) -> bool:
    """Return whether the module has a ``forward`` of its own, and not that of a linear layer, embedding or norm."""
    layers = (nn.Linear, nn.Embedding, *_NORMS)
    return all(type(module).forward is not layer.forward for layer in layers)


def _other_hooks(module: nn.Module, gate: Gate, own: Sequence[object]) -> bool:
    match site(gate.granularity):
        case "input":
            hooks: Iterable[object] = module._forward_pre_hooks.values()
        case "output":
            hooks = module._forward_hooks.values()
        case _:
            hooks = ()
    return any(hook not in own for hook in hooks)


def _shared(model: nn.Module) -> set[int]:
    """Find the addresses of parameters that share memory with another parameter."""
    spans = sorted(
        (parameter.data_ptr(), parameter.data_ptr() + parameter.numel() * parameter.element_size())
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None and parameter.numel()
    )
    found: set[int] = set()
    reach, latest = 0, 0
    for start, end in spans:
        if start < reach:
            found |= {start, latest}
        if end > reach:
            reach, latest = end, start
    return found


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in (module._parameters.get("weight"), module._parameters.get("bias")) if p is not None]


def _plain(parameter: Tensor) -> bool:
    """Return whether it is an ordinary tensor with values, and not a stand-in made by a tracer or a transform."""
    return type(parameter) is nn.Parameter and not parameter.is_meta and not parameter.is_inference()


def _marks(parameters: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    """Return a value that changes when a parameter is written to or replaced."""
    return tuple((parameter.data_ptr(), parameter._version) for parameter in parameters)
