"""How gates act on the module that holds them: hooks gate its input and output, a property gates its weight."""

from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates.fold import fold, gates_of, in_weights, settle_before_saving
from l0compile.gates.gate import Gate, cast, multiply
from l0compile.gates.granularity import site


def install(module: nn.Module, name: str, gate: Gate) -> None:
    """Add ``gate`` to ``module`` as the submodule ``name``, and let it act at the site of its granularity."""
    first_here = {site(g.granularity) for g in module.children() if isinstance(g, Gate)}.isdisjoint(
        {site(gate.granularity)}
    )
    gate.train(module.training)
    module.add_module(name, gate)
    if len(gates_of(module)) == 1:
        module.register_state_dict_pre_hook(settle_before_saving)
    match site(gate.granularity):
        case "weight":
            module.__class__ = _gated_weight_class(type(module))
        case "input" if first_here:
            module.register_forward_pre_hook(_gate_input)
        case "output" if first_here:
            module.register_forward_hook(_gate_output)


def fold_gates(model: nn.Module) -> None:
    """Fold hardened gates into the weights of their modules, in place, where that is exact; see ``fold``."""
    fold(model, (_gate_input, _gate_output))


def _gated_weight_class(base: type[nn.Module]) -> type[nn.Module]:
    """Make a subclass of ``base`` whose ``weight`` is the gated weight; the parameter keeps its name in ``state_dict``.

    A property also serves code that reads the weight without calling the module (``nn.MultiheadAttention`` does);
    a hook would never run there.
    """
    return type(
        f"Gated{base.__name__}", (base,), {"weight": property(_gated_weight), "__module__": base.__module__}
    )


def _gated_weight(module: nn.Linear) -> Tensor:
    """Multiply the weight by its block gates and, in training mode, by the gates of the input.

    ``x diag(z) W^T = x (W diag(z))^T``, and a weight is many times smaller than the activations of a batch.
    """
    weight: Tensor = dense_weight(module)
    (block_gate,) = gates_of(module, "weight")
    of_input = gates_of(module, "input") if module.training else []
    if in_weights(module, [block_gate, *of_input]):
        return weight
    rows, cols = block_gate.block
    z = block_gate.value()
    for gate in of_input:
        share = module.in_features // gate.log_alpha.numel()
        if share % cols == 0:  # Whole blocks of columns: multiply the small grids, then the weight once.
            z = z * gate.value().repeat_interleave(share // cols)
        else:
            weight = multiply(
                weight, cast(gate.value(), weight)[None], [module.out_features, share], module.training
            )
    return multiply(weight, cast(z, weight), [rows, cols], module.training)


def dense_weight(module: nn.Module) -> nn.Parameter:
    """Return the weight parameter ``[out, in]`` of a gated layer without its gates; ``module.weight`` has them."""
    parameter = module._parameters["weight"]
    if parameter is None:
        raise GateError(f"{type(module).__name__}: expected a weight parameter, got None")
    return parameter


def _gate_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not args:
        raise GateError(
            f"{type(module).__name__}: a gate on the input needs it as the first positional argument, got none"
        )
    if module.training and "l0_block" in module._modules:
        return args  # Already in the weight: see _gated_weight.
    gates, x = gates_of(module, "input"), args[0]
    for gate in () if in_weights(module, gates) else gates:
        x = gate(x)
    return (x, *args[1:])


def _gate_output(module: nn.Module, args: tuple[object, ...], output: object) -> object:
    if isinstance(output, tuple | list) and type(output) in (tuple, list) and output:
        return type(output)((_gate_output(module, args, output[0]), *output[1:]))
    if not isinstance(output, Tensor):
        raise GateError(
            f"{type(module).__name__}: a gate on the output needs a tensor or a tuple that starts with one, "
            f"got {type(output).__name__}"
        )
    gates = gates_of(module, "output")
    for gate in () if in_weights(module, gates) else gates:
        output = gate(output)
    return output
