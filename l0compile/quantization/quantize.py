"""``quantize``: a copy of a model whose linear layers and convolutions compute with narrow numbers."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from l0compile.errors import ConfigError
from l0compile.gates.apply import fold_gates
from l0compile.quantization.attention import multiply_in_bfloat16
from l0compile.quantization.batch_norm import Watched, folded, norms_after
from l0compile.quantization.eligible import bias_of, check, layers_of, weight_of, why_not
from l0compile.quantization.fit import (
    NarrowLayer,
    Rounding,
    WeightAndBias,
    fit_bfloat16,
    fit_int8,
    shared_inputs,
)
from l0compile.quantization.multihead import project_attention
from l0compile.quantization.observe import Observed, observe
from l0compile.quantization.record import LayerPrecision

PRECISIONS = ("int8", "bfloat16")
_ROUNDINGS = ("nearest", "compensated")
_NOT_ASKED = "not asked for"


def quantize(
    model: nn.Module,
    calibration: Iterable[object],
    precision: str | Mapping[str, str] = "int8",
    *,
    rounding: Rounding = "nearest",
    activations: str = "static",
    attention: str = "float32",
    tolerance: float = 0.01,
    samples: int = 2048,
    forward: Callable[[nn.Module, Any], object] | None = None,
    rough: bool = False,
) -> nn.Module:
    """Make a copy of a trained model whose linear layers and convolutions compute with 8 or 16 bits.

    The copy is an ordinary module in PyTorch that says exactly what the narrow model answers, and can be trained on.
    Every ``nn.Linear`` (and ``Conv1D`` of transformers) that the calibration data reaches is replaced, the four of an
    ``nn.MultiheadAttention`` too, and in int8 ``nn.Conv2d`` of 3 or more channels, with batch norms folded into them.

    ``"int8"``: inputs are unsigned, with one zero point for a tensor, and weights signed, with a scale for each row.
    What is exactly 0 stays so. Outliers of input features move into the weights before rounding (SmoothQuant, arXiv
    2211.10438); scales are those of least squared error of a layer's output, and shared by layers that get the very
    same tensor. ``"bfloat16"``: both factors are rounded to bfloat16, sums are float32.

    Args:
        model: a trained float32 model; gates, if any, are hardened. It is not changed.
        calibration: batches of typical inputs without padding, which would count as input: mappings (called as
            ``model(**batch)``), tuples or lists (``model(*batch)``), or single inputs. Read once; 100 items are good.
        precision: ``"int8"`` or ``"bfloat16"``; or that of each layer by its name: those left out stay ``"float32"``.
        rounding: of int8 weights. ``"nearest"``; or ``"compensated"``: column by column, where later columns make up
            for the error of earlier ones on the calibration data (GPTQ, arXiv 2210.17323), which takes longer.
        activations: of linear layers in int8: ``"static"`` scales come from the calibration data, with ``"dynamic"``
            ones each token has its own, from its largest magnitude, in every call.
        attention: what both products of ``scaled_dot_product_attention`` multiply, ``"float32"`` or ``"bfloat16"``.
        tolerance: the sum of squared changes of a layer's output, as a share of the sum of squared outputs, above
            which it stays float32.
        samples: inputs of each layer [k] to keep for the choice of scales, drawn from all that it gets.
        forward: called as ``forward(model, batch)``.
        rough: take the first scales that do.

    Returns:
        The copy in evaluation mode; its ``quantization`` holds a :class:`l0compile.quantization.LayerPrecision` for
        each linear layer and ``nn.Conv2d``, in their order.

    Raises:
        ConfigError: an argument is unknown or a single batch; nothing can be narrow, weights are not float32, or it is
            quantised already.
        DataError: no calibration batch, or one that leads to NaN or infinity at a layer.
        GateError: a gate is not hardened.
    """
    _check_options(precision, rounding, activations, attention, tolerance, samples)
    check(model)
    narrow = project_attention(_copied(model))
    wanted = _by_layer(precision, layers := layers_of(narrow))
    reasons = {name: _why_not(layer, wanted[name]) for name, layer in layers.items()}
    able = {name: layers[name] for name, reason in reasons.items() if reason is None}
    seen = partial(observe, narrow, batches=calibration, forward=forward, samples=samples)
    fitted, norms = _fitted(narrow, able, seen, _Fitting(wanted, rounding, rough, activations == "dynamic"))
    records = tuple(_decide(n, reasons[n], fitted.get(n), wanted[n], tolerance) for n in layers)
    return _finished(narrow, layers, fitted, norms, records, attention)


def _fitted(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    observed: Callable[..., dict[str, Observed]],
    how: "_Fitting",
) -> tuple[dict[str, NarrowLayer], Mapping[nn.Module, nn.Module]]:
    """Run the calibration; return a narrow layer for each that it reached, and the batch norms folded into them."""
    parameters = {name: (weight_of(layer), bias_of(layer)) for name, layer in layers.items()}
    widths = {
        name: parameters[name][0][0].numel() * (layer.groups if isinstance(layer, nn.Conv2d) else 1)
        for name, layer in layers.items()
    }
    watched = Watched((conv, norm) for conv, norm in norms_after(model) if conv in layers.values())
    seen = observed(layers=layers, widths=widths)
    norms = watched.confirmed()
    for name, layer in layers.items():
        if layer in norms:
            parameters[name] = folded(*parameters[name], norms[layer])
    return _fit(layers, parameters, seen, how), norms


@dataclass(frozen=True)
class _Fitting:
    """How layers are made narrow: the precision of each, and what ``quantize`` was asked for."""

    precisions: Mapping[str, str]
    rounding: Rounding
    rough: bool
    per_token: bool


def _why_not(layer: nn.Module, precision: str) -> str | None:
    if precision == "float32":
        return _NOT_ASKED
    if precision == "bfloat16" and isinstance(layer, nn.Conv2d):
        return "there is no kernel for convolutions of bfloat16 numbers"
    return why_not(layer)


def _finished(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    fitted: Mapping[str, NarrowLayer],
    norms: Mapping[nn.Module, nn.Module],
    records: tuple[LayerPrecision, ...],
    attention: str,
) -> nn.Module:
    """Put each narrow layer in the place of its own, nothing in that of its batch norm, the records on the model."""
    if attention == "bfloat16":
        multiply_in_bfloat16(model)
    for name in (record.name for record in records if record.precision != "float32"):
        layer = layers[name]
        model = _replaced(model, layer, fitted[name][0])
        if layer in norms:
            model = _replaced(model, norms[layer], nn.Identity())
    _leave_fast_path(model)
    model.eval()
    model.quantization = records  # type: ignore[assignment]
    return model


def _copied(model: nn.Module) -> nn.Module:
    """Copy ``model`` in evaluation mode, its hardened gates folded into its weights where that is exact."""
    try:
        made = copy.deepcopy(model)
    except RuntimeError as error:
        raise ConfigError(
            f"quantize: expected a model that copy.deepcopy can copy, got: {error}; if torch.nn.utils.prune pruned it, "
            "call prune.remove on its layers first"
        ) from error
    fold_gates(made.eval())
    return made


def _by_layer(precision: str | Mapping[str, str], layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return the precision asked for of each layer.

    Raises:
        ConfigError: there is no such layer, or no such precision.
    """
    if isinstance(precision, str):
        return dict.fromkeys(layers, precision)
    if strange := [name for name in precision if name not in layers]:
        raise ConfigError(
            f"quantize: precision: expected names of linear layers, such as {next(iter(layers))!r}, got {strange[0]!r}"
        )
    known = (*PRECISIONS, "float32")
    for name, value in precision.items():
        if value not in known:
            raise ConfigError(f"quantize: precision of {name!r}: expected one of {known}, got {value!r}")
    return {name: precision.get(name, "float32") for name in layers}


