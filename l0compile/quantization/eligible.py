"""Which layers of a model can be made narrow, and what is refused before anything is tried."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from l0compile.errors import ConfigError, GateError
from l0compile.gates import Gate, dense_weight, unhardened
from l0compile.gates.fold import gates_of
from l0compile.ir.tensors import ORDINARY_TYPES, oddity, resolved
from l0compile.quantization.convolution import why_not_convolution
from l0compile.quantization.layers import Bfloat16Linear, Quantized

_FOREIGN = (
    "torch.ao.nn.quantized",
    "torchao.",
    "bitsandbytes.",
    "auto_gptq.",
    "gptqmodel.",
    "awq.",
    "optimum.quanto.",
)


def check(model: nn.Module) -> None:
    """Refuse a model that is quantised already, has trainable gates, other weights than float32, or nothing to narrow.

    Raises:
        ConfigError: one of these, with the layer's name.
        GateError: a gate is not hardened.
    """
    if soft := unhardened(model):
        raise GateError(
            f"quantize: expected hardened gates, got {len(soft)} that are not, such as {soft[0]!r}; call "
            "l0compile.harden(model) first"
        )
    found = False
    for name, module in model.named_modules():
        _refuse_quantized(name, module)
        if is_linear(module):
            _check_weight(name, module)
            found = True
        found = found or (isinstance(module, nn.Conv2d) and why_not_convolution(module) is None)
    if not found:
        raise ConfigError(
            f"quantize: expected a model with an nn.Linear, or an nn.Conv2d of 3 or more input channels, "
            f"got {type(model).__name__} without one; other layers stay as they are, so there is nothing to do"
        )


def is_linear(module: nn.Module) -> bool:
    """Return whether it is an ``nn.Linear``, or what GPT-2 of transformers has for it."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Return whether it is the ``Conv1D`` of transformers: a linear layer whose weight is [k, n]."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"


def why_not(layer: nn.Module) -> str | None:
    """Return why a linear layer or convolution has to stay as it is, None if it need not."""
    if isinstance(layer, nn.Conv2d) and (reason := why_not_convolution(layer)) is not None:
        return reason
    if isinstance(layer, nn.Linear) and type(layer).forward is not nn.Linear.forward:
        return f"{type(layer).__name__} has a forward of its own"
    if not all(gate.is_folded for gate in gates_of(layer)):
        return "its gates could not be folded into its weight, and act in every call"
    if has_foreign_hooks(layer):
        return "a hook on it would be lost; remove it, or put it on the module around"
    return None


def weight_of(layer: nn.Module) -> nn.Parameter:
    """Return the weight [n, k], or [n, C, kh, kw], of a layer: its own parameter where that is it, else a new one."""
    if is_transposed(layer):
        found: Tensor = layer.weight.detach().T.contiguous()  # type: ignore[operator]
        return nn.Parameter(found)
    if gates_of(layer):
        return dense_weight(layer)
    own = layer._parameters.get("weight")
    if type(own) is nn.Parameter:
        return own
    computed = layer.weight  # by torch.nn.utils.prune or a parametrization
    assert isinstance(computed, Tensor)
    return nn.Parameter(computed.detach().clone())


def bias_of(layer: nn.Module) -> nn.Parameter | None:
    """Return the bias [n] of the layer, its own parameter where it has one."""
    bias = layer.bias
    if bias is None or type(bias) is nn.Parameter:
        return bias
    assert isinstance(bias, Tensor)
    return nn.Parameter(bias.detach().clone())


def has_foreign_hooks(layer: nn.Module) -> bool:
    """Return whether a hook is on the layer that is neither a gate's nor one of ``torch.nn.utils.prune``."""
    return any(True for _ in _foreign_hooks(layer))


def _foreign_hooks(layer: nn.Module) -> Iterator[object]:
    own = "l0compile.gates.apply"
    for hook in (*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()):
        if getattr(hook, "__module__", None) != own and not isinstance(hook, BasePruningMethod):
            yield hook


def _check_weight(name: str, layer: nn.Module) -> None:
    weight = layer._parameters.get("weight", getattr(layer, "weight", None))
    if not isinstance(weight, Tensor):
        return
    plain = resolved(weight)
    odd = oddity(plain)
    if odd is None and type(plain) not in ORDINARY_TYPES:
        odd = type(plain).__name__, "pass a plain tensor"
    if odd is not None:
        what, advice = odd
        raise ConfigError(
            f"quantize: {name!r}: expected a dense float32 weight in main memory, got {what}; {advice}. A model that "
            "another library has quantised already has to be quantised from its float32 original"
        )
    if str(plain.dtype) != "torch.float32":
        raise ConfigError(
            f"quantize: {name!r}: expected a float32 weight, got {plain.dtype}; call model.float() first, or, if the "
            "numbers are quantised already, start from the float32 original"
        )


def _refuse_quantized(name: str, module: nn.Module) -> None:
    kind = type(module)
    packed = {"qweight", "scales"} <= {*module._buffers, *module._parameters}
    ours = isinstance(module, Quantized | Bfloat16Linear)
    if ours or packed or f"{kind.__module__}.".startswith(_FOREIGN):
        raise ConfigError(
            f"quantize: {name!r}: expected a float32 model, got a {kind.__module__}.{kind.__qualname__}, which is "
            "quantised already (perhaps in groups, which are not supported); start from the float32 original"
        )


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers and convolutions over images of ``model`` by their first name, gates left out."""
    return {
        name: module
        for name, module in model.named_modules()
        if (is_linear(module) or isinstance(module, nn.Conv2d)) and not isinstance(module, Gate)
    }
