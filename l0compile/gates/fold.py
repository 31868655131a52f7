"""What hardened gates do, done to the weights themselves: a hardened model then is a pruned one.

A folded gate has its values in the parameters of its module, and keeps which of them are open. It acts only where an
optimiser may move what it closed: while gradients are recorded, and in a traced graph. What an optimiser's momentum
moves all the same is put back to zero before weights are read next.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from l0compile.gates.gate import Gate
from l0compile.gates.granularity import site

_NORMS = (nn.LayerNorm, nn.RMSNorm)
_SETTLED = "_l0_settled"

Part = tuple[nn.Parameter, Tensor, list[int]]
"""A parameter, and the gates and block that act on it, as ``torch.ops.l0compile.gate`` takes them."""


def fold(model: nn.Module, own_hooks: Sequence[object]) -> None:
    """Multiply weights and biases by the hardened gates of their module, in place.

    Left out, and still applied in every call: gates on modules other than linear layers, embeddings and norms, or that
    compute something of their own; parameters that another module has as well; and modules with hooks beside
    ``own_hooks``, which may look at what the gate makes.
    """
    shared = _shared(model)
    for module in list(model.modules()):
        gates = gates_of(module)
        for gate in gates:
            parts = list(_parts(module, gate))
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
    """The gates on ``module``, in the order they were attached; of one site, or all."""
    found = [child for child in module._modules.values() if isinstance(child, Gate)]
    return [gate for gate in found if place in (None, site(gate.granularity))]


def in_weights(module: nn.Module, gates: Sequence[Gate]) -> bool:
    """Whether this call can do without ``gates``, because the parameters hold what they do."""
    if not all(gate.is_folded for gate in gates) or torch.compiler.is_compiling():
        return False
    parameters = _parameters(module)
    if not all(_plain(parameter) for parameter in parameters):
        return False
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
        return False
    known, marks = module.__dict__.get(_SETTLED, ()), _marks(parameters)
    # Other memory than was settled may be someone else's: torch.func.functional_call lends a module its parameters.
    own = [address for address, _ in known] == [address for address, _ in marks]
    return known == marks or settle(module, write=own)


def settle(module: nn.Module, write: bool = True) -> bool:
    """Put back to zero what folded gates have closed and something has moved since; unless ``write``, only look.

    Returns: whether all that is closed is zero.
    """
    parameters = _parameters(module)
    with torch.no_grad():
        for gate in gates_of(module):
            for parameter, z, block in _parts(module, gate) if gate.is_folded else ():
                kept = _times(parameter, z, block)
                # Writing what is there already would spoil a backward pass that waits for this parameter.
                if not torch.equal(kept, parameter):
                    if not write:
                        return False
                    parameter.copy_(kept)
    module.__dict__[_SETTLED] = _marks(parameters)
    return True


def settle_before_saving(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    """A hook for ``state_dict``."""
    parameters = _parameters(module)
    if any(gate.is_folded for gate in gates_of(module)) and all(_plain(each) for each in parameters):
        settle(module)


def _parts(module: nn.Module, gate: Gate) -> Iterator[Part]:
    """What a gate acts on; nothing where it acts on no parameter."""
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
    """``parameter`` times its gates; zero where one is closed, whatever was there."""
    made: Tensor = torch.ops.l0compile.gate(parameter, z.to(parameter.dtype), block)
    if bool(parameter.isfinite().all()):
        return made
    is_open = torch.ops.l0compile.gate(torch.ones_like(parameter), z.ne(0).to(parameter.dtype), block)
    return torch.where(is_open != 0, made, 0.0)


def _own_forward(module: nn.Module) -> bool:
    """Whether the module computes something else than the layer whose weight it has."""
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
    """Addresses of the parameters whose memory belongs to another module's, too."""
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
    """Whether it is the module's own tensor, with values, and not a stand-in of a tracer or a transform."""
    return type(parameter) is nn.Parameter and not parameter.is_meta and not parameter.is_inference()


def _marks(parameters: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    """What changes when one is written to or replaced."""
    return tuple((parameter.data_ptr(), parameter._version) for parameter in parameters)