def _check_options(
    precision: str | Mapping[str, str],
    rounding: str,
    activations: str,
    attention: str,
    tolerance: float,
    samples: int,
) -> None:
    if isinstance(precision, str) and precision not in PRECISIONS:
        raise ConfigError(f"quantize: expected a precision in {PRECISIONS}, got {precision!r}")
    if rounding not in _ROUNDINGS:
        raise ConfigError(f"quantize: expected a rounding in {_ROUNDINGS}, got {rounding!r}")
    if activations not in ("static", "dynamic"):
        raise ConfigError(f"quantize: expected activations that are static or dynamic, got {activations!r}")
    if attention not in ("float32", "bfloat16"):
        raise ConfigError(f"quantize: expected attention in float32 or bfloat16, got {attention!r}")
    if not tolerance >= 0:
        raise ConfigError(f"quantize: expected a tolerance of at least 0, got {tolerance}")
    if samples < 1:
        raise ConfigError(f"quantize: expected at least 1 sample, got {samples}")


def _fit(
    layers: Mapping[str, nn.Module],
    parameters: Mapping[str, WeightAndBias],
    seen: Mapping[str, Observed],
    how: _Fitting,
) -> dict[str, NarrowLayer]:
    fitted: dict[str, NarrowLayer] = {}
    for precision in PRECISIONS:
        # Of zeros alone there is no scale that would suit other inputs.
        told = {n: found for n, found in seen.items() if len(found.rows) and bool(found.peak.any())}
        reached = {n: found for n, found in told.items() if how.precisions[n] == precision}
        for names in shared_inputs(reached):
            own, inputs = [parameters[name] for name in names], [reached[name] for name in names]
            if precision == "int8":
                alike = [layers[name] for name in names]
                made = fit_int8(alike, own, inputs, how.rounding, how.rough, how.per_token)
            else:
                made = fit_bfloat16(own, inputs)
            fitted.update(zip(names, made, strict=True))
    return fitted


def _decide(
    name: str, reason: str | None, fitted: NarrowLayer | None, precision: str, tolerance: float
) -> LayerPrecision:
    if reason is not None:
        return LayerPrecision(name, "float32", reason=reason)
    if fitted is None:
        return LayerPrecision(name, "float32", reason="no calibration batch reached it, or only with zeros")
    error = fitted[1]
    if not error <= tolerance:
        return LayerPrecision(
            name, "float32", error, f"{precision} changes its output by {error:.2g} > {tolerance:g}"
        )
    return LayerPrecision(name, precision, error, f"within the tolerance of {tolerance:g}")


def _replaced(model: nn.Module, layer: nn.Module, by: nn.Module) -> nn.Module:
    """Put ``by`` wherever ``layer`` is registered; return the model, which may be the layer itself."""
    if model is layer:
        return by
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is layer:
                parent._modules[key] = by
    return model


def _leave_fast_path(model: nn.Module) -> None:
    """Have ``nn.TransformerEncoder`` call its layers; in evaluation mode it would read their weights instead."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
